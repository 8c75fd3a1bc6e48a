"""Takedown notices that wait for a person, at `/app/takedowns`: the first due first, each decided on its page."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from dashboard.clients import application
from dashboard.messages import gettext as _
from dashboard.messages import marked
from dashboard.pages import Behind, page, said
from dashboard.sessions import signed_in
from moderation.errors import ForbiddenError, ModerationError, NotFoundError
from moderation.roles import Person, Role
from moderation.tables import utc_now
from moderation.takedowns.records import FLAGS

router = APIRouter(prefix="/app/takedowns")

QUEUE = "takedowns"
"""Whose people decide on notices, where somebody is kept to some queues."""

PAGE = 50

TABS = {
    "valid": marked("To decide"),
    "accepted": marked("Being removed"),
    "removed": marked("Removed"),
    "rejected": marked("Refused"),
    "abusive": marked("Misuse"),
}

RELATIONS = {
    "self": marked("for themselves"),
    "parent": marked("for their child"),
    "representative": marked("for somebody whom they represent"),
}

Worker = Annotated[Person, Depends(signed_in(Role.REVIEWER, Role.SENIOR))]
NoticeId = Annotated[str, Path(pattern="^notice_[0-9a-z]{1,33}$")]
Reason = Annotated[str, Form(max_length=10_000)]


@router.get("")
def notices(
    request: Request,
    person: Worker,
    *,
    state: Annotated[str, Query(pattern=f"^({'|'.join(TABS)})$")] = "valid",
    after: Behind = "",
) -> Response:
    """Notices of a state. Raises ForbiddenError for those who do not work them."""
    _must_work(person)
    found = application(request).takedowns.notices(person.tenant, states=[state], after=after, limit=PAGE + 1)
    context = {
        "rows": found[:PAGE],
        "more": found[PAGE - 1].id if len(found) > PAGE else "",
        "after": after,
        "state": state,
        "tabs": TABS,
        "flags": FLAGS,
        "done": request.query_params.get("done", ""),
        "now": utc_now(),
    }
    return page(request, "takedowns.html", context)


@router.get("/{notice_id}")
def notice(notice_id: NoticeId, request: Request, person: Worker) -> Response:
    """What was filed, and the forms to decide."""
    return _one(request, person, notice_id)


@router.post("/{notice_id}/accept")
def accept(notice_id: NoticeId, request: Request, person: Worker, reason: Reason = "") -> Response:
    """It holds: the images are listed, copies are searched, and the host is told."""
    _must_work(person)
    try:
        application(request).takedown_desk.accept(person.tenant, notice_id, reason, actor=person.id)
    except NotFoundError:
        raise
    except ModerationError as error:
        return _one(request, person, notice_id, reason, error)
    return RedirectResponse("/app/takedowns?done=accepted", status_code=303)


@router.post("/{notice_id}/refuse")
def refuse(
    notice_id: NoticeId,
    request: Request,
    person: Worker,
    reason: Reason = "",
    abusive: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """It does not hold; whoever filed it reads the reason."""
    _must_work(person)
    try:
        service = application(request).takedowns
        service.reject(person.tenant, notice_id, reason, actor=person.id, abusive=abusive == "yes")
    except NotFoundError:
        raise
    except ModerationError as error:
        return _one(request, person, notice_id, reason, error)
    return RedirectResponse("/app/takedowns?done=refused", status_code=303)


def _must_work(person: Person) -> None:
    """Raises ForbiddenError."""
    if not person.works(QUEUE):
        raise ForbiddenError(_("You do not work takedown notices."), hint=_("Queues are given by an administrator."))


def _one(
    request: Request, person: Person, notice_id: str, reason: str = "", error: ModerationError | None = None
) -> Response:
    _must_work(person)
    app = application(request)
    view = app.takedowns.find(person.tenant, notice_id)
    context = {
        "view": view,
        "notice": view.notice,
        "filing": view.filing,
        "relations": RELATIONS,
        "flags": FLAGS,
        "tabs": TABS,
        "names": app.accounts.names(person.tenant, {step.actor for step in view.steps}),
        "typed": reason,
        "error": said(error) if error else None,
        "now": utc_now(),
    }
    return page(request, "takedown.html", context, status=error.http_status if error else 200)
