"""SQL of what waits for workers and for people, over every tenant: for monitoring."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from moderation.tables import Job, RescanFailure, RescanPlan, RescanShard, ReviewCase

RECENT = timedelta(days=1)
"""How long a re-scan that ended is still looked at for postings that could not be judged."""


def jobs(session: Session) -> list[tuple[str, str, int, datetime]]:
    """Asynchronous scans that are not done, and quarantined ones: lane, state, how many, and when the oldest of them was sent."""
    query = sa.select(Job.lane, Job.state, sa.func.count(), sa.func.min(Job.created_at))
    query = query.where(Job.state.in_(("queued", "running", "quarantined"))).group_by(Job.lane, Job.state)
    return [(lane, state, count, oldest) for lane, state, count, oldest in session.execute(query)]


def cases(session: Session, now: datetime) -> list[tuple[str, int, datetime, int]]:
    """Cases that somebody has to take: queue, how many, when the oldest was opened, and how many are past their time."""
    overdue = sa.func.count(sa.case((ReviewCase.due_at < now, 1)))
    query = sa.select(ReviewCase.queue, sa.func.count(), sa.func.min(ReviewCase.created_at), overdue)
    query = query.where(ReviewCase.rank.is_not(None)).group_by(ReviewCase.queue)
    return [(queue, count, oldest, late) for queue, count, oldest, late in session.execute(query)]


def rescans(session: Session) -> dict[str, int]:
    """How many re-scans are open, by state."""
    query = sa.select(RescanPlan.state, sa.func.count()).where(RescanPlan.state.in_(("running", "paused", "stopped")))
    rows = session.execute(query.group_by(RescanPlan.state)).all()
    return {str(row[0]): int(row[1]) for row in rows}


def rescans_left(session: Session) -> int:
    """Postings that running re-scans have still to judge."""
    running = RescanPlan.state == "running"
    total = session.scalar(sa.select(sa.func.sum(RescanPlan.total - RescanPlan.done)).where(running)) or 0
    judged = sa.select(sa.func.sum(RescanShard.done + RescanShard.gone)).join(
        RescanPlan, RescanPlan.id == RescanShard.plan_id
    )
    return max(0, int(total) - int(session.scalar(judged.where(running)) or 0))


def rescans_failed(session: Session, now: datetime) -> int:
    """Postings that were given up by re-scans that are open, or ended within a day."""
    query = (
        sa.select(sa.func.count()).select_from(RescanFailure).join(RescanPlan, RescanPlan.id == RescanFailure.plan_id)
    )
    lately = sa.or_(RescanPlan.ended_at.is_(None), RescanPlan.ended_at > now - RECENT)
    return session.scalar(query.where(RescanFailure.next_at.is_(None), lately)) or 0


def rescan_oldest(session: Session) -> datetime | None:
    """When the oldest re-scan that runs was begun."""
    return session.scalar(sa.select(sa.func.min(RescanPlan.started_at)).where(RescanPlan.state == "running"))
