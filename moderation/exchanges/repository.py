"""SQL of exchanges."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.tables import Exchange


class ExchangeRepository:
    """Reads and writes the exchanges of one tenant within one transaction."""

    def __init__(self, session: Session, tenant: str) -> None:
        self.session = session
        self.tenant = tenant

    def exchange(self, name: str, *, lock: bool = False) -> Exchange | None:
        query = sa.select(Exchange).where(Exchange.tenant_id == self.tenant, Exchange.name == name)
        return self.session.scalar(query.with_for_update() if lock else query)

    def by_id(self, exchange_id: str) -> Exchange | None:
        return self.session.scalar(
            sa.select(Exchange).where(Exchange.tenant_id == self.tenant, Exchange.id == exchange_id)
        )

    def exchanges(self) -> Sequence[Exchange]:
        query = sa.select(Exchange).where(Exchange.tenant_id == self.tenant).order_by(Exchange.name)
        return self.session.scalars(query).all()


def followed(session: Session) -> Sequence[Exchange]:
    """The exchanges, of every tenant, that are synchronised by themselves."""
    return session.scalars(sa.select(Exchange).where(Exchange.every_seconds > 0).order_by(Exchange.id)).all()


def due(session: Session, now: datetime) -> list[tuple[str, str]]:
    """Tenant and name of the exchanges, of every tenant, that are to be synchronised now."""
    query = sa.select(Exchange).where(
        Exchange.every_seconds > 0, sa.or_(Exchange.leased_until.is_(None), Exchange.leased_until <= now)
    )
    return [
        (exchange.tenant_id, exchange.name)
        for exchange in session.scalars(query.order_by(Exchange.id))
        if exchange.synced_at is None or exchange.synced_at + timedelta(seconds=exchange.every_seconds) <= now
    ]
