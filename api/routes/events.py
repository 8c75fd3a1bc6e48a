"""`/v1/events`: what the host was told, for those who missed a webhook."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import ApplicationDep, CallerDep
from api.routes.scans import ERRORS
from api.schemas.takedowns import WebhookEvent, WebhookEvents

router = APIRouter(prefix="/v1/events", tags=["events"], responses=ERRORS)

Word = Query(max_length=60, pattern="^[0-9a-z_.]*$")


@router.get("")
def list_events(
    caller: CallerDep,
    app: ApplicationDep,
    after: Annotated[str, Word] = "",
    kind: Annotated[str, Word] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> WebhookEvents:
    """Events, the oldest first, behind the one called `after`, of a kind such as `takedown.copies`."""
    caller.require("read")
    found = app.outbox.events(caller.tenant, after=after, kind=kind, limit=limit)
    return WebhookEvents(events=[WebhookEvent.of(event) for event in found])
