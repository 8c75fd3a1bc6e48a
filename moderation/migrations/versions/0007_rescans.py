"""Re-scans, and what they read quickly.

Revision: 0007
Follows: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("images", sa.Column("probes", sa.LargeBinary(), nullable=True))
    op.create_index("ix_scans_tenant_id", "scans", ["tenant_id", "id"])
    _plans()
    _shards()
    _failures()


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


def _plans() -> None:
    op.create_table(
        "rescan_plans",
        *_owned("rescan_plans"),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("path", sa.String(10), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("last", sa.String(40), nullable=False),
        sa.Column("frontier", sa.String(40), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("paced_until", MOMENT, nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("next_at", MOMENT, nullable=True),
        sa.Column("schedule_id", sa.String(40), nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
    )
    op.create_index("ix_rescan_plans_state", "rescan_plans", ["state", "next_at"])


def _shards() -> None:
    op.create_table(
        "rescan_shards",
        *_owned("rescan_shards", plan_id="rescan_plans"),
        sa.Column("plan_id", sa.String(40), nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("cursor", sa.String(40), nullable=False),
        sa.Column("until", sa.String(40), nullable=False),
        sa.Column("worker", sa.String(100), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("leased_until", MOMENT, nullable=True),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("gone", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
    )
    op.create_index("ix_rescan_shards_plan_state", "rescan_shards", ["plan_id", "state", "id"])


def _failures() -> None:
    op.create_table(
        "rescan_failures",
        *_owned("rescan_failures", plan_id="rescan_plans"),
        sa.Column("plan_id", sa.String(40), nullable=False),
        sa.Column("scan_id", sa.String(40), nullable=False),
        sa.Column("code", sa.String(40), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", MOMENT, nullable=True),
        sa.UniqueConstraint("plan_id", "scan_id", name=op.f("uq_rescan_failures_plan_id_scan_id")),
    )
    op.create_index("ix_rescan_failures_due", "rescan_failures", ["plan_id", "next_at"])
