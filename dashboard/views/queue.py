"""The reviewers' queue, at `/app/queue`."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from dashboard.clients import application
from dashboard.pages import Behind, page, said
from dashboard.sessions import HEADER, signed_in
from moderation.errors import ModerationError
from moderation.reviews.priority import explained
from moderation.reviews.records import may_work
from moderation.roles import Person, Role
from moderation.tables import ReviewCase, utc_now

router = APIRouter(prefix="/app/queue")

PAGE = 50

Worker = Annotated[Person, Depends(signed_in(Role.REVIEWER, Role.SENIOR))]
CaseId = Annotated[str, Path(pattern="^case_[0-9a-z]{1,33}$")]
Queue = Annotated[str, Query(max_length=100)]


@router.get("")
def queue(
    request: Request,
    person: Worker,
    *,
    queue: Queue = "",
    after: Behind = "",
    done: Behind = "",
) -> Response:
    """What waits: by queue, and case by case in the order in which they are given out."""
    return _queue(request, person, queue, after=after, done=done)


@router.post("/next")
def next_case(
    request: Request,
    person: Worker,
    *,
    queue: Annotated[str, Form(max_length=100)] = "",
    beside: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """To the first case that the person holds already, but for the one that they look at; else to a new one."""
    try:
        found = _next(request, person, queue, beside)
    except ModerationError as error:
        if HEADER in request.headers:
            raise
        return _queue(request, person, queue, error=error)
    path = f"/app/cases/{found.id}" if found else ""
    if HEADER in request.headers:
        return JSONResponse({"path": path or None})
    return RedirectResponse(path or f"/app/queue?queue={quote(queue)}&done=empty", status_code=303)


@router.post("/stop")
def stop_now(request: Request, person: Worker) -> Response:
    """Stop at once: everything that is held goes back, and a break begins."""
    application(request).reviewer_safety.stop_now(person)
    if HEADER in request.headers:
        return JSONResponse({"path": "/app/queue"})
    return RedirectResponse("/app/queue", status_code=303)


def _next(request: Request, person: Person, queue: str, beside: str) -> ReviewCase | None:
    reviews = application(request).reviews
    for case in reviews.held(person):
        if case.id != beside and queue in ("", case.queue) and may_work(person, case):
            return case
    claim = reviews.claim(person, queue)
    return claim.case if claim else None


def _queue(
    request: Request,
    person: Person,
    queue: str,
    *,
    after: str = "",
    done: str = "",
    error: ModerationError | None = None,
) -> Response:
    app, now = application(request), utc_now()
    cases = app.reviews.cases(person, queue=queue, after=after, limit=PAGE + 1)
    context = {
        "waiting": app.reviews.waiting(person),
        "held": app.reviews.held(person, now=now),
        "rows": [(case, explained(case, now)) for case in cases[:PAGE]],
        "more": cases[PAGE - 1].id if len(cases) > PAGE else "",
        "exposure": app.reviewer_safety.exposure(person),
        "queue": queue,
        "after": after,
        "done": done,
        "now": now,
        "error": said(error) if error else None,
    }
    return page(request, "queue.html", context, status=error.http_status if error else 200)
