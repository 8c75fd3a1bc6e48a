"""Fixtures that every test may use."""

import importlib.util
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from detectors.runtime import Runtime
from moderation.database import Database
from moderation.settings import settings

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def required(name: str) -> bool:
    """Whether this run must fail where something is missing, rather than skip (`PALISADE_TEST_REQUIRE_*=1`)."""
    return os.environ.get(f"PALISADE_TEST_REQUIRE_{name}") == "1"


def missing_for_training() -> list[str]:
    """The libraries of the extra `train` that are not installed."""
    names = ("torch", "diffusers", "transformers", "peft", "pyarrow")
    return [name for name in names if importlib.util.find_spec(name) is None]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was left out, and how to run it."""
    if missing := missing_for_training():
        terminalreporter.write_line(
            f"Tests of training and of the generator were left out: {', '.join(missing)} not installed. "
            "`make test-train` installs the extra and runs them."
        )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared images and vectors, beside the checkout. Skips where it is absent."""
    if not SHARED_DATA.is_dir():
        message = f"the shared data folder {SHARED_DATA} is absent"
        if required("DATA"):
            pytest.fail(message)
        pytest.skip(message)
    return SHARED_DATA


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    """The real models, pulled by `make models`."""
    return Runtime(settings().models, threads=2)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new, empty database, on SQLite and on PostgreSQL (where `PALISADE_TEST_POSTGRES_URL` names a server)."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'palisade.db'}"
        return
    server = os.environ.get("PALISADE_TEST_POSTGRES_URL")
    if not server:
        message = "PALISADE_TEST_POSTGRES_URL names no PostgreSQL server"
        if required("SERVICES"):
            pytest.fail(message)
        pytest.skip(message)
    name = f"test_{uuid.uuid4().hex}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"create database {name}"))
    yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"drop database {name} with (force)"))
    engine.dispose()


@pytest.fixture
def empty_database(database_url: str) -> Iterator[Database]:
    """A database without any table."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def database(empty_database: Database) -> Database:
    """A database with the newest schema."""
    empty_database.migrate()
    return empty_database


@pytest.fixture
def redis_url() -> str:
    """A Redis server (`PALISADE_TEST_REDIS_URL`). Skips where none is named."""
    url = os.environ.get("PALISADE_TEST_REDIS_URL")
    if not url:
        message = "PALISADE_TEST_REDIS_URL names no Redis server"
        if required("SERVICES"):
            pytest.fail(message)
        pytest.skip(message)
    return url
