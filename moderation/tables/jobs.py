"""Work that is done later: asynchronous scans, batches of them, and who does what at the moment."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from moderation.tables.base import Base, CreatedMixin, TenantMixin, new_id


class Batch(TenantMixin, CreatedMixin, Base):
    """Scans that a host asked for by one manifest.

    state: `receiving` while the manifest is read, then `running`, and `finished` once no job is left. total: jobs, of which
    `done` and `failed` and `quarantined` ended so; they are counted in the transactions that end the jobs. touched_at: when
    rows were last added, so that a manifest whose sender vanished is known.
    """

    __tablename__ = "batches"
    __table_args__ = (Index("ix_batches_state", "state", "touched_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("batch"))
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(12))
    total: Mapped[int]
    done: Mapped[int]
    failed: Mapped[int]
    quarantined: Mapped[int]
    touched_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class Job(TenantMixin, CreatedMixin, Base):
    """One asynchronous scan.

    lane: `interactive` or `bulk`. state: see `jobs.records.STATES`. line: of the batch's manifest, from 1. source: the
    address that is fetched, encrypted, None where the bytes were sent. size: of the bytes that are kept, encrypted, while
    `spooled`. what: the host's context and the file's name and type. attempts: how often it was begun. losses: how many
    workers died over it. run_at: when it may be begun. rung_at: when a worker was last told of it. holder, held_until:
    who works on it, and until when nobody else may. code, error: how the last attempt failed.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_due", "state", "lane", "run_at"),
        Index("ix_jobs_held", "state", "held_until"),
        Index("ix_jobs_spooled", "spooled", "state", "finished_at"),
        Index("ix_jobs_tenant", "tenant_id", "state", "id"),
        Index("ix_jobs_batch", "batch_id", "state", "line"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("job"))
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("batches.id"))
    line: Mapped[int | None]
    lane: Mapped[str] = mapped_column(String(12))
    state: Mapped[str] = mapped_column(String(12))
    source: Mapped[bytes | None] = mapped_column(LargeBinary)
    size: Mapped[int]
    spooled: Mapped[bool]
    policy: Mapped[str] = mapped_column(String(100))
    what: Mapped[dict[str, Any]]
    attempts: Mapped[int]
    losses: Mapped[int]
    run_at: Mapped[datetime]
    rung_at: Mapped[datetime | None]
    holder: Mapped[str] = mapped_column(String(80))
    held_until: Mapped[datetime | None]
    scan_id: Mapped[str | None] = mapped_column(String(40))
    code: Mapped[str] = mapped_column(String(60))
    error: Mapped[str] = mapped_column(Text)
    finished_at: Mapped[datetime | None]


class Lease(Base):
    """What only one process may do at a time: who does, and until when that holds without a sign of life."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    holder: Mapped[str] = mapped_column(String(80))
    held_until: Mapped[datetime]
