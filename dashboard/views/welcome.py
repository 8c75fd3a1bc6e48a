"""From an invitation to a first session, at `/welcome/<invitation>`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Request, Response
from fastapi.responses import RedirectResponse

from dashboard.clients import application, client
from dashboard.pages import said, visitor_page
from dashboard.sessions import keep_session, visitor_form
from moderation.accounts.passwords import SHORTEST
from moderation.accounts.service import must_match
from moderation.errors import ConflictError, ModerationError, NotFoundError

router = APIRouter(prefix="/welcome/{invitation}")

Invitation = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{20,64}$")]
Secret = Annotated[str, Form(max_length=1_000)]


@router.get("")
def welcome(invitation: Invitation, request: Request) -> Response:
    """The first step: a password."""
    return _password_form(invitation, request)


@router.post("", dependencies=[Depends(visitor_form)])
def choose_password(invitation: Invitation, request: Request, password: Secret = "", repeated: Secret = "") -> Response:
    """Keep the password; the authenticator is next."""
    try:
        must_match(password, repeated)
        application(request).enrolment.choose_password(invitation, password)
    except NotFoundError:
        raise
    except ModerationError as error:
        return _password_form(invitation, request, error)
    return RedirectResponse(f"/welcome/{invitation}/app", status_code=303)


@router.get("/app")
def authenticator(invitation: Invitation, request: Request) -> Response:
    """The second step: an authenticator app."""
    return _app_form(invitation, request)


@router.post("/app", dependencies=[Depends(visitor_form)])
def finish(invitation: Invitation, request: Request, code: Annotated[str, Form(max_length=100)] = "") -> Response:
    """Signed in, with the recovery codes to keep."""
    try:
        token, codes = application(request).enrolment.finish(invitation, code, client(request))
    except (NotFoundError, ConflictError):
        raise
    except ModerationError as error:
        return _app_form(invitation, request, error)
    response = visitor_page(request, "welcome_codes.html", {"codes": codes})
    return keep_session(request, response, token)


def _password_form(invitation: str, request: Request, error: ModerationError | None = None) -> Response:
    account = application(request).enrolment.invited(invitation)
    context = {"name": account.name, "shortest": SHORTEST, "error": said(error) if error else None}
    return visitor_page(request, "welcome.html", context, status=error.http_status if error else 200)


def _app_form(invitation: str, request: Request, error: ModerationError | None = None) -> Response:
    enrolment = application(request).enrolment
    account = enrolment.invited(invitation)
    if not account.password:
        return RedirectResponse(f"/welcome/{invitation}", status_code=303)
    context = {
        "name": account.name,
        "authenticator": enrolment.authenticator(invitation),
        "error": said(error) if error else None,
    }
    return visitor_page(request, "welcome_app.html", context, status=error.http_status if error else 200)
