"""Applications whose scans are done later."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from moderation.application import Application
from tests.api.conftest import MakeApp, make_application, scanner
from tests.hosts import Host, running_host

__all__ = ["make_application", "scanner"]

SECRET = "whsec_" + "QUFB" * 8

Bell = list[tuple[str, str]]


@pytest.fixture
def host() -> Iterator[Host]:
    """A host that serves images and takes webhooks."""
    with running_host(SECRET) as running:
        yield running


@pytest.fixture
def make_app(make_application: MakeApp, tmp_path: Path) -> Callable[..., Application]:
    """Applications that may fetch from this machine; jobs lie where the test lets them be done."""

    def make(**changed: object) -> Application:
        return make_application(fetch_allowed_networks="127.0.0.0/8", job_retry_seconds=0.01, **changed)

    return make


@pytest.fixture
def app(make_app: Callable[..., Application], database_url: str) -> Application:
    """One on each database."""
    return make_app(database_url=database_url)


class HeardBell:
    """A doorbell whose rings the test hears. Rings are what a broker is given, not what is done."""

    can_ring = True

    def __init__(self) -> None:
        self.rung: Bell = []

    def ring(self, job_id: str, lane: str) -> None:
        self.rung.append((job_id, lane))


@pytest.fixture
def bell(app: Application) -> HeardBell:
    """The doorbell of `app`."""
    heard = HeardBell()
    app.jobs.doorbell = heard
    return heard
