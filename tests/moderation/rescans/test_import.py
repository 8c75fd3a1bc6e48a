"""Importing what a host has already."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from detectors.runtime import Runtime
from moderation.errors import InvalidRequestError
from moderation.rescans.importing import Imported, Importer, items
from moderation.tables import Scan, StoredImage
from tests.factories import encode, picture
from tests.moderation.rescans.test_images import light


@pytest.fixture
def importer(tmp_path: Path, database_url: str, runtime: Runtime) -> Importer:
    made = light(tmp_path, database_url, runtime)
    made.database.migrate()
    return Importer(made.database, made.scans, made.client, max_bytes=made.settings.max_bytes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four pictures, two of them alike; a text; and what is no picture."""
    hosted = tmp_path / "hosted"
    (hosted / "b").mkdir(parents=True)
    for name, seed in (("a.jpg", 1), ("b/c.jpg", 2), ("b/d.jpg", 3), ("z.jpg", 1)):
        (hosted / name).write_bytes(encode(picture(120, 90, seed=seed), "JPEG"))
    (hosted / "notes.txt").write_text("no picture")
    (hosted / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return hosted


def imported(importer: Importer, source: str, *, most: int = 1_000) -> list[Imported]:
    done: list[Imported] = []
    for each in importer.run("default", items(source), stopped=lambda: len(done) >= most):
        done.append(each)
    return done


def test_a_folder_is_scanned_once_and_the_same_bytes_are_measured_once(importer: Importer, folder: Path) -> None:
    done = {each.item.context.external_id: each.state for each in imported(importer, str(folder))}
    again = [each.state for each in imported(importer, str(folder))]

    assert done == {
        "a.jpg": "scanned",
        "b/c.jpg": "scanned",
        "b/d.jpg": "scanned",
        "broken.png": "failed",
        "z.jpg": "scanned",
    }
    assert sorted(again) == ["failed", "known", "known", "known", "known"]
    with importer.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(StoredImage)) == 3
        assert session.scalar(sa.select(sa.func.count()).select_from(Scan)) == 4
    importer.database.close()


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_manifest_says_what_is_known_of_each(importer: Importer, folder: Path, kind: str) -> None:
    rows = [
        {"file": "a.jpg", "external_id": "pic-1", "uploader": "ann", "surface": "avatar"},
        {"file": "b/c.jpg", "external_id": "pic-2", "uploader": "", "surface": ""},
        {"file": "gone.jpg", "external_id": "pic-3", "uploader": "", "surface": ""},
    ]
    lines = [json.dumps(row) for row in rows]
    if kind == "csv":
        lines = [",".join(row.values()) for row in ({name: name for name in rows[0]}, *rows)]
    (folder / f"list.{kind}").write_text("\n".join(lines) + "\n")

    done = imported(importer, str(folder / f"list.{kind}"))

    assert [each.state for each in done] == ["scanned", "scanned", "failed"]
    assert done[2].error
    assert done[2].error.error_code == "source_failed"
    with importer.database.read() as session:
        first = session.scalars(sa.select(Scan).where(Scan.external_id == "pic-1")).one()
    assert (first.uploader, first.surface) == ("ann", "avatar")
    importer.database.close()


def test_an_id_that_is_too_long_is_listed(importer: Importer, folder: Path) -> None:
    (folder / "list.jsonl").write_text(json.dumps({"file": "a.jpg", "external_id": "x" * 201}) + "\n")

    (done,) = imported(importer, str(folder / "list.jsonl"))

    assert (done.state, done.error and done.error.error_code) == ("failed", "request_invalid")
    importer.database.close()


def test_what_was_interrupted_goes_on(importer: Importer, folder: Path) -> None:
    first = imported(importer, str(folder), most=0)
    second = imported(importer, str(folder))

    assert first == []
    assert sum(each.state in ("scanned", "known") for each in second) == 4
    importer.database.close()


@pytest.mark.parametrize("source", ["ftp://host/folder", "https://host/folder", "/nowhere/at/all"])
def test_sources_that_cannot_be_imported(source: str) -> None:
    with pytest.raises(InvalidRequestError):
        list(items(source))


def test_a_manifest_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("name,id\na,b\n")

    with pytest.raises(InvalidRequestError, match="Line 2"):
        list(items(str(tmp_path / "list.csv")))


def test_the_command_says_what_it_takes() -> None:
    from moderation.cli import app

    result = CliRunner().invoke(app, ["import", "--help"])

    assert result.exit_code == 0
    assert "Ctrl-C ends it safely" in result.stdout
