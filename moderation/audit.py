"""The audit trail: who did what to what, written in the transaction of the deed."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.database import Database
from moderation.tables import Appeal, AuditRecord, ReviewCase, new_id, utc_now


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


def page(
    database: Database,
    tenant: str,
    *,
    actor: str = "",
    action: str = "",
    subject: str = "",
    after: str = "",
    limit: int,
) -> Sequence[AuditRecord]:
    """The trail of a tenant, the newest first, behind one. action: how it begins, such as `case.`.

    What was done to cases of known child abuse, and to appeals about them, is left out: few are to know of these.
    """
    query = sa.select(AuditRecord).where(AuditRecord.tenant_id == tenant)
    if after:
        query = query.where(AuditRecord.id < after)
    if actor:
        query = query.where(AuditRecord.actor == actor)
    if subject:
        query = query.where(AuditRecord.subject == subject)
    if action:
        query = query.where(AuditRecord.action.startswith(action, autoescape=True))
    grave = sa.select(ReviewCase.id).where(
        ReviewCase.tenant_id == tenant, ReviewCase.severity == sa.literal_column("5")
    )
    appeals = sa.select(Appeal.id).where(Appeal.tenant_id == tenant, Appeal.case_id.in_(grave))
    query = query.where(AuditRecord.subject.not_in(grave), AuditRecord.subject.not_in(appeals))
    with database.read() as session:
        return session.scalars(query.order_by(AuditRecord.id.desc()).limit(limit)).all()


def trail(database: Database, tenant: str, subject: str, *, limit: int = 200) -> Sequence[AuditRecord]:
    """What was done to a subject, the oldest first."""
    query = sa.select(AuditRecord).where(AuditRecord.tenant_id == tenant, AuditRecord.subject == subject)
    with database.read() as session:
        return session.scalars(query.order_by(AuditRecord.id).limit(limit)).all()
