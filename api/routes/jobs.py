"""`/v1/jobs`: what became of asynchronous scans."""

from typing import Annotated

from fastapi import APIRouter, Path

from api.dependencies import ApplicationDep, CallerDep
from api.routes.scans import ERRORS
from api.schemas.jobs import JobAnswer

router = APIRouter(tags=["jobs"], responses=ERRORS)

JobId = Annotated[str, Path(pattern="^job_[0-9a-z]{1,33}$", description="The job's id.")]


@router.get("/v1/jobs/{job_id}")
def read_job(job_id: JobId, caller: CallerDep, app: ApplicationDep) -> JobAnswer:
    """An asynchronous scan: its state, and the scan once it is done."""
    caller.require("read")
    job, scan = app.jobs.find(caller.tenant, job_id)
    return JobAnswer.of(job, scan, app.scans.case(scan) if scan else None)
