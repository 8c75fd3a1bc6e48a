"""A real server application on a real database with the real models."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.scanner import Scanner
from moderation.settings import Settings, settings

MakeApp = Callable[..., Application]


@pytest.fixture(scope="session")
def scanner(runtime: Any) -> Scanner:
    """One scanner for all tests: loading the models takes seconds."""
    scanner = Scanner(runtime, concurrency=2)
    scanner.build()
    return scanner


@pytest.fixture
def make_application(tmp_path: Path, scanner: Scanner) -> Iterator[MakeApp]:
    """Makes applications on a new SQLite database, with settings changed as given."""
    made: list[Application] = []

    def make(**changed: Any) -> Application:
        values = {
            "data_dir": tmp_path,
            "models_dir": settings().models,
            "image_keys": new_secret("test"),
            "chores_seconds": 0,
            **changed,
        }
        application = Application(Settings(_env_file=None, **values))
        application.__dict__["scanner"] = scanner
        application.database.migrate()
        made.append(application)
        return application

    yield make
    for application in made:
        application.database.close()


@pytest.fixture
def application(make_application: MakeApp, database_url: str) -> Application:
    """An application on each database that needs no key."""
    return make_application(database_url=database_url, require_key=False)


@pytest.fixture
def client(application: Application) -> Iterator[TestClient]:
    """The API of `application`."""
    with TestClient(create_app(application)) as client:
        yield client
