"""Asynchronous scans, batches of them, and leases.

Revision: 0008
Follows: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _batches()
    _jobs()
    op.create_table(
        "leases",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("holder", sa.String(80), nullable=False),
        sa.Column("held_until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def _owned(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id_tenants")),
    ]


def _batches() -> None:
    op.create_table(
        "batches",
        *_owned("batches"),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("touched_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
    )
    op.create_index("ix_batches_state", "batches", ["state", "touched_at"])


def _jobs() -> None:
    op.create_table(
        "jobs",
        *_owned("jobs"),
        sa.Column("batch_id", sa.String(40), nullable=True),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("lane", sa.String(12), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("spooled", sa.Boolean(), nullable=False),
        sa.Column("policy", sa.String(100), nullable=False),
        sa.Column("what", JSON, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("run_at", MOMENT, nullable=False),
        sa.Column("rung_at", MOMENT, nullable=True),
        sa.Column("holder", sa.String(80), nullable=False),
        sa.Column("held_until", MOMENT, nullable=True),
        sa.Column("scan_id", sa.String(40), nullable=True),
        sa.Column("code", sa.String(60), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], name=op.f("fk_jobs_batch_id_batches")),
    )
    op.create_index("ix_jobs_due", "jobs", ["state", "lane", "run_at"])
    op.create_index("ix_jobs_held", "jobs", ["state", "held_until"])
    op.create_index("ix_jobs_spooled", "jobs", ["spooled", "state", "finished_at"])
    op.create_index("ix_jobs_tenant", "jobs", ["tenant_id", "state", "id"])
    op.create_index("ix_jobs_batch", "jobs", ["batch_id", "state", "line"])
