"""What routes are given: the application, the caller, and the upload of a request."""

from typing import Annotated

from fastapi import Depends, Request

from api.auth import Gate
from moderation.application import Application
from moderation.keys.service import Caller
from moderation.scans.service import ScanService


def application(request: Request) -> Application:
    """The application behind this server."""
    found = request.app.state.application
    assert isinstance(found, Application)  # noqa: S101 - set by create_app
    return found


def caller(request: Request) -> Caller:
    """Whoever makes the request; in a worker thread, since it reads the database."""
    gate = request.app.state.gate
    assert isinstance(gate, Gate)  # noqa: S101 - set by create_app
    return gate.caller(request)


ApplicationDep = Annotated[Application, Depends(application)]
CallerDep = Annotated[Caller, Depends(caller)]


def scans(app: ApplicationDep) -> ScanService:
    return app.scans


ScansDep = Annotated[ScanService, Depends(scans)]
