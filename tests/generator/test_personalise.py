"""A recipe that teaches a pipeline one identity, as a likeness attack does, with the consent that it needs."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from generator.datasets import reading
from generator.errors import RecipeError
from generator.recipes.loader import parse
from palisade import app
from tests.generator.parts import pictures

IDENTITY = {
    "subject": "nobody-1",
    "basis": "synthetic-face",
    "note": "smooth noise, made by the tests",
    "recorded": "2026-11-24",
    "steps": 2,
    "rank": 1,
}


def written(folder: Path, **changes: Any) -> Path:
    values = {
        "name": "one-identity",
        "about": "Pictures of nobody, to test with.",
        "mode": "personalise",
        "steps": 2,
        "identity": IDENTITY,
        "groups": [{"name": "all", "label": "synthetic", "count": 3, "templates": ["a photo of sks"]}],
    } | changes
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
    return path


def run(recipe: Path, out: Path, faces: Path | None) -> Any:
    command = ["generate", str(recipe), "--out", str(out), "--models", str(out.parent / "none")]
    return CliRunner().invoke(app, command + (["--pictures", str(faces)] if faces else []))


def test_an_identity_is_taught_once_and_its_pictures_made(tmp_path: Path) -> None:
    pictures(tmp_path / "faces", 2)
    recipe, out = written(tmp_path), tmp_path / "out"

    answer = run(recipe, out, tmp_path / "faces")

    assert answer.exit_code == 0, answer.exception
    assert json.loads((out / "identity" / "consent.json").read_text())["note"] == IDENTITY["note"]
    rows = reading.rows(out)
    assert [(row["parent"], row["mode"], row["marked"]) for row in rows] == [("nobody-1", "personalise", True)] * 3
    assert len({row["split"] for row in rows}) == 1
    weights = next((out / "identity").glob("*.safetensors"))
    before = weights.stat().st_mtime_ns
    (out / "shards" / "000000.parquet").unlink()
    assert run(recipe, out, tmp_path / "faces").exit_code == 0
    assert weights.stat().st_mtime_ns == before
    assert reading.rows(out) == rows


def test_the_folder_is_not_shared_by_two_identities(tmp_path: Path) -> None:
    pictures(tmp_path / "faces", 2)
    assert run(written(tmp_path), tmp_path / "out", tmp_path / "faces").exit_code == 0

    other = written(tmp_path, identity=IDENTITY | {"subject": "nobody-2"})
    answer = run(other, tmp_path / "out", tmp_path / "faces")

    assert "another identity" in str(answer.exception)


def test_without_pictures_nothing_is_taught(tmp_path: Path) -> None:
    answer = run(written(tmp_path), tmp_path / "out", None)

    assert "needs pictures" in str(answer.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"identity": None}, "needs an identity"),
        ({"mode": "text"}, "no other mode takes one"),
        ({"identity": IDENTITY | {"basis": "public-figure"}}, "written-consent-of-an-adult"),
        ({"identity": IDENTITY | {"note": "yes"}}, "10 characters"),
        ({"identity": IDENTITY | {"token": "ohwx"}}, "ohwx"),
    ],
)
def test_an_identity_that_may_not_be_taught_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse(written(tmp_path, **changes).read_bytes(), "recipe.yaml")
