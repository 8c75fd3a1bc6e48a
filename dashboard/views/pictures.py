"""Images of cases, at `/app/cases/{id}/image`: only to whoever holds the case, and uncovered only after it was noted."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from dashboard.clients import application
from dashboard.covering import as_jpeg, covered, fitted, outlined, with_part
from dashboard.pages import PRIVATE
from dashboard.sessions import HEADER
from dashboard.views.queue import CaseId, Worker
from detectors.heatmap import drawn
from moderation import media
from moderation.accounts.records import Display
from moderation.errors import ForbiddenError
from moderation.media import MediaLimits
from moderation.reviews.records import holds
from moderation.reviews.safety import HOW
from moderation.roles import Person
from moderation.tables import ReviewCase, utc_now

router = APIRouter(prefix="/app/cases/{case_id}")

Sha256 = Annotated[str, Query(pattern="^[0-9a-f]{64}$")]
SentSha256 = Annotated[str, Form(pattern="^[0-9a-f]{64}$")]
Part = Annotated[int, Query(ge=0, le=8)]


@router.post("/reveal")
def reveal(
    case_id: CaseId,
    request: Request,
    person: Worker,
    *,
    sha256: SentSha256,
    how: Annotated[str, Form(max_length=10)] = "part",
) -> Response:
    """Note that the person uncovers an image; then it may be asked for."""
    app = application(request)
    _held(request, person, case_id)
    exposure = app.reviewer_safety.reveal(person, case_id, sha256, noted_as(how))
    if HEADER in request.headers:
        return JSONResponse({"uncovered": exposure.uncovered, "limit": exposure.limit})
    return RedirectResponse(f"/app/cases/{case_id}?reveal={how}&of={sha256}", status_code=303)


@router.get("/image")
def image(
    case_id: CaseId, request: Request, person: Worker, *, sha256: Sha256, reveal: str = "", part: Part = 4
) -> Response:
    """An image: covered, or as far uncovered as was noted. reveal: `part` (one of nine fields), `blurred`, `whole` or `heat`."""
    app = application(request)
    case = _held(request, person, case_id)
    if sha256 not in {kept.sha256 for kept in app.reviews.show(person, case_id).images}:
        raise ForbiddenError("The image is not of this case.", hint="Open the case again.")
    asked = noted_as(reveal)
    if asked and (asked not in HOW or not app.reviewer_safety.revealed(person, case, sha256, asked)):
        raise ForbiddenError("The image was not uncovered.", hint="Ask for it on the case's page.")
    display = shown_as(request, person, case)
    if reveal == "heat":
        picture = drawn(*app.scans.heat_map(person.tenant, sha256), side=960)
    else:
        opened = media.open(app.store.get(person.tenant, sha256), MediaLimits.of(app.settings))
        pixels = opened.frames[0].pixels
        if reveal == "part":
            picture = with_part(pixels, display, part)
        elif reveal == "blurred":
            picture = outlined(pixels, display)
        else:
            picture = fitted(pixels, 960) if reveal else covered(pixels, display)
    return Response(as_jpeg(picture), media_type="image/jpeg", headers=PRIVATE)


def noted_as(how: str) -> str:
    """How a look is noted: a heat map shows the whole image."""
    return "whole" if how == "heat" else how


def shown_as(request: Request, person: Person, case: ReviewCase) -> Display:
    """The safest of the harm's, the team's and the person's own display. Raises ForbiddenError for what is never shown."""
    harm = application(request).reviewer_safety.display(person, case)
    if not harm.shown:
        raise ForbiddenError("This is not shown to anybody.", hint="Follow the case's steps.")
    own: Display = request.state.signed.display
    return own.safer(Display(harm.blur, harm.grey, harm.small))


def _held(request: Request, person: Person, case_id: str) -> ReviewCase:
    """The case, which the person holds. Raises ForbiddenError otherwise, and for what is never shown."""
    app = application(request)
    case = app.reviews.show(person, case_id).case
    if not holds(person, case, case.token, utc_now()):
        raise ForbiddenError("You do not hold this case.", hint="Claim it first.")
    if not app.reviewer_safety.display(person, case).shown:
        raise ForbiddenError("This is not shown to anybody.", hint="Follow the case's steps.")
    return case
