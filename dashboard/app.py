"""The dashboard as an ASGI application."""

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from dashboard.security import SecurityHeaders
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
    return app
