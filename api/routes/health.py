"""Whether this process lives, is ready, and what it counted."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from api.dependencies import ApplicationDep
from api.metrics import exposition

router = APIRouter(tags=["operation"])


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """The process lives. It may not be ready: see `/readyz`."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "Not ready: `problems` says why."}})
def readyz(app: ApplicationDep) -> JSONResponse:
    """Ready to scan: the schema is current, and every model and key that the default policy needs is there."""
    problems = [problem.as_dict() for problem in app.problems()]
    body: dict[str, Any] = {"status": "unready" if problems else "ready", "problems": problems}
    return JSONResponse(body, status_code=503 if problems else 200)


@router.get("/metrics", response_class=Response)
def metrics(app: ApplicationDep) -> Response:
    """What this process counted, and what waits in the database, for Prometheus."""
    return Response(exposition(app.database), media_type=CONTENT_TYPE_LATEST)
