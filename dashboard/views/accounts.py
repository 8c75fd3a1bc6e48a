"""Accounts, for admins, at `/app/accounts`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from dashboard.clients import application
from dashboard.pages import page, said
from dashboard.sessions import signed_in
from moderation.accounts.records import state
from moderation.accounts.service import INVITATION_HOURS
from moderation.errors import ModerationError, NotFoundError
from moderation.roles import Person, Role
from moderation.tables import Account

router = APIRouter(prefix="/app/accounts")

PAGE = 50
MOST_SEARCH = 100

Admin = Annotated[Person, Depends(signed_in(Role.ADMIN))]
Roles = Annotated[list[str], Form(alias="role", max_length=20)]
Queues = Annotated[str, Form(alias="queues", max_length=2_000)]


@router.get("")
def accounts(request: Request, admin: Admin) -> Response:
    """Everybody, and the form that invites somebody."""
    return _list(request, admin)


@router.post("")
def invite(
    request: Request,
    admin: Admin,
    name: Annotated[str, Form(max_length=1_000)] = "",
    roles: Roles = [],  # noqa: B006 - FastAPI reads the default and never changes it
    queues: Queues = "",
) -> Response:
    """A new account; its invitation is shown this once."""
    try:
        made = application(request).accounts.add(admin.tenant, name, roles, queues=queues.split(","), actor=admin.id)
    except ModerationError as error:
        return _list(request, admin, name=name[:100], roles=roles, queues=queues, error=error)
    return _invitation(request, *made)


@router.get("/{account_id}")
def account(account_id: str, request: Request, admin: Admin) -> Response:
    """One account, and what can be done about it."""
    return _one(request, admin, account_id)


@router.post("/{account_id}/roles")
def change(
    account_id: str,
    request: Request,
    admin: Admin,
    roles: Roles = [],  # noqa: B006 - FastAPI reads the default and never changes it
    queues: Queues = "",
) -> Response:
    """Set roles and queues; the account is signed out."""
    service = application(request).accounts
    try:
        service.change(admin.tenant, account_id, roles, queues=queues.split(","), actor=admin.id)
    except NotFoundError:
        raise
    except ModerationError as error:
        return _one(request, admin, account_id, error)
    return RedirectResponse(f"/app/accounts/{account_id}?done=roles", status_code=303)


@router.post("/{account_id}/reset")
def reset(account_id: str, request: Request, admin: Admin) -> Response:
    """A new invitation, shown this once."""
    try:
        made = application(request).accounts.reset(admin.tenant, account_id, actor=admin.id)
    except NotFoundError:
        raise
    except ModerationError as error:
        return _one(request, admin, account_id, error)
    return _invitation(request, *made)


@router.post("/{account_id}/disable")
def disable(account_id: str, request: Request, admin: Admin) -> Response:
    try:
        application(request).accounts.disable(admin.tenant, account_id, actor=admin.id)
    except NotFoundError:
        raise
    except ModerationError as error:
        return _one(request, admin, account_id, error)
    return RedirectResponse(f"/app/accounts/{account_id}?done=disabled", status_code=303)


@router.post("/{account_id}/enable")
def enable(account_id: str, request: Request, admin: Admin) -> Response:
    application(request).accounts.enable(admin.tenant, account_id, actor=admin.id)
    return RedirectResponse(f"/app/accounts/{account_id}?done=enabled", status_code=303)


def _list(
    request: Request,
    admin: Person,
    *,
    name: str = "",
    roles: list[str] | None = None,
    queues: str = "",
    error: ModerationError | None = None,
) -> Response:
    asked = request.query_params
    search, after = asked.get("search", "")[:MOST_SEARCH], asked.get("after", "")[:MOST_SEARCH]
    found, count = application(request).accounts.page(admin.tenant, search=search, after=after, limit=PAGE + 1)
    typed = {"name": name, "roles": roles or [], "queues": queues}
    context = {
        "rows": [(account, state(account)) for account in found[:PAGE]],
        "more": found[PAGE - 1].name if len(found) > PAGE else "",
        "count": count,
        "search": search,
        "after": after,
        "typed": typed,
        "error": said(error) if error else None,
    }
    return page(request, "accounts.html", context, status=error.http_status if error else 200)


def _one(request: Request, admin: Person, account_id: str, error: ModerationError | None = None) -> Response:
    found = application(request).accounts.find(admin.tenant, account_id)
    context = {
        "account": found,
        "state": state(found),
        "done": request.query_params.get("done", ""),
        "error": said(error) if error else None,
    }
    return page(request, "account.html", context, status=error.http_status if error else 200)


def _invitation(request: Request, made: Account, token: str) -> Response:
    link = f"{application(request).settings.dashboard}/welcome/{token}"
    return page(request, "invitation.html", {"account": made, "link": link, "hours": INVITATION_HOURS})
