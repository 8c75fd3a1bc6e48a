"""Indexes for leads' figures.

Revision: 0012
Follows: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None

GRAVEST = sa.text("severity = 5")


def upgrade() -> None:
    op.create_index("ix_cases_decided", "cases", ["tenant_id", "decided_at"])
    op.create_index("ix_cases_gravest", "cases", ["tenant_id", "id"], postgresql_where=GRAVEST, sqlite_where=GRAVEST)


def downgrade() -> None:
    op.drop_index("ix_cases_gravest", "cases")
    op.drop_index("ix_cases_decided", "cases")
