"""The commands, called as a user calls them."""

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

from generator.commands import need_extra
from generator.curve import read, svg
from generator.datasets import shards
from generator.errors import ModelError
from generator.loop import write_curve
from generator.model import EMBEDDED
from generator.pipelines import check_weights
from palisade import app
from tests.generator.test_datasets import FACES, maker, recipe, silent

RUN = CliRunner()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    shards.write(maker(recipe(**FACES), faces=tmp_path / "faces"), tmp_path / "out", say=silent)
    return tmp_path / "out"


def test_recipes_are_listed() -> None:
    answer = RUN.invoke(app, ["generate", "recipes"])
    assert answer.exit_code == 0
    assert "hard-negatives" in answer.output


def test_verify_inspect_and_sheet(made: Path, tmp_path: Path) -> None:
    assert "14 samples" in RUN.invoke(app, ["dataset", "verify", str(made)]).output
    report = RUN.invoke(app, ["dataset", "inspect", str(made), "--format", "json"])
    assert '"labels": {"real": 7, "synthetic": 7}' in report.output
    assert RUN.invoke(app, ["dataset", "sheet", str(made), "--out", str(tmp_path / "s.png")]).exit_code == 0


def test_what_names_no_command_is_a_recipe(tmp_path: Path) -> None:
    answer = RUN.invoke(app, ["generate", "nothing-of-the-kind", "--out", str(tmp_path)])
    assert answer.exit_code == 1
    assert "there is no recipe nothing-of-the-kind" in str(answer.exception)


def test_a_missing_library_names_the_extra() -> None:
    with pytest.raises(ModelError) as caught:
        need_extra("no_such_library")
    assert "palisade[train]" in caught.value.hint


def test_a_curve_is_drawn(tmp_path: Path) -> None:
    write_curve(tmp_path / "curve.csv", [(100, 1.5), (200, 0.3)])
    drawn = svg("loss & more", read(tmp_path / "curve.csv"))
    assert drawn.count("<polyline") == 1
    assert "loss &amp; more" in drawn


def test_the_embedded_model_is_small_and_safe() -> None:
    check_weights(EMBEDDED)
    assert sum(path.stat().st_size for path in EMBEDDED.rglob("*") if path.is_file()) < 25_000_000


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("generator.guard", "generator.mark")),
    reason="guard and marker are not installed",
)
def test_generate_on_a_fresh_machine(tmp_path: Path) -> None:
    text = (
        Path("generator/recipes/everyday.yaml")
        .read_text()
        .replace("count: 64", "count: 2")
        .replace("steps: 20", "steps: 2")
    )
    (tmp_path / "few.yaml").write_text(text)

    answer = RUN.invoke(app, ["generate", str(tmp_path / "few.yaml"), "--out", str(tmp_path / "set")])

    assert answer.exit_code == 0, answer.exception
    assert "4 samples" in RUN.invoke(app, ["dataset", "verify", str(tmp_path / "set")]).output
