"""The whole server: the API and the dashboard on one port. The only module that knows both."""

from starlette.types import ASGIApp

import api.app
import dashboard.app
from moderation.application import Application
from moderation.logs import configure_logs
from moderation.settings import settings


def create_app() -> ASGIApp:
    """The server of this process's settings: the factory that `palisade serve` gives to Uvicorn."""
    configure_logs(settings().log_level)
    application = Application(settings())
    server = api.app.create_app(application)
    server.mount("/", dashboard.app.create_app(application))
    return server
