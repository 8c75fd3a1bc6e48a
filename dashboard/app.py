"""The dashboard as an ASGI application."""

from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from dashboard.security import SecurityHeaders
from dashboard.templating import templates
from dashboard.views import drop, notice
from moderation.application import Application
from moderation.errors import NotFoundError

STATIC = Path(__file__).with_name("static")


def create_app(application: Application) -> FastAPI:
    """The pages of an application. They call the API from the browser; neither imports the other."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.application = application
    app.state.notice_rate = notice.rate_of(application.settings)
    app.include_router(drop.router)
    app.include_router(notice.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(HTTPException, _error)
    app.add_exception_handler(NotFoundError, _not_found)
    app.add_exception_handler(RequestValidationError, _not_found)
    return app


async def _not_found(request: Request, _error: Exception) -> Response:
    """The same page for an address that is none and for a private link that is wrong."""
    return await _error_page(request, 404)


async def _error(request: Request, error: Exception) -> Response:
    """A page that says what went wrong, for people."""
    return await _error_page(request, error.status_code if isinstance(error, HTTPException) else 500)


async def _error_page(request: Request, status: int) -> Response:
    words = {404: ("There is no such page", "The address may be mistyped, or what it showed is gone.")}
    title, message = words.get(status, ("This cannot be done", "The page does not take this kind of request."))
    return templates.TemplateResponse(request, "error.html", {"title": title, "message": message}, status_code=status)
