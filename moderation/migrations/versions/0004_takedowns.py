"""Exchanges, takedown notices, and what lists said at the time of a scan.

Revision: 0004
Follows: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _exchanges()
    _notices()
    _of_notices()
    op.add_column("scans", sa.Column("lookups", JSON, nullable=True))


def _owned(table: str, **references: str) -> list[sa.schema.SchemaItem]:
    """The columns that tables share, their key, and foreign keys to other tables."""
    return [
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id_tenants")),
        *(
            sa.ForeignKeyConstraint([column], [f"{other}.id"], name=op.f(f"fk_{table}_{column}_{other}"))
            for column, other in references.items()
        ),
    ]


def _exchanges() -> None:
    op.create_table(
        "exchanges",
        *_owned("exchanges", bank_id="banks"),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("config", JSON, nullable=False),
        sa.Column("bank_id", sa.String(40), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=True),
        sa.Column("listing", sa.Integer(), nullable=False),
        sa.Column("relisting", sa.Boolean(), nullable=False),
        sa.Column("every_seconds", sa.Integer(), nullable=False),
        sa.Column("leased_until", MOMENT, nullable=True),
        sa.Column("synced_at", MOMENT, nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.UniqueConstraint("tenant_id", "name", name=op.f("uq_exchanges_tenant_id_name")),
    )


def _notices() -> None:
    op.create_table(
        "notices",
        *_owned("notices"),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("flags", JSON, nullable=False),
        sa.Column("details", sa.LargeBinary(), nullable=False),
        sa.Column("contact_digest", sa.String(64), nullable=False),
        sa.Column("token_digest", sa.String(64), nullable=False),
        sa.Column("duplicate_of", sa.String(40), nullable=True),
        sa.Column("valid_at", MOMENT, nullable=True),
        sa.Column("due_at", MOMENT, nullable=True),
        sa.Column("warned", sa.Integer(), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.Column("swept_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.UniqueConstraint("token_digest", name=op.f("uq_notices_token_digest")),
    )
    op.create_index("ix_notices_tenant_state", "notices", ["tenant_id", "state", "due_at"])
    op.create_index("ix_notices_contact", "notices", ["tenant_id", "contact_digest", "id"])


def _of_notices() -> None:
    op.create_table(
        "notice_images",
        *_owned("notice_images", notice_id="notices"),
        sa.Column("notice_id", sa.String(40), nullable=False),
        sa.Column("source", sa.String(10), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("md5", sa.String(32), nullable=False),
        sa.Column("pdq", sa.LargeBinary(), nullable=False),
        sa.Column("orientations", sa.LargeBinary(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=True),
        sa.Column("embedding_model", sa.String(100), nullable=True),
    )
    op.create_index("ix_notice_images_notice_id", "notice_images", ["notice_id"])
    op.create_index("ix_notice_images_sha256", "notice_images", ["sha256"])
    op.create_table(
        "notice_copies",
        *_owned("notice_copies", notice_id="notices", image_id="images"),
        sa.Column("notice_id", sa.String(40), nullable=False),
        sa.Column("image_id", sa.String(40), nullable=False),
        sa.Column("stage", sa.String(10), nullable=False),
        sa.Column("distance", sa.Integer(), nullable=True),
        sa.Column("similarity", sa.Float(), nullable=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("confirmed_at", MOMENT, nullable=True),
        sa.UniqueConstraint("notice_id", "image_id", name=op.f("uq_notice_copies_notice_id_image_id")),
    )
    op.create_index("ix_notice_copies_image_id", "notice_copies", ["image_id"])
    op.create_table(
        "counter_notices",
        *_owned("counter_notices", notice_id="notices"),
        sa.Column("notice_id", sa.String(40), nullable=False),
        sa.Column("details", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=True),
    )
    op.create_index("ix_counter_notices_notice_id", "counter_notices", ["notice_id"])
