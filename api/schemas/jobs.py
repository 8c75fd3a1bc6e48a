"""What jobs and batches look like on the wire."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from api.schemas.scans import ScanAnswer
from moderation.jobs.batches import left
from moderation.tables import Batch, Job, ReviewCase, Scan

State = Literal["queued", "running", "done", "failed", "quarantined"]


class JobError(BaseModel):
    """How the last attempt failed."""

    code: str
    message: str


class JobSummary(BaseModel):
    """An asynchronous scan. `quarantined`: it failed for no reason of the image's, and waits for a person."""

    id: str = Field(examples=["job_01kax1pz7rc5w1m3s0qv9yd2ht"])
    created_at: datetime
    batch_id: str | None
    line: int | None
    state: State
    attempts: int
    external_id: str
    finished_at: datetime | None
    scan_id: str | None
    error: JobError | None

    @classmethod
    def of(cls, job: Job) -> "JobSummary":
        return cls(
            id=job.id,
            created_at=job.created_at,
            batch_id=job.batch_id,
            line=job.line,
            state=job.state,
            attempts=job.attempts,
            external_id=job.what["context"].get("external_id", ""),
            finished_at=job.finished_at,
            scan_id=job.scan_id,
            error=JobError(code=job.code, message=job.error) if job.code else None,
        )


class JobAnswer(JobSummary):
    """An asynchronous scan, with the scan itself once it is done."""

    scan: ScanAnswer | None

    @classmethod
    def of(cls, job: Job, scan: Scan | None = None, case: ReviewCase | None = None) -> "JobAnswer":
        return cls(**JobSummary.of(job).model_dump(), scan=ScanAnswer.of(scan, case) if scan else None)


class BatchProgress(BaseModel):
    """A batch and how far it is."""

    id: str = Field(examples=["batch_01kax1pz7rc5w1m3s0qv9yd2ht"])
    created_at: datetime
    name: str
    state: Literal["receiving", "running", "finished"]
    total: int
    done: int
    failed: int
    quarantined: int
    left: int
    finished_at: datetime | None

    @classmethod
    def of(cls, batch: Batch) -> "BatchProgress":
        names = ("id", "created_at", "name", "state", "total", "done", "failed", "quarantined", "finished_at")
        return cls(**{name: getattr(batch, name) for name in names}, left=left(batch))


class FailuresAnswer(BaseModel):
    """Jobs of a batch that did not end in a scan, by the manifest's line."""

    failures: list[JobSummary]
