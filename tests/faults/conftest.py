"""Services that the tests may kill."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import required
from tests.faults.services import Postgres, Redis, missing_services, service_folder


@pytest.fixture(scope="session")
def programs() -> None:
    """Skips where PostgreSQL or Redis is not installed."""
    if missing := missing_services():
        if required("SERVICES"):
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture(scope="module")
def folder(programs: None) -> Iterator[Path]:
    with service_folder() as made:
        yield made


@pytest.fixture(scope="module")
def postgres(folder: Path) -> Iterator[Postgres]:
    """A cluster of this module's own."""
    with Postgres(folder / "postgres") as service:
        yield service
    shutil.rmtree(folder / "postgres", ignore_errors=True)


@pytest.fixture(scope="module")
def redis(folder: Path) -> Iterator[Redis]:
    """A Redis of this module's own."""
    with Redis(folder / "redis") as service:
        yield service
