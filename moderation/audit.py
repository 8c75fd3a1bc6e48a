"""The audit trail: who did what to what, written in the transaction of the deed."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.database import Database
from moderation.tables import AuditRecord, new_id, utc_now


def record(session: Session, tenant: str, actor: str, action: str, subject: str, **note: Any) -> None:
    """Add to the trail. `note` holds no personal data: what is personal stays where it can be deleted."""
    session.add(
        AuditRecord(
            id=new_id("audit"),
            created_at=utc_now(),
            tenant_id=tenant,
            actor=actor,
            action=action,
            subject=subject,
            note=note,
        )
    )


def trail(database: Database, tenant: str, subject: str, *, limit: int = 200) -> Sequence[AuditRecord]:
    """What was done to a subject, the oldest first."""
    query = sa.select(AuditRecord).where(AuditRecord.tenant_id == tenant, AuditRecord.subject == subject)
    with database.read() as session:
        return session.scalars(query.order_by(AuditRecord.id).limit(limit)).all()
