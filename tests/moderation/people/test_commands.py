"""`palisade people` on a real database, with the real models."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.errors import InvalidRequestError
from moderation.people import commands
from moderation.scans.service import Upload
from moderation.settings import Settings, settings
from tests.factories import encode, picture
from tests.moderation.people.conftest import photo


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    """One application behind the commands and the test."""
    values = {
        "data_dir": tmp_path,
        "models_dir": settings().models,
        "people_keys": new_secret("k1"),
        "image_keys": new_secret("k2"),
    }
    application = Application(Settings(_env_file=None, **values))
    application.database.migrate()
    monkeypatch.setattr(commands, "Application", lambda _settings: application)
    yield application
    application.database.close()


def run(*arguments: object) -> str:
    answer = CliRunner().invoke(commands.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


GROUNDS = ("--name", "C. Person", "--document", "file 17", "--vouched-by", "A. Clerk", "--expires", "2090-01-01")


def test_from_enrolling_to_forgetting(application: Application, crops, tmp_path: Path) -> None:
    files = [tmp_path / f"{place}.png" for place in range(4)]
    for path, face in zip(files, crops[0], strict=False):
        path.write_bytes(photo(face).data)
    stranger = tmp_path / "no-face.png"
    stranger.write_bytes(encode(picture()))

    enrolled = json.loads(run("enrol", *files[:2], stranger, *GROUNDS, "--json"))
    person = enrolled["id"]
    assert [report["code"] for report in enrolled["reports"]] == ["", "", "no_face"]
    assert "3 photos" in run("add-photo", person, files[2])
    assert "C. Person" in run("show", person)
    assert [one["active"] for one in json.loads(run("list", "--json"))] == [True]
    assert person in run("check", files[3])
    assert "No face resembles anybody" in run("check", stranger)
    assert application.problems() == []

    scan = application.scans.scan("default", Upload(files[3].read_bytes()))
    likeness = [finding for finding in scan.measurement.findings if finding["label"] == "likeness"]
    assert [finding["evidence"]["person"] for finding in likeness] == [person]

    run("delete", person)
    assert json.loads(run("list", "--json")) == []
    again = application.scans.scan("default", Upload(files[3].read_bytes()))
    assert not again.reused
    assert [f["reason"] for f in again.measurement.findings if f["label"] == "likeness"] == ["no gallery"]
    assert "template" not in json.dumps(enrolled)


def test_a_file_that_is_not_there(application: Application, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        run("check", tmp_path / "nothing.png")
