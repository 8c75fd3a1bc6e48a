"""Re-scans, for those who answer for policies and machines, at `/app/rescans`."""

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from dashboard.clients import application
from dashboard.pages import page, said
from dashboard.sessions import signed_in
from moderation.errors import ConflictError, InvalidRequestError, ModerationError, NotFoundError
from moderation.policy import ACTIONS
from moderation.rescans.records import WITH, DryRun, PlanSpec, PlanView
from moderation.roles import Person, Role

router = APIRouter(prefix="/app/rescans")

SHOWN = 50
"""Re-scans, or failures, of one page."""

IMAGES = 10
"""Postings that a dry run judges where their images have to be read: somebody waits for it."""

STORED = 500
"""Postings that a dry run judges from what is stored."""

Planner = Annotated[Person, Depends(signed_in(Role.ADMIN, Role.POLICY, Role.LEAD))]

_turn = threading.BoundedSemaphore(1)


def typed(
    *,
    using: Annotated[str, Form(max_length=20)] = "policy",
    detector: Annotated[str, Form(max_length=60)] = "",
    policy: Annotated[str, Form(max_length=100)] = "",
    action: Annotated[str, Form(max_length=20)] = "",
    source: Annotated[str, Form(max_length=10)] = "",
    sample: Annotated[str, Form(max_length=10)] = "100",
    max_changed: Annotated[str, Form(max_length=12)] = "",
    hours: Annotated[str, Form(max_length=10)] = "",
) -> dict[str, str]:
    """The form, as it was sent."""
    names = ("using", "detector", "policy", "action", "source", "sample", "max_changed", "hours")
    return dict(zip(names, (using, detector, policy, action, source, sample, max_changed, hours), strict=True))


Typed = Annotated[dict[str, str], Depends(typed)]


@router.get("")
def rescans(request: Request, person: Planner) -> Response:
    """What was planned, the newest first, and the form for another."""
    return _list(request, person, {})


@router.post("/dry-run")
def dry_run(request: Request, person: Planner, form: Typed) -> Response:
    """What the plan would cost and change, from a sample. Nothing is written."""
    service = application(request).rescans
    try:
        spec = spec_of(form)
        sample = IMAGES if service.paths.route(spec, person.tenant).path == "images" else STORED
        with _one_at_a_time():
            found = service.dry_run(person.tenant, spec, sample=sample)
    except ModerationError as error:
        return _list(request, person, form, error=error)
    return _list(request, person, form, found=found)


@router.post("")
def plan(request: Request, person: Planner, form: Typed) -> Response:
    """Plan it: workers begin at once."""
    try:
        made = application(request).rescans.plan(person.tenant, spec_of(form), actor=person.id)
    except ModerationError as error:
        return _list(request, person, form, error=error)
    return RedirectResponse(f"/app/rescans/{made.id}", status_code=303)


@router.get("/{plan_id}")
def rescan(plan_id: str, request: Request, person: Planner) -> Response:
    """One re-scan: how far it is, and what could not be judged."""
    return _one(request, person, plan_id)


@router.post("/{plan_id}/pause")
def pause(plan_id: str, request: Request, person: Planner) -> Response:
    return _changed(request, person, plan_id, "pause")


@router.post("/{plan_id}/cancel")
def cancel(plan_id: str, request: Request, person: Planner) -> Response:
    return _changed(request, person, plan_id, "cancel")


@router.post("/{plan_id}/resume")
def resume(
    plan_id: str, request: Request, person: Planner, max_changed: Annotated[str, Form(max_length=12)] = ""
) -> Response:
    """Go on, with another ceiling where one is given."""
    return _changed(request, person, plan_id, "resume", max_changed)


def _changed(request: Request, person: Person, plan_id: str, what: str, max_changed: str = "") -> Response:
    service = application(request).rescans
    try:
        ceiling = {"max_changed": int(number(max_changed, "The limit"))} if max_changed.strip() else {}
        getattr(service, what)(person.tenant, plan_id, actor=person.id, **ceiling)
    except NotFoundError:
        raise
    except ModerationError as error:
        return _one(request, person, plan_id, error)
    return RedirectResponse(f"/app/rescans/{plan_id}", status_code=303)


def spec_of(form: Mapping[str, str]) -> PlanSpec:
    """Raises InvalidRequestError."""
    if form["source"] not in ("", "kept"):
        raise InvalidRequestError("Images are read from where this installation keeps them, or as it is set up.")
    measures = form["using"] in ("head", "model")
    return PlanSpec(
        form["using"],
        detectors=(form["detector"],) if measures and form["detector"] else (),
        policy=form["policy"],
        action=form["action"],
        source=form["source"],
        sample=number(form["sample"], "The share") / 100,
        max_changed=int(number(form["max_changed"] or "0", "The limit")),
        hours=form["hours"].strip(),
    )


def number(text: str, what: str) -> float:
    """Raises InvalidRequestError."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidRequestError(f"{what} is {text[:20]!r}.", hint="Write a number.")
    return value


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Raises ConflictError while another is under way in this process: uploads are not to wait for it."""
    if not _turn.acquire(timeout=2):
        raise ConflictError("Another dry run is under way on this server.", hint="Try again in a moment.")
    try:
        yield
    finally:
        _turn.release()


def _list(
    request: Request,
    person: Person,
    form: Mapping[str, str],
    *,
    found: DryRun | None = None,
    error: ModerationError | None = None,
) -> Response:
    app, after = application(request), request.query_params.get("after", "")
    views = app.rescans.plans(person.tenant, after=after, limit=SHOWN)
    context: dict[str, Any] = {
        "plans": views,
        "more": views[-1].plan.id if len(views) == SHOWN else "",
        "typed": {**typed(), **form},
        "choices": WITH,
        "detectors": [cls.name for cls in app.scanner.classes if not cls.looks_up],
        "policies": app.policies.names(),
        "actions": ACTIONS,
        "found": found.as_dict() if found else None,
        "error": said(error) if error else None,
    }
    return page(request, "rescans.html", context, status=error.http_status if error else 200)


def _one(request: Request, person: Person, plan_id: str, error: ModerationError | None = None) -> Response:
    service, after = application(request).rescans, request.query_params.get("after", "")
    view: PlanView = service.find(person.tenant, plan_id)
    failures = service.failures(person.tenant, plan_id, after=after, limit=SHOWN)
    context = {
        "view": view,
        "spec": PlanSpec.from_dict(view.plan.spec),
        "failures": failures,
        "more": failures[-1].id if len(failures) == SHOWN else "",
        "error": said(error) if error else None,
    }
    return page(request, "rescan.html", context, status=error.http_status if error else 200)
