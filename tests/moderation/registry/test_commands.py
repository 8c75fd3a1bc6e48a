"""`palisade models`: registering, promoting and rolling back as an engineer does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moderation.application import Application
from moderation.cli import app
from moderation.settings import settings
from tests.moderation.registry.test_registry import variant


@pytest.fixture(autouse=True)
def _own_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PALISADE_MODELS_DIR", str(settings().models))
    monkeypatch.setenv("PALISADE_DATA_DIR", str(tmp_path / "data"))
    settings.cache_clear()
    application = Application(settings())
    application.database.migrate()
    application.database.close()
    yield
    monkeypatch.undo()
    settings.cache_clear()


def run(*arguments: str) -> str:
    answer = CliRunner().invoke(app, ["models", *arguments])
    return answer.output + str(answer.exception or "")


def test_the_life_of_a_model(tmp_path: Path) -> None:
    folder = variant(tmp_path, 1)

    said = run("register", "synthetic", str(folder))
    digest = said.split("@")[1][:12]
    assert "is candidate" in said
    assert "is shadow" in run("promote", "synthetic", digest)
    assert "is canary" in run("promote", "synthetic", digest, "--share", "0.1")
    assert "10%" in run("registered")
    assert "is active" in run("promote", "synthetic", digest)
    assert "the shipped model serves again" in run("rollback", "synthetic")
    assert "is retired" in run("retire", "synthetic", digest)
    assert "stability" in run("drift", "synthetic")


def test_a_model_that_fails_its_gates_is_told_why(tmp_path: Path) -> None:
    said = run("register", "synthetic", str(variant(tmp_path, 1, ece=0.2)))

    assert "cannot be promoted: `native ece` is 0.200" in said
    assert "does not pass" in run("promote", "synthetic", said.split("@")[1][:12])
