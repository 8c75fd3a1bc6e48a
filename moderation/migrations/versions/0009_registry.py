"""Models of detectors that the installation trained itself, and what they say day by day.

Revision: 0009
Follows: 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "detector_models",
        *_owned("detector_models"),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("left", sa.String(12), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("graph", sa.LargeBinary(), nullable=False),
        sa.Column("card", JSON, nullable=False),
        sa.Column("calibration", JSON, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.UniqueConstraint("name", "digest", name=op.f("uq_detector_models_name_digest")),
    )
    op.create_table(
        "model_days",
        *_owned("model_days"),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("histogram", JSON, nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("shadowed", "both", "only_active", "only_shadow")),
        sa.UniqueConstraint("name", "model", "day", name=op.f("uq_model_days_name_model_day")),
    )


def _owned(table: str) -> list[sa.schema.SchemaItem]:
    """The columns that tables share, and their keys."""
    return [
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id_tenants")),
    ]
