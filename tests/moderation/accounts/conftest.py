"""Accounts on a real database, with real hashes and codes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.database import Database
from moderation.settings import Settings

MakeParts = Callable[..., Application]


@pytest.fixture
def make_parts(database: Database, database_url: str, tmp_path: Path) -> MakeParts:
    """Makes applications on one database, as servers side by side are, with settings changed as given."""
    keys = new_secret("accounts")

    def make(**changed: Any) -> Application:
        values = {"data_dir": tmp_path, "database_url": database_url, "account_keys": keys}
        values |= {"takedown_keys": keys, **changed}
        application = Application(Settings(_env_file=None, **values))
        application.__dict__["database"] = database
        return application

    return make


@pytest.fixture
def parts(make_parts: MakeParts) -> Application:
    return make_parts()
