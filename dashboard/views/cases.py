"""A case and all that speaks for and against it, at `/app/cases/{id}`; and deciding on it."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from dashboard.clients import application
from dashboard.pages import page, said
from dashboard.sessions import HEADER, signed_in
from dashboard.views.pictures import MIDDLE, noted_as
from dashboard.views.queue import CaseId, Worker
from dashboard.words import PROVENANCE
from moderation.banks.records import PDQ_RADIUS
from moderation.errors import ModerationError
from moderation.reviews.evidence import Evidence
from moderation.reviews.faces import COMPARES
from moderation.reviews.harms import HARMS
from moderation.reviews.priority import explained
from moderation.reviews.records import CaseView, Choice, LateDecisionError, holds, may_work
from moderation.roles import Person, Role
from moderation.tables import utc_now

router = APIRouter(prefix="/app/cases/{case_id}")

Reader = Annotated[Person, Depends(signed_in(Role.REVIEWER, Role.SENIOR, Role.LEAD, Role.ADMIN, Role.AUDITOR))]
Token = Annotated[int, Form(ge=0, le=2**31 - 1)]
Text = Annotated[str, Form(max_length=10_000)]
Decided = Annotated[str, Form(max_length=40)]


@dataclass(frozen=True)
class Asked:
    """What the page is asked to show besides. reveal, of: how much of which image. faces: the enrolled person to compare with.
    alike: whether to search for images like it. frame: of an animation, among those that were checked."""

    reveal: str = ""
    of: str = ""
    faces: str = ""
    alike: bool = False
    frame: int = 0


@router.get("")
def case(
    case_id: CaseId,
    request: Request,
    person: Reader,
    *,
    reveal: Annotated[str, Query(max_length=10)] = "",
    of: Annotated[str, Query(max_length=64)] = "",
    faces: Annotated[str, Query(max_length=40)] = "",
    alike: bool = False,
    frame: Annotated[int, Query(ge=0, le=1_000)] = 0,
) -> Response:
    """The whole case, as far as this person may know. alike: with the search for images like it, which a script asks for by itself."""
    return _case(request, person, case_id, Asked(reveal, of, faces, alike, frame))


@router.get("/alike")
def like_it(case_id: CaseId, request: Request, person: Reader) -> Response:
    """What is like the case's image: a part of its page."""
    view = application(request).reviews.show(person, case_id)
    return page(request, "case_alike.html", {**_standing(request, person, view), **_alike(request, person, view)})


@router.post("/claim")
def claim(case_id: CaseId, request: Request, person: Worker) -> Response:
    """Take this very case."""
    try:
        application(request).reviews.take(person, case_id)
    except ModerationError as error:
        return _failed(request, person, case_id, error)
    return _done(request, f"/app/cases/{case_id}")


@router.post("/renew")
def renew(case_id: CaseId, request: Request, person: Worker, token: Token) -> Response:
    """Keep the case for another lease, while its page is open."""
    kept = application(request).reviews.renew(person, case_id, token)
    return JSONResponse({"lease_until": kept.lease_until.isoformat() if kept.lease_until else None})


@router.post("/release")
def release(case_id: CaseId, request: Request, person: Worker, token: Token) -> Response:
    """Give the case back."""
    try:
        application(request).reviews.release(person, case_id, token)
    except ModerationError as error:
        return _failed(request, person, case_id, error)
    return _done(request, "/app/queue")


@router.post("/decide")
def decide(
    case_id: CaseId,
    request: Request,
    person: Worker,
    *,
    token: Token,
    outcome: Annotated[str, Form(max_length=40)] = "",
    clause: Text = "",
    reason: Text = "",
) -> Response:
    """Decide; `skip` leaves the case to others."""
    app = application(request)
    try:
        if outcome == "skip":
            app.reviews.skip(person, case_id, token, reason)
        else:
            app.decisions.decide(person, case_id, token, Choice(outcome, clause, reason))
    except ModerationError as error:
        return _failed(request, person, case_id, error, typed={"clause": clause, "reason": reason})
    after = "skipped" if outcome == "skip" else case_id
    return _done(request, f"/app/queue?done={after}", undo=app.settings.review_undo_seconds)


@router.post("/undo")
def undo(case_id: CaseId, request: Request, person: Worker) -> Response:
    """Take one's latest decision back, while the host is not told."""
    try:
        application(request).decisions.undo(person, case_id)
    except ModerationError as error:
        return _failed(request, person, case_id, error)
    return _done(request, f"/app/cases/{case_id}")


@router.post("/adopt")
def adopt(case_id: CaseId, request: Request, person: Worker, decision: Decided = "") -> Response:
    """Take up a late decision that was kept, claiming the case for it where that is needed."""
    app = application(request)
    try:
        case = app.reviews.show(person, case_id).case
        if not holds(person, case, case.token, utc_now()):
            case = app.reviews.take(person, case_id).case
        app.decisions.adopt(person, case_id, case.token, decision)
    except ModerationError as error:
        return _failed(request, person, case_id, error)
    return _done(request, f"/app/queue?done={case_id}", undo=app.settings.review_undo_seconds)


def _done(request: Request, path: str, **more: Any) -> Response:
    if HEADER in request.headers:
        return JSONResponse({"path": path, **more})
    return RedirectResponse(path, status_code=303)


def _failed(
    request: Request,
    person: Person,
    case_id: str,
    error: ModerationError,
    typed: dict[str, str] | None = None,
) -> Response:
    """The page again with what went wrong, what was typed, and a late decision to take up; a script is told."""
    if HEADER in request.headers:
        late = error.decision.id if isinstance(error, LateDecisionError) else None
        return JSONResponse({"error": error.as_dict(), "late": late}, status_code=error.http_status)
    return _case(request, person, case_id, error=error, typed=typed)


def _case(
    request: Request,
    person: Person,
    case_id: str,
    asked: Asked | None = None,
    *,
    error: ModerationError | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    app = application(request)
    asked, view = asked or Asked(), app.reviews.show(person, case_id)
    standing, evidence = _standing(request, person, view), app.evidence.of(person, view.images)
    context = {
        **standing,
        **_findings(evidence),
        **_faces(request, person, view, evidence),
        **(_alike(request, person, view) if asked.alike and standing["shown_as"].shown else {}),
        "typed": typed or {},
        "error": said(error) if error else None,
    }
    field = MIDDLE if asked.reveal == "part" else None
    allowed = context["image_shown"] and app.reviewer_safety.revealed(
        person, view.case, asked.of, noted_as(asked.reveal), field=field
    )
    context["reveal"] = {asked.of: asked.reveal} if allowed else {}
    frames = evidence.scan.image.frames if evidence.scan else 1
    context["stills"] = min(frames, app.settings.sampled_frames)
    context["frame"] = min(asked.frame, context["stills"] - 1)
    context["compared"] = asked.faces if context["image_shown"] else ""
    return page(request, "case.html", context, status=error.http_status if error else 200)


def _standing(request: Request, person: Person, view: CaseView) -> dict[str, Any]:
    """The case itself: where it stands, whether this person holds it, and whether its images may be shown to them."""
    app, now, case = application(request), utc_now(), view.case
    held = holds(person, case, case.token, now)
    display, exposure = app.reviewer_safety.display(person, case), app.reviewer_safety.exposure(person, now=now)
    first = view.images[0] if view.images else None
    return {
        "view": view,
        "case": case,
        "harm": HARMS[case.harm],
        "why": explained(case, now),
        "held": held,
        "can_claim": case.rank is not None and may_work(person, case) and exposure.rest_until is None,
        "mine": any(made.reviewer == person.id and made.state == "counted" for made in view.decisions),
        "shown_as": display,
        "exposure": exposure,
        "image_shown": bool(held and display.shown and first and exposure.rest_until is None),
        "lease": app.settings.review_lease_seconds,
        "now": now,
    }


def _faces(request: Request, person: Person, view: CaseView, evidence: Evidence) -> dict[str, Any]:
    """The faces that are like enrolled people's, and whether this person may compare them."""
    matches = application(request).face_comparison.of(person.tenant, evidence.findings)
    return {"matches": matches, "compares": person.has(*COMPARES), "matched_of": _first(view)}


def _first(view: CaseView) -> str:
    """The SHA-256 of the image that the evidence is of."""
    return next((image.sha256 for image in view.images if image.scan_id), "")


def _alike(request: Request, person: Person, view: CaseView) -> dict[str, Any]:
    return {"alike": application(request).alike.of(person, view.case, view.images), "radius": PDQ_RADIUS}


def _findings(evidence: Evidence) -> dict[str, Any]:
    """What was found, sorted by what a person asks first."""
    behind = {found["label"] for reason in _reasons(evidence) for found in reason["findings"]}
    scored = [f for f in evidence.findings if f["status"] == "ok" and f["score"] is not None]
    return {
        "evidence": evidence,
        "reasons": _reasons(evidence),
        "scored": sorted(scored, key=lambda f: (f["label"] not in behind, f["fpr"] or 1.0, f["label"])),
        "behind": behind,
        "provenance": [f for f in evidence.findings if f["label"] in PROVENANCE and f["status"] == "ok"],
        "known": [f for f in evidence.findings if f["label"] in ("known", "known_unapplied") and f["status"] == "ok"],
        "absent": [f for f in evidence.findings if f["status"] != "ok"],
        "boxes": [f for f in evidence.findings if f["region"] and f["status"] == "ok"],
    }


def _reasons(evidence: Evidence) -> list[dict[str, Any]]:
    return list(evidence.scan.verdict["reasons"]) if evidence.scan else []
