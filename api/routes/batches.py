"""`/v1/batches`: many scans by one manifest of addresses."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.concurrency import run_in_threadpool

from api.dependencies import ApplicationDep, CallerDep
from api.routes.scans import ERRORS
from api.schemas.jobs import BatchProgress, FailuresAnswer, JobSummary
from moderation.jobs.batches import BatchService
from moderation.jobs.manifest import KINDS, ManifestReader, Row, kind_of
from moderation.tables import Batch

router = APIRouter(prefix="/v1/batches", tags=["jobs"], responses=ERRORS)

ROWS = 500
"""Rows of one transaction."""

BatchId = Annotated[str, Path(pattern="^batch_[0-9a-z]{1,33}$", description="The batch's id.")]

MANIFEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in KINDS},
    }
}


@router.post("", status_code=202, openapi_extra=MANIFEST)
async def create_batch(
    request: Request,
    caller: CallerDep,
    app: ApplicationDep,
    name: Annotated[str, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", description="For people.")] = "",
) -> BatchProgress:
    """Scan many images, when there is time for it: a manifest with a line for each.

    JSON lines such as `{"url": "https://…", "external_id": "…"}`, or CSV whose first line names the columns: `url`, and any of
    `external_id`, `uploader`, `surface`, `locale`, `policy`, `reach` and `consent`. Lines that cannot be read are failures of the batch, each with
    its number; the others are scanned. Nothing is begun before the whole manifest is there; 429 takes none of it.
    """
    caller.require("scan")
    reader = ManifestReader(kind_of(request.headers.get("content-type", "")))
    batch = await run_in_threadpool(app.batches.begin, caller.tenant, name, actor=caller.key_id)
    try:
        await _receive(request, reader, app.batches, batch)
        batch = await run_in_threadpool(app.batches.complete, batch)
    except BaseException:
        await run_in_threadpool(app.batches.withdraw, batch)
        raise
    await run_in_threadpool(app.recovery.top_up)
    return BatchProgress.of(batch)


async def _receive(request: Request, reader: ManifestReader, batches: BatchService, batch: Batch) -> None:
    rows: list[Row] = []
    async for piece in request.stream():
        rows += reader.feed(piece)
        while len(rows) >= ROWS:
            await run_in_threadpool(batches.add, batch, rows[:ROWS])
            del rows[:ROWS]
    rows += reader.end()
    if rows:
        await run_in_threadpool(batches.add, batch, rows)


@router.get("/{batch_id}")
def read_batch(batch_id: BatchId, caller: CallerDep, app: ApplicationDep) -> BatchProgress:
    """A batch: how many of its scans are done, failed, quarantined, and left."""
    caller.require("read")
    return BatchProgress.of(app.batches.find(caller.tenant, batch_id))


@router.get("/{batch_id}/failures")
def read_failures(
    batch_id: BatchId,
    caller: CallerDep,
    app: ApplicationDep,
    after: Annotated[int, Query(ge=0, le=1 << 31, description="Only of lines behind this one.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> FailuresAnswer:
    """What of a batch did not end in a scan, by the manifest's line, and why."""
    caller.require("read")
    found = app.batches.failures(caller.tenant, batch_id, after=after, limit=limit)
    return FailuresAnswer(failures=[JobSummary.of(job) for job in found])
