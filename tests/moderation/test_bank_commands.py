"""`palisade banks`, `exchanges`, `takedowns`, `events` and `chores`, as people call them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from moderation.application import Application
from moderation.cli import app
from moderation.commands.keys import new_secret
from moderation.errors import ConflictError, InvalidRequestError, NotFoundError
from moderation.settings import settings
from moderation.takedowns.records import Filing
from tests.factories import encode, picture

PDQ = "ab" * 32


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PALISADE_MODELS_DIR", str(settings().models))
    monkeypatch.setenv("PALISADE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PALISADE_TAKEDOWN_KEYS", new_secret("t"))
    settings.cache_clear()
    run("db", "upgrade")
    yield
    monkeypatch.undo()
    settings.cache_clear()


def run(*arguments: str, input: bytes | None = None) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=True, input=input)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_a_bank_from_making_to_deleting(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(encode(picture(seed=3)))
    run("banks", "create", "ncii", "--category", "intimate", "--action", "block")

    assert "4 entries added" in run("banks", "add", "ncii", str(photo), "--hash", f"pdq:{PDQ}", "--note", "case 7")
    found = json.loads(run("banks", "search", str(photo), "--json"))
    assert {entry["kind"] for entry in found} == {"sha256", "md5", "pdq"}
    assert "0 bits apart" in run("banks", "search", f"pdq:{PDQ.upper()}")
    run("banks", "update", "ncii", "--radius", "20", "--rename", "intimate")
    assert json.loads(run("banks", "show", "intimate"))["radius"] == 20
    assert json.loads(run("banks", "list", "--json"))[0]["entries"] == {"md5": 1, "pdq": 2, "sha256": 1}
    number = str(found[0]["id"])
    run("banks", "disable", number, "--until", "2090-01-01")
    assert json.loads(run("banks", "entries", "intimate", "--state", "disabled", "--json"))[0]["id"] == found[0]["id"]
    run("banks", "enable", number)
    run("banks", "release", number)
    run("banks", "remove", number)
    with pytest.raises(NotFoundError):
        run("banks", "remove", number)
    assert json.loads(run("banks", "matches", "intimate", "--json")) == []
    assert "3 entries are gone" in run("banks", "delete", "intimate").replace("\n", " ")


def test_lists_go_in_and_out(tmp_path: Path) -> None:
    run("banks", "create", "a")
    run("banks", "create", "b")
    path = tmp_path / "list.csv"
    path.write_text(f"kind,value\npdq,{PDQ}\npdq,12\n")

    with pytest.raises(InvalidRequestError, match="line 3"):
        run("banks", "import", "a", str(path), "--all-or-nothing")
    report = json.loads(run("banks", "import", "a", str(path), "--json"))
    assert (report["added"], report["refused"], report["problems"][0]["line"]) == (1, 1, 3)
    text = run("banks", "export", "a", "--format", "jsonl")
    assert (
        json.loads(run("banks", "import", "b", "-", "--format", "jsonl", "--json", input=text.encode()))["added"] == 1
    )


def test_an_exchange_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"type,value\npdq,{PDQ}\n")

    run("exchanges", "add", "own", "file", "--config", json.dumps({"path": str(path)}), "--every", "60")
    assert "1 entries added, 0 withdrawn" in run("exchanges", "sync", "own")
    assert "everything taken over" in run("exchanges", "list").replace("\n", " ") or "own" in run("exchanges", "list")
    with pytest.raises(ConflictError):
        run("banks", "delete", "own")
    run("exchanges", "remove", "own")
    for config in ("nonsense", "[]"):
        with pytest.raises(InvalidRequestError, match="--config"):
            run("exchanges", "add", "x", "file", "--config", config)


def test_a_notice_is_decided_and_reported() -> None:
    takedowns = Application(settings()).takedowns
    filing = Filing("A", "a@example.org", statement="I did not agree.", signature="A", good_faith=True)
    notices = [takedowns.file("default", filing, [("x.png", encode(picture(seed=n)))])[0].id for n in (4, 5)]

    assert notices[0][:12] in run("takedowns", "list")
    assert "0 hosted copies found" in run("takedowns", "accept", notices[0], "--reason", "It holds.")
    assert "removed" in run("takedowns", "confirm", notices[0], "--all")
    assert "rejected" in run("takedowns", "reject", notices[1], "--reason", "It is a poster.")
    shown = json.loads(run("takedowns", "show", notices[0], "--json"))
    assert (shown["state"], shown["filing"]["contact"]) == ("removed", "a@example.org")
    assert "It is a poster." in run("takedowns", "show", notices[1]).replace("\n", " ")
    assert json.loads(run("takedowns", "report"))["removed_in_time_share"] == 1.0
    kinds = [json.loads(line)["type"] for line in run("events", "tail").splitlines()]
    assert kinds.count("takedown.filed") == 2
    assert "takedown.removed" in kinds
    assert run("chores", "--once").strip() == "{}"
    with pytest.raises(InvalidRequestError):
        run("takedowns", "list", "--state", "nonsense")


def test_an_image_is_attached_by_file_or_by_digest(tmp_path: Path) -> None:
    takedowns = Application(settings()).takedowns
    filing = Filing(
        "A",
        "a@example.org",
        statement="I did not agree.",
        signature="A",
        good_faith=True,
        urls=("https://h.example/1",),
    )
    notice = takedowns.file("default", filing)[0].id
    path = tmp_path / "x.png"
    path.write_bytes(encode(picture(seed=6)))

    run("takedowns", "add-image", notice, str(path))
    with pytest.raises(NotFoundError):
        run("takedowns", "add-image", notice, "0" * 64)

    assert len(json.loads(run("takedowns", "show", notice, "--json"))["images"]) == 1


def test_a_secret_for_webhooks_is_made() -> None:
    assert run("events", "generate-secret").startswith("whsec_")
    assert "0 events" in run("events", "replay")
