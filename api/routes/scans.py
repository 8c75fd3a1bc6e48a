"""`/v1/scans`: send an image, get a verdict with its evidence."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from api.dependencies import ApplicationDep, CallerDep, ScansDep
from api.metrics import DETECTOR_FAILURES, DETECTOR_SECONDS, REFUSED, SCAN_SECONDS, SCANS
from api.schemas.jobs import JobAnswer
from api.schemas.scans import BatchAnswer, BatchItem, ErrorAnswer, ErrorBody, ScanAnswer
from api.uploads import BatchDep, UploadDep
from moderation import tracing
from moderation.application import Application
from moderation.errors import ModerationError
from moderation.jobs.records import Order
from moderation.scans.context import CONTEXT_LIMITS, MOST_REACH
from moderation.scans.service import ScanService, Upload
from moderation.tables import Scan

router = APIRouter(prefix="/v1/scans", tags=["scans"])

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
}

_CONTEXT = {name: {"type": "string", "maxLength": limit} for name, limit in CONTEXT_LIMITS.items()}
_POLICY = {"policy": {"type": "string", "maxLength": 100, "description": "A policy's name; the default when absent."}}

_REVIEW = {
    "reach": {"type": "integer", "minimum": 0, "maximum": MOST_REACH, "description": "How many people saw it or may."},
    "consent": {"type": "boolean", "description": "Whether decisions on it may train detectors; no when absent."},
}

_FILE = {"type": "string", "format": "binary"}


def _form(image: dict[str, Any]) -> dict[str, Any]:
    """The schema of a multipart form whose field `image` is as given."""
    return {
        "schema": {
            "type": "object",
            "required": ["image"],
            "properties": {"image": image, **_CONTEXT, **_POLICY, **_REVIEW},
        }
    }


SCAN_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _form(_FILE),
            "application/octet-stream": {"schema": _FILE},
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["url"],
                    "properties": {"url": {"type": "string", "format": "uri"}, **_CONTEXT, **_POLICY, **_REVIEW},
                    "additionalProperties": False,
                },
                "example": {"url": "https://example.org/photo.jpg", "external_id": "upload-4711", "surface": "post"},
            },
        },
    }
}
BATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": _form({"type": "array", "items": _FILE})},
    }
}


@router.post(
    "",
    status_code=201,
    response_model=ScanAnswer,
    responses={**ERRORS, 202: {"model": JobAnswer, "description": "Taken; `Location` says where it is told of."}},
    openapi_extra=SCAN_BODY,
)
def create_scan(
    upload: UploadDep,
    caller: CallerDep,
    app: ApplicationDep,
    idempotency_key: Annotated[str | None, Header(description="Send it again to get the same answer.")] = None,
    later: Annotated[
        bool, Query(alias="async", description="Answer at once with a job; the scan is told by event and polling.")
    ] = False,
) -> Response:
    """Scan one image: a multipart form, the bare bytes, or a URL that is fetched for you.

    With a bare body the context goes into the query: `?external_id=…&surface=…&policy=…`. With `?async=true` the answer is
    202 and a job, which `GET /v1/jobs/{job_id}` and the event `scan.finished` tell of; 429 where too much waits already.
    """

    def work() -> str:
        return (
            _submit(app, caller.tenant, upload) if later else _scan(app.scans, caller.tenant, upload).model_dump_json()
        )

    if idempotency_key is None:
        return _taken(work()) if later else _created(work())
    said = [upload.context.as_mapping(), upload.policy, *([upload.url, "later"] if later else [])]
    fingerprint = hashlib.sha256(upload.data + json.dumps(said).encode()).hexdigest()
    answer = _once(app, caller.tenant, idempotency_key, fingerprint, work)
    return _taken(answer) if later else _created(answer)


@router.post("/batch", response_model=BatchAnswer, responses=ERRORS, openapi_extra=BATCH_BODY)
def create_batch(batch: BatchDep, caller: CallerDep, scans: ScansDep) -> BatchAnswer:
    """Scan several images under one context: a form with each as a field `image`. One that fails spoils no other."""
    return BatchAnswer(
        items=[_batch_item(scans, caller.tenant, number, upload) for number, upload in enumerate(batch.uploads)]
    )


@router.get("/{scan_id}", responses=ERRORS)
def read_scan(scan_id: str, caller: CallerDep, scans: ScansDep) -> ScanAnswer:
    """A scan by its id."""
    caller.require("read")
    scan = scans.find(caller.tenant, scan_id)
    return ScanAnswer.of(scan, scans.case(scan))


def _batch_item(scans: ScanService, tenant: str, number: int, upload: Upload) -> BatchItem:
    try:
        return BatchItem(index=number, name=upload.name, scan=_scan(scans, tenant, upload))
    except ModerationError as error:
        return BatchItem(index=number, name=upload.name, error=ErrorBody(**error.as_dict()))


def _once(app: Application, tenant: str, key: str, fingerprint: str, work: Callable[[], str]) -> str:
    """The answer of a request under an idempotency key: the stored one, or that of the work, done now."""
    stored = app.idempotency.begin(tenant, key, fingerprint)
    if stored is not None:
        return stored
    try:
        answer = work()
    except BaseException:
        app.idempotency.abandon(tenant, key)
        raise
    app.idempotency.complete(tenant, key, answer)
    return answer


def _submit(app: Application, tenant: str, upload: Upload) -> str:
    order = Order(
        upload.data,
        upload.url,
        upload.name,
        upload.content_type,
        upload.context,
        upload.policy,
        reach=upload.reach,
        consent=upload.consent,
    )
    try:
        job = app.jobs.submit(tenant, order)
    except ModerationError as error:
        REFUSED.labels(error.error_code).inc()
        raise
    return JobAnswer.of(job).model_dump_json()


def _taken(answer: str) -> Response:
    place = f"/v1/jobs/{json.loads(answer)['id']}"
    return Response(answer, status_code=202, media_type="application/json", headers={"Location": place})


def _scan(scans: ScanService, tenant: str, upload: Upload) -> ScanAnswer:
    try:
        with tracing.span("scan", tenant=tenant) as span:
            scan = scans.scan(tenant, upload)
            span.note(scan=scan.id, action=scan.action, reused=scan.reused)
    except ModerationError as error:
        REFUSED.labels(error.error_code).inc()
        raise
    _observe(scan)
    return ScanAnswer.of(scan, scans.case(scan))


def _observe(scan: Scan) -> None:
    reused = str(scan.reused).lower()
    SCANS.labels(scan.policy, scan.action, reused).inc()
    if not scan.reused:
        timings = scan.measurement.timings
        SCAN_SECONDS.observe(timings["total"] / 1000)
        for name, milliseconds in timings.items():
            if name != "total":
                DETECTOR_SECONDS.labels(name).observe(milliseconds / 1000)
    for finding in scan.findings:
        if finding["status"] == "failed":
            DETECTOR_FAILURES.labels(finding["detector"]).inc()


def _created(answer: str) -> Response:
    return Response(answer, status_code=201, media_type="application/json")
