"""Cases for reviewers, their decisions, appeals, and what reviewers were exposed to.

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("scans", sa.Column("reach", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("scans", sa.Column("consent", sa.Boolean(), nullable=False, server_default=sa.false()))
    _cases()
    _case_images()
    _case_exclusions()
    _decisions()
    _appeals()
    _reveals()
    _reviewer_states()


def _owned(table: str) -> list[sa.schema.SchemaItem]:
    """The columns that tables share, and their keys."""
    return [
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id_tenants")),
    ]


def _cases() -> None:
    op.create_table(
        "cases",
        *_owned("cases"),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("queue", sa.String(100), nullable=False),
        sa.Column("harm", sa.String(20), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("tier", sa.String(10), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("rank", sa.Float(), nullable=True),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("reach", sa.Integer(), nullable=False),
        sa.Column("uncertainty", sa.Float(), nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("eyes", sa.Integer(), nullable=False),
        sa.Column("disputed", sa.Boolean(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(200), nullable=True),
        sa.Column("claimed_at", MOMENT, nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("assigned_to", sa.String(200), nullable=True),
        sa.Column("outcome", sa.String(10), nullable=True),
        sa.Column("effect", sa.String(16), nullable=True),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.Column("release_at", MOMENT, nullable=True),
        sa.Column("closed_at", MOMENT, nullable=True),
        sa.Column("answer", sa.String(10), nullable=True),
    )
    op.create_index("ix_cases_holder", "cases", ["tenant_id", "holder"])
    op.create_index("ix_cases_rank", "cases", ["tenant_id", "rank", "id"])
    op.create_index("ix_cases_release", "cases", ["release_at"])


def _case_images() -> None:
    op.create_table(
        "case_images",
        *_owned("case_images"),
        sa.Column("case_id", sa.String(40), nullable=False),
        sa.Column("image_id", sa.String(40), nullable=True),
        sa.Column("scan_id", sa.String(40), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("pdq", sa.LargeBinary(), nullable=False),
        sa.Column("stage", sa.String(10), nullable=False),
        sa.Column("distance", sa.Integer(), nullable=True),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("consent", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_case_images_image_id_images"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["scan_id"], ["scans.id"], name=op.f("fk_case_images_scan_id_scans"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_case_images_case_id_cases"), ondelete="CASCADE"
        ),
        sa.UniqueConstraint("case_id", "sha256", name=op.f("uq_case_images_case_id_sha256")),
    )
    op.create_index("ix_case_images_image_id", "case_images", ["image_id"])
    op.create_index("ix_case_images_scan_id", "case_images", ["scan_id"])
    op.create_index("ix_case_images_sha256", "case_images", ["sha256", "tenant_id"])


def _case_exclusions() -> None:
    op.create_table(
        "case_exclusions",
        sa.Column("case_id", sa.String(40), nullable=False),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("why", sa.String(10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", MOMENT, nullable=True),
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("case_id", "reviewer", "why", name=op.f("pk_case_exclusions")),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_case_exclusions_case_id_cases"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_case_exclusions_tenant_id_tenants")),
    )


def _decisions() -> None:
    op.create_table(
        "decisions",
        *_owned("decisions"),
        sa.Column("case_id", sa.String(40), nullable=False),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("outcome", sa.String(10), nullable=False),
        sa.Column("effect", sa.String(16), nullable=False),
        sa.Column("clause", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(100), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("before", JSON, nullable=False),
        sa.Column("right", sa.Boolean(), nullable=True),
        sa.Column("consent", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_decisions_case_id_cases"), ondelete="CASCADE"),
    )
    op.create_index("ix_decisions_case", "decisions", ["case_id", "id"])
    op.create_index("ix_decisions_reviewer", "decisions", ["tenant_id", "reviewer", "id"])
    op.create_index("ix_decisions_tenant", "decisions", ["tenant_id", "created_at"])


def _appeals() -> None:
    op.create_table(
        "appeals",
        *_owned("appeals"),
        sa.Column("scan_id", sa.String(40), nullable=True),
        sa.Column("case_id", sa.String(40), nullable=False),
        sa.Column("of_case", sa.String(40), nullable=True),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("locale", sa.String(35), nullable=False),
        sa.Column("in_force", sa.String(16), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("outcome", sa.String(10), nullable=True),
        sa.Column("effect", sa.String(16), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["scan_id"], ["scans.id"], name=op.f("fk_appeals_scan_id_scans"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_appeals_case_id_cases")),
        sa.UniqueConstraint("tenant_id", "scan_id", name=op.f("uq_appeals_tenant_id_scan_id")),
    )
    op.create_index("ix_appeals_case_id", "appeals", ["case_id"])
    op.create_index("ix_appeals_tenant_state", "appeals", ["tenant_id", "state", "id"])


def _reveals() -> None:
    op.create_table(
        "reveals",
        *_owned("reveals"),
        sa.Column("case_id", sa.String(40), nullable=False),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("how", sa.String(10), nullable=False),
        sa.Column("harm", sa.String(20), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_reveals_case_id_cases"), ondelete="CASCADE"),
    )
    op.create_index("ix_reveals_case", "reveals", ["case_id"])
    op.create_index("ix_reveals_reviewer", "reveals", ["tenant_id", "reviewer", "created_at"])


def _reviewer_states() -> None:
    op.create_table(
        "reviewer_states",
        sa.Column("tenant_id", sa.String(40), nullable=False),
        sa.Column("reviewer", sa.String(200), nullable=False),
        sa.Column("display", JSON, nullable=False),
        sa.Column("rest_from", MOMENT, nullable=True),
        sa.Column("rest_until", MOMENT, nullable=True),
        sa.Column("rest_why", sa.String(10), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "reviewer", name=op.f("pk_reviewer_states")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_reviewer_states_tenant_id_tenants")),
    )
