"""What re-scans were made for: processes with other models or policies leave them alone.

Revision: 0014
Follows: 0013
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Any process works on the plans that are there, as before."""
    op.add_column("rescan_plans", sa.Column("basis", JSON, nullable=False, server_default="{}"))


def downgrade() -> None:
    op.drop_column("rescan_plans", "basis")
