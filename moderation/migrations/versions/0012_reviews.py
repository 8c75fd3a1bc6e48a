"""Indexes for leads' figures, numbers by which processes follow the images of cases, a scan's case, encrypted statements.

Statements of before are encrypted by the chore `appeals`: keys are no part of the database.

Revision: 0012
Follows: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

GRAVEST = sa.text("severity = 5")


def upgrade() -> None:
    op.create_index("ix_cases_decided", "cases", ["tenant_id", "decided_at"])
    op.add_column("tenants", sa.Column("case_images", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("case_images", sa.Column("number", sa.BigInteger(), nullable=True))
    op.add_column("scans", sa.Column("case_id", sa.String(40), nullable=True))
    op.add_column("appeals", sa.Column("sealed", sa.LargeBinary(), nullable=True))
    op.create_index("ix_case_images_number", "case_images", ["tenant_id", "number"])
    op.create_index("ix_audit_records_tenant", "audit_records", ["tenant_id", "id"])
    op.create_index("ix_accounts_tenant", "accounts", ["tenant_id", "name"])
    op.create_index("ix_cases_gravest", "cases", ["tenant_id", "id"], postgresql_where=GRAVEST, sqlite_where=GRAVEST)


def downgrade() -> None:
    op.drop_index("ix_cases_gravest", "cases")
    op.drop_index("ix_accounts_tenant", "accounts")
    op.drop_index("ix_audit_records_tenant", "audit_records")
    op.drop_index("ix_case_images_number", "case_images")
    op.drop_column("case_images", "number")
    op.drop_column("scans", "case_id")
    op.drop_column("appeals", "sealed")
    op.drop_column("tenants", "case_images")
    op.drop_index("ix_cases_decided", "cases")
