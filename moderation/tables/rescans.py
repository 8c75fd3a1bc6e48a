"""Re-scans: what is to be judged again, how far that is, and what could not be."""

from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin, new_id


class RescanPlan(TenantMixin, CreatedMixin, Base):
    """What is judged again, with what.

    state: see `rescans.records.STATES`. spec: as `rescans.records.PlanSpec.as_dict`. path: along which, and why that one.
    last: the newest scan when it was planned; newer ones were judged by what is new. frontier: up to which scan shards were
    cut. total: postings in its scope. done, changed: of retries; shards count their own. paced_until: when the next page may
    begin, for plans with a rate. note: why it stopped. next_at: of plans with a schedule, when the next run is planned.
    schedule_id: the plan whose schedule made this one, or a mark of `rescans.automatic`. basis: which models and policies it
    was made for (`rescans.basis`).
    """

    __tablename__ = "rescan_plans"
    __table_args__ = (Index("ix_rescan_plans_state", "state", "next_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("rescan"))
    state: Mapped[str] = mapped_column(String(16))
    spec: Mapped[dict[str, Any]]
    path: Mapped[str] = mapped_column(String(10))
    why: Mapped[str] = mapped_column(Text)
    last: Mapped[str] = mapped_column(String(40))
    frontier: Mapped[str] = mapped_column(String(40))
    total: Mapped[int]
    done: Mapped[int] = mapped_column(default=0)
    changed: Mapped[int] = mapped_column(default=0)
    paced_until: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(Text, default="")
    next_at: Mapped[datetime | None]
    schedule_id: Mapped[str | None] = mapped_column(String(40))
    basis: Mapped[dict[str, Any]] = mapped_column(default=dict)
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class RescanShard(TenantMixin, CreatedMixin, Base):
    """Scans behind `cursor`, up to `until`, that one worker at a time judges.

    fence: grows with each claim; a worker whose claim is not the latest cannot write. leased_until: by the database's clock.
    done, changed, gone: postings judged, judged otherwise than before, and deleted meanwhile. seconds: of work.
    """

    __tablename__ = "rescan_shards"
    __table_args__ = (Index("ix_rescan_shards_plan_state", "plan_id", "state", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("shard"))
    plan_id: Mapped[str] = mapped_column(ForeignKey("rescan_plans.id"))
    state: Mapped[str] = mapped_column(String(8))
    cursor: Mapped[str] = mapped_column(String(40))
    until: Mapped[str] = mapped_column(String(40))
    worker: Mapped[str] = mapped_column(String(100))
    fence: Mapped[int]
    leased_until: Mapped[datetime | None]
    done: Mapped[int]
    changed: Mapped[int]
    gone: Mapped[int]
    seconds: Mapped[float] = mapped_column(Float)


class RescanFailure(TenantMixin, CreatedMixin, Base):
    """A posting that could not be judged again. next_at: when it is tried again, None once it is given up and listed."""

    __tablename__ = "rescan_failures"
    __table_args__ = (UniqueConstraint("plan_id", "scan_id"), Index("ix_rescan_failures_due", "plan_id", "next_at"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("rfail"))
    plan_id: Mapped[str] = mapped_column(ForeignKey("rescan_plans.id"))
    scan_id: Mapped[str] = mapped_column(String(40))
    code: Mapped[str] = mapped_column(String(40))
    message: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int]
    next_at: Mapped[datetime | None]


class PolicySeen(Base):
    """A policy as the newest process read it. Of the whole installation: policies are files."""

    __tablename__ = "policies_seen"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    changed_at: Mapped[datetime]
