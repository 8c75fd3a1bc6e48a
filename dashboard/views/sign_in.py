"""Signing in and out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from dashboard.clients import application, client
from dashboard.pages import said, visitor_page
from dashboard.sessions import (
    drop_session,
    find,
    keep_session,
    safe_next,
    session_token,
    sign_in_path,
    signed_in,
    visitor_form,
)
from moderation.errors import ModerationError
from moderation.roles import Person

router = APIRouter()

Next = Annotated[str, Form(alias="next", max_length=2_000)]


@router.get("/sign-in")
def sign_in(request: Request) -> Response:
    """The form for name and password, and the way to the provider where there is one."""
    onward = safe_next(request.query_params.get("next", ""))
    if find(request):
        return RedirectResponse(onward, status_code=303)
    return sign_in_form(request, onward)


@router.post("/sign-in", dependencies=[Depends(visitor_form)])
def check_password(
    request: Request,
    name: Annotated[str, Form(max_length=1_000)] = "",
    password: Annotated[str, Form(max_length=1_000)] = "",
    onward: Next = "",
) -> Response:
    """The first step; the code is asked for next."""
    try:
        token = application(request).signing.password(name, password, client(request))
    except ModerationError as error:
        return sign_in_form(request, safe_next(onward), name=name[:100], error=error)
    response = RedirectResponse(
        sign_in_path(safe_next(onward)).replace("/sign-in", "/sign-in/code", 1), status_code=303
    )
    return keep_session(request, response, token)


@router.get("/sign-in/code")
def ask_code(request: Request) -> Response:
    """The form for the code, for whoever gave the right password."""
    onward = safe_next(request.query_params.get("next", ""))
    if find(request, stage="code") is None:
        return RedirectResponse(sign_in_path(onward), status_code=303)
    return visitor_page(request, "sign_in_code.html", {"next": onward})


@router.post("/sign-in/code", dependencies=[Depends(visitor_form)])
def check_code(request: Request, code: Annotated[str, Form(max_length=100)] = "", onward: Next = "") -> Response:
    """The second step."""
    onward = safe_next(onward)
    try:
        token = application(request).signing.code(session_token(request), code, client(request))
    except ModerationError as error:
        if find(request, stage="code") is None:
            return sign_in_form(request, onward, error=error)
        context = {"next": onward, "error": said(error)}
        return visitor_page(request, "sign_in_code.html", context, status=error.http_status)
    return keep_session(request, RedirectResponse(onward, status_code=303), token)


@router.post("/sign-out")
def sign_out(request: Request, _person: Annotated[Person, Depends(signed_in())]) -> Response:
    """End the session, on every server."""
    application(request).sessions.end(session_token(request))
    return drop_session(request, RedirectResponse("/sign-in", status_code=303))


def sign_in_form(request: Request, onward: str, *, name: str = "", error: ModerationError | None = None) -> Response:
    settings = application(request).settings
    context = {
        "next": onward,
        "name": name,
        "error": said(error) if error else None,
        "ready": settings.account_keys is not None,
        "empty": not settings.oidc_issuer and application(request).accounts.is_empty(),
        "provider": settings.oidc_name if settings.oidc_issuer else "",
    }
    return visitor_page(request, "sign_in.html", context, status=error.http_status if error else 200)
