"""Appeals, at `/app/appeals`: each is decided on the page of its case."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from dashboard.clients import application
from dashboard.pages import Behind, page
from dashboard.views.queue import PAGE, Worker
from moderation.errors import ForbiddenError
from moderation.reviews.appeals import STATES
from moderation.reviews.harms import APPEALS
from moderation.tables import utc_now

router = APIRouter(prefix="/app/appeals")


@router.get("")
def appeals(
    request: Request,
    person: Worker,
    *,
    state: Annotated[str, Query(pattern=f"^({'|'.join(STATES)})$")] = "open",
    after: Behind = "",
) -> Response:
    """Appeals by age. Raises ForbiddenError for those who do not work them."""
    if not person.works(APPEALS):
        raise ForbiddenError("You do not work appeals.", hint="Queues are given by an administrator.")
    service = application(request).appeals
    found = service.appeals(person.tenant, states=[state], after=after, limit=PAGE + 1)
    context = {
        "rows": [(appeal, service.statement(appeal)) for appeal in found[:PAGE]],
        "more": found[PAGE - 1].id if len(found) > PAGE else "",
        "after": after,
        "state": state,
        "states": STATES,
        "now": utc_now(),
    }
    return page(request, "appeals.html", context)
