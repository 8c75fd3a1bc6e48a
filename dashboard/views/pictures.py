"""Images of cases and hosted ones like them, at `/app/cases/{id}/image`: only to whoever holds the case, and uncovered only after
it was noted. Every picture is one still frame."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from dashboard.clients import application
from dashboard.covering import as_jpeg, covered, cropped, outlined, with_part
from dashboard.pages import PRIVATE
from dashboard.sessions import HEADER
from dashboard.stills import Stills
from dashboard.views.queue import CaseId, Worker
from detectors.heatmap import drawn
from moderation import media
from moderation.accounts.records import Display
from moderation.errors import ForbiddenError, NotFoundError
from moderation.media import MediaLimits
from moderation.reviews.harms import HARMS
from moderation.reviews.records import holds
from moderation.reviews.safety import HOW, Exposure, Look
from moderation.roles import Person
from moderation.tables import ReviewCase, utc_now

router = APIRouter(prefix="/app/cases/{case_id}")

Sha256 = Annotated[str, Query(pattern="^[0-9a-f]{64}$")]
SentSha256 = Annotated[str, Form(pattern="^[0-9a-f]{64}$")]
MIDDLE = 4
Part = Annotated[int, Query(ge=0, le=8)]
SentPart = Annotated[int, Form(ge=0, le=8)]
Frame = Annotated[int, Query(ge=0, le=1_000)]
Enrolled = Annotated[str, Query(max_length=40, pattern="^[0-9a-z_]*$")]
SentEnrolled = Annotated[str, Form(max_length=40, pattern="^[0-9a-z_]*$")]


@dataclass(frozen=True)
class Picture:
    """An image that the person may be sent, covered at least. harm: of a hosted image that is not the case's own, else ''."""

    case: ReviewCase
    sha256: str
    harm: str
    display: Display


@router.post("/reveal")
def reveal(
    case_id: CaseId,
    request: Request,
    person: Worker,
    *,
    sha256: SentSha256,
    how: Annotated[str, Form(max_length=10)] = "part",
    part: SentPart = MIDDLE,
) -> Response:
    """Note that the person uncovers an image; then it may be asked for."""
    picture, safety = _picture(request, person, case_id, sha256), application(request).reviewer_safety
    noted = noted_as(how)
    if picture.harm and noted in HOW:
        look = Look(case_id, sha256, noted, part if noted == "part" else None, picture.harm)
        exposure = safety.note(person, look)
    else:
        exposure = safety.reveal(person, case_id, sha256, noted, field=part)
    return _noted(request, exposure, f"/app/cases/{case_id}?reveal={how}&of={sha256}")


@router.get("/image")
def image(
    case_id: CaseId,
    request: Request,
    person: Worker,
    *,
    sha256: Sha256,
    reveal: str = "",
    part: Part = MIDDLE,
    frame: Frame = 0,
) -> Response:
    """An image: covered, or as far uncovered as was noted. reveal: `part` (one of nine fields), `blurred`, `whole` or `heat`; frame:
    of an animation, and only as a whole is there another than the first."""
    app, picture = application(request), _picture(request, person, case_id, sha256)
    asked = noted_as(reveal)
    field = part if asked == "part" else None
    if asked and (
        asked not in HOW or not app.reviewer_safety.revealed(person, picture.case, sha256, asked, field=field)
    ):
        raise ForbiddenError("The image was not uncovered.", hint="Ask for it on the case's page.")
    if reveal == "heat":
        return _jpeg(as_jpeg(drawn(*app.scans.heat_map(person.tenant, sha256), side=960)))
    pixels = stills(request).of(person.tenant, sha256, frame if asked == "whole" else 0)
    if asked == "part":
        drawing = with_part(pixels, picture.display, part)
    elif asked == "blurred":
        drawing = outlined(pixels, picture.display)
    else:
        drawing = cropped(pixels) if asked else covered(pixels, picture.display)
    return _jpeg(as_jpeg(drawing))


@router.post("/faces")
def compare(
    case_id: CaseId, request: Request, person: Worker, *, sha256: SentSha256, enrolled: SentEnrolled
) -> Response:
    """Note that the person compares a face of an image with an enrolled person's picture; then both may be asked for."""
    _picture(request, person, case_id, sha256)
    exposure = application(request).face_comparison.uncover(person, case_id, sha256, enrolled)
    return _noted(request, exposure, f"/app/cases/{case_id}?faces={enrolled}")


@router.get("/face")
def face(case_id: CaseId, request: Request, person: Worker, *, sha256: Sha256, enrolled: Enrolled) -> Response:
    """The face of an image that is like an enrolled person's, once the look was noted."""
    app, picture = application(request), _picture(request, person, case_id, sha256)
    match = app.face_comparison.match(person.tenant, case_id, sha256, enrolled)
    if not app.reviewer_safety.revealed(person, picture.case, sha256, "face", field=match.number):
        raise ForbiddenError("The face was not uncovered.", hint="Ask for it on the case's page.")
    opened = media.open(app.store.get(person.tenant, sha256), MediaLimits.of(app.settings))
    shown = next((frame for frame in opened.frames if frame.index == match.frame), opened.frames[0])
    return _jpeg(as_jpeg(cropped(shown.pixels, match.region)))


@router.get("/reference")
def reference(case_id: CaseId, request: Request, person: Worker, *, sha256: Sha256, enrolled: Enrolled) -> Response:
    """The picture that an enrolled person let be kept, once the look was noted; to seniors only."""
    app, picture = application(request), _picture(request, person, case_id, sha256)
    return _jpeg(app.face_comparison.reference(person, picture.case, sha256, enrolled))


def noted_as(how: str) -> str:
    """How a look is noted: a heat map shows the whole image."""
    return "whole" if how == "heat" else how


def stills(request: Request) -> Stills:
    """The process's, made when it is first asked for."""
    state = request.app.state
    if not hasattr(state, "stills"):
        app = application(request)
        state.stills = Stills(app.store, MediaLimits.of(app.settings))
    known: Stills = state.stills
    return known


def shown_as(request: Request, person: Person, case: ReviewCase, harm: str = "") -> Display:
    """The safest of the harms', the team's and the person's own display. Raises ForbiddenError for what is never shown."""
    team = application(request).reviewer_safety.display(person, case)
    if not team.shown:
        raise ForbiddenError("This is not shown to anybody.", hint="Follow the case's steps.")
    own: Display = request.state.signed.display
    safest = own.safer(Display(team.blur, team.grey, team.small))
    about = HARMS.get(harm)
    return safest.safer(Display(about.blur, about.grey, about.small)) if about else safest


def _picture(request: Request, person: Person, case_id: str, sha256: str) -> Picture:
    """An image of a case that the person holds, or one like it. Raises ForbiddenError, NotFoundError where it is deleted."""
    app = application(request)
    case, images = app.reviews.images(person, case_id)
    if not holds(person, case, case.token, utc_now()):
        raise ForbiddenError("You do not hold this case.", hint="Claim it first.")
    own = next((image for image in images if image.sha256 == sha256), None)
    if own is not None and own.image_id is None:
        raise NotFoundError("The image was deleted.", hint="Decide by what was measured.")
    harm = "" if own is not None else app.alike.picture(person, case, images, sha256)
    return Picture(case, sha256, harm, shown_as(request, person, case, harm))


def _noted(request: Request, exposure: Exposure, path: str) -> Response:
    if HEADER in request.headers:
        return JSONResponse({"uncovered": exposure.uncovered, "limit": exposure.limit})
    return RedirectResponse(path, status_code=303)


def _jpeg(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg", headers=PRIVATE)
