"""The dashboard as an ASGI application."""

from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from dashboard.messages import gettext as _
from dashboard.messages import marked
from dashboard.pages import page, said
from dashboard.security import SecurityHeaders
from dashboard.sessions import HEADER, SignInNeeded, sign_in_path
from dashboard.templating import templates
from dashboard.views import (
    accounts,
    appeals,
    audit,
    backtest,
    cases,
    drop,
    home,
    leads,
    me,
    notice,
    pictures,
    provider,
    queue,
    rescans,
    sign_in,
    takedowns,
    welcome,
)
from moderation.application import Application
from moderation.errors import AuthenticationError, ModerationError, NotFoundError

BACK = (
    ("/app/queue", marked("To the queue")),
    ("/app", marked("To the home page")),
    ("/sign-in", marked("To the sign-in page")),
    ("/", marked("Scan an image")),
)
"""By what a path begins with: the way back from an error, and its words."""

STATIC = Path(__file__).with_name("static")


def create_app(application: Application) -> FastAPI:
    """The pages of an application. They call the API from the browser; neither imports the other."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.application = application
    app.state.notice_rate = notice.rate_of(application.settings)
    for view in (
        drop, notice, sign_in, provider, welcome, home, me, queue, cases, pictures, appeals, takedowns, leads, backtest, rescans,
        audit, accounts,
    ):  # fmt: skip
        app.include_router(view.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(HTTPException, _error)
    app.add_exception_handler(NotFoundError, _not_found)
    app.add_exception_handler(RequestValidationError, _not_found)
    app.add_exception_handler(SignInNeeded, _to_sign_in)
    app.add_exception_handler(ModerationError, _refused)
    return app


async def _not_found(request: Request, _error: Exception) -> Response:
    """The same page for an address that is none and for a private link that is wrong."""
    return await _error_page(request, 404)


async def _error(request: Request, error: Exception) -> Response:
    """A page that says what went wrong, for people."""
    return await _error_page(request, error.status_code if isinstance(error, HTTPException) else 500)


async def _error_page(request: Request, status: int) -> Response:
    words = {404: (_("There is no such page"), _("The address may be mistyped, or what it showed is gone."))}
    title, message = words.get(status, (_("This cannot be done"), _("The page does not take this kind of request.")))
    return _page(request, title, message, status)


def _page(request: Request, title: str, message: str, status: int) -> Response:
    """In the frame of whoever is signed in, where the page found out; with a way back."""
    path = request.url.path
    back, words = next((link for link in BACK if path.startswith(link[0])), BACK[-1])
    context = {"title": title, "message": message, "back": back, "back_words": words}
    if getattr(request.state, "signed", None):
        return page(request, "error.html", context, status=status)
    return templates.TemplateResponse(request, "error.html", context, status_code=status)


async def _to_sign_in(request: Request, error: Exception) -> Response:
    """To the sign-in page and back; a script is told instead."""
    if _is_script(request):
        return _told(AuthenticationError("Nobody is signed in any more.", hint="Sign in again."))
    return RedirectResponse(sign_in_path(error.path if isinstance(error, SignInNeeded) else "/app"), status_code=303)


async def _refused(request: Request, error: Exception) -> Response:
    """What a page did not handle itself."""
    assert isinstance(error, ModerationError)  # noqa: S101 - it is registered for these
    if _is_script(request):
        return _told(error)
    words = said(error)
    return _page(request, words["message"].rstrip("."), words["hint"], error.http_status)


def _is_script(request: Request) -> bool:
    return HEADER in request.headers or "application/json" in request.headers.get("accept", "")


def _told(error: ModerationError) -> Response:
    return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)
