"""The whole server: the API and the dashboard on one port. The only module that knows both."""

from starlette.types import ASGIApp, Receive, Scope, Send

import api.app
import dashboard.app
from api.app import FORM_OVERHEAD
from api.middleware import BodyLimit
from moderation import tracing
from moderation.application import Application
from moderation.logs import configure_logs
from moderation.settings import settings

API_PATHS = ("/v1", "/healthz", "/readyz", "/metrics", "/openapi.json")


class Server:
    """Gives each request to the API or to the dashboard, by its path; start and end of the process to the API."""

    def __init__(self, application: Application) -> None:
        self.api: ASGIApp = api.app.create_app(application)
        self.application = application
        pages = dashboard.app.create_app(application)
        self.dashboard: ASGIApp = BodyLimit(pages, limit=lambda _path: application.settings.max_bytes + FORM_OVERHEAD)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        of_api = scope["type"] == "lifespan" or any(
            path == known or path.startswith(f"{known}/") for known in API_PATHS
        )
        await (self.api if of_api else self.dashboard)(scope, receive, send)


def create_app() -> ASGIApp:
    """The server of this process's settings: the factory that `palisade serve` gives to Uvicorn."""
    configure_logs(settings().log_level)
    tracing.start(settings().otlp_endpoint)
    return Server(Application(settings()))
