"""The dashboard as an ASGI application."""

from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from dashboard.security import SecurityHeaders
from dashboard.templating import templates
from dashboard.views import drop
from moderation.application import Application

STATIC = Path(__file__).with_name("static")


def create_app(application: Application) -> FastAPI:
    """The pages of an application. They call the API from the browser; neither imports the other."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.state.application = application
    app.include_router(drop.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(SecurityHeaders)
    app.add_exception_handler(HTTPException, _error)
    return app


async def _error(request: Request, error: Exception) -> Response:
    """A page that says what went wrong, for people."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    words = {404: ("There is no such page", "The address may be mistyped, or what it showed is gone.")}
    title, message = words.get(status, ("This cannot be done", "The page does not take this kind of request."))
    return templates.TemplateResponse(request, "error.html", {"title": title, "message": message}, status_code=status)
