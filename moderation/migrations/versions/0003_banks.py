"""Banks, the audit trail, and the outbox.

Revision: 0003
Follows: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _banks()
    _matches()
    _audit()


def _tenant(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id_tenants")),
    ]


def _banks() -> None:
    op.create_table(
        "banks",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("negative", sa.Boolean(), nullable=False),
        sa.Column("origin", sa.String(200), nullable=False),
        sa.Column("category", sa.String(40), nullable=False),
        sa.Column("action_hint", sa.String(16), nullable=False),
        sa.Column("radius", sa.Integer(), nullable=False),
        sa.Column("phash_radius", sa.Integer(), nullable=False),
        sa.Column("enabled_share", sa.Float(), nullable=False),
        sa.Column("flood_limit", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        *_tenant("banks"),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_banks")),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_banks_tenant_id_name")),
    )
    op.create_table(
        "bank_entries",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("bank_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("external_id", sa.String(200), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("disabled_until", MOMENT, nullable=True),
        sa.Column("quarantined_at", MOMENT, nullable=True),
        *_tenant("bank_entries"),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["bank_id"], ["banks.id"], name=op.f("fk_bank_entries_bank_id_banks")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bank_entries")),
        sqlite_autoincrement=True,
    )
    signal = ["tenant_id", "kind", "value", "bank_id", "external_id"]
    op.create_index("uq_bank_entries_signal", "bank_entries", signal, unique=True)
    op.create_index("ix_bank_entries_kind_id", "bank_entries", ["tenant_id", "kind", "id"])
    op.create_index("ix_bank_entries_bank", "bank_entries", ["bank_id", "external_id"])
    op.create_table(
        "bank_states",
        sa.Column("sequence", NUMBER, nullable=False),
        sa.Column("removed", NUMBER, nullable=False),
        *_tenant("bank_states"),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_bank_states")),
    )


def _matches() -> None:
    op.create_table(
        "bank_matches",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("entry_id", NUMBER, nullable=False),
        sa.Column("bank_id", sa.String(40), nullable=False),
        sa.Column("image_id", sa.String(40), nullable=False),
        sa.Column("scan_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("distance", sa.Integer(), nullable=False),
        sa.Column("unapplied", sa.String(20), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        *_tenant("bank_matches"),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_bank_matches_image_id_images")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bank_matches")),
        sa.UniqueConstraint("entry_id", "image_id", name=op.f("uq_bank_matches_entry_id_image_id")),
    )
    op.create_index("ix_bank_matches_image_id", "bank_matches", ["image_id"])
    op.create_index("ix_bank_matches_tenant_bank", "bank_matches", ["tenant_id", "bank_id", "id"])
    op.create_table(
        "bank_entry_days",
        sa.Column("entry_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        *_tenant("bank_entry_days"),
        sa.PrimaryKeyConstraint("entry_id", "day", name=op.f("pk_bank_entry_days")),
    )


def _audit() -> None:
    op.create_table(
        "audit_records",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(60), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("note", JSON, nullable=False),
        *_tenant("audit_records"),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_records")),
    )
    op.create_index("ix_audit_records_subject", "audit_records", ["tenant_id", "subject", "id"])
    op.create_table(
        "events",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(60), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("next_at", MOMENT, nullable=True),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        *_tenant("events"),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_next_at", "events", ["next_at"])
    op.create_index("ix_events_tenant", "events", ["tenant_id", "id"])
