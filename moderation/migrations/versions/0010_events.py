"""The trace that an event is part of, and an index on events that were given up, which monitoring counts at each scrape.

Revision: 0010
Follows: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAME = "ix_events_given_up"
GIVEN_UP = sa.text("next_at IS NULL AND delivered_at IS NULL")


def upgrade() -> None:
    op.add_column("events", sa.Column("traceparent", sa.String(55), nullable=False, server_default=""))
    op.create_index(NAME, "events", ["next_at", "delivered_at"], postgresql_where=GIVEN_UP, sqlite_where=GIVEN_UP)


def downgrade() -> None:
    op.drop_index(NAME, "events")
    op.drop_column("events", "traceparent")
