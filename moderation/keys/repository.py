"""SQL of API keys and tenants."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.tables import ApiKey, Tenant


class KeyRepository:
    def __init__(self, session: Session) -> None:
        self.session = session

    def by_digest(self, digest: str) -> ApiKey | None:
        return self.session.scalar(sa.select(ApiKey).where(ApiKey.digest == digest))

    def by_id(self, tenant: str, key_id: str) -> ApiKey | None:
        return self.session.scalar(sa.select(ApiKey).where(ApiKey.tenant_id == tenant, ApiKey.id == key_id))

    def of_tenant(self, tenant: str) -> Sequence[ApiKey]:
        return self.session.scalars(sa.select(ApiKey).where(ApiKey.tenant_id == tenant).order_by(ApiKey.id)).all()

    def add(self, key: ApiKey) -> None:
        self.session.add(key)

    def tenant(self, tenant: str) -> Tenant | None:
        return self.session.get(Tenant, tenant)

    def add_tenant(self, tenant: Tenant) -> None:
        self.session.add(tenant)
        self.session.flush()
