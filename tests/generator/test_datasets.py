"""Datasets: the same bytes however they came about, verified, refused as a whole where the guard says so."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from detectors.training.datasets import read_dataset
from generator.datasets import reading, shards
from generator.datasets.maker import Maker, encoded
from generator.datasets.sheet import sheet
from generator.errors import DatasetError, GuardRefusalError, RecipeError
from generator.mark import Marker
from generator.modes.diffusion import Families
from generator.pipelines import load
from generator.recipes import Recipe
from tests.generator.parts import PlainMarker, TermGuard, pictures

FACES = {"mode": "self_blend", "pairs": True, "width": 112, "height": 112}


def recipe(**values: Any) -> Recipe:
    groups = values.pop(
        "groups",
        [
            {
                "name": "one",
                "label": "synthetic",
                "count": 7,
                "templates": ["a {c} dress"],
                "slots": {"c": ["red", "blue"]},
            }
        ],
    )
    common = {"name": "things", "about": "Things to test.", "mode": "text", "steps": 1, "shard": 3, "batch": 2}
    return Recipe.model_validate(common | values | {"groups": groups})


def maker(
    made: Recipe, *, folder: Path | None = None, faces: Path | None = None, guard: TermGuard | None = None
) -> Maker:
    families = Families(load(folder)) if folder else None
    found = pictures(faces, 4, 112) if faces else []
    return Maker(made, "d" * 64, guard or TermGuard(), PlainMarker(), families, None, found, "tiny", "e" * 64)


def signed(made: Recipe, faces: Path, guard: TermGuard | None = None) -> Maker:
    """A maker whose pictures carry the shipped marks, by a signer kept beside the faces."""
    return replace(maker(made, faces=faces, guard=guard), marker=Marker.default(faces.parent / "signer"))


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.suffix in (".tar", ".parquet", ".json")
    }


def silent(text: str) -> None:
    """For tests that look at files only."""


def test_a_dataset_is_labelled_and_verifiable(tiny_folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    shards.write(maker(recipe(), folder=tiny_folder), tmp_path, say=said.append)

    rows = reading.rows(tmp_path)
    assert [row["key"] for row in rows] == [f"things-{number:08d}" for number in range(7)]
    assert {row["label"] for row in rows} == {"synthetic"}
    assert all(row["marked"] and row["guard_state"] == "safe" and row["model_digest"] == "e" * 64 for row in rows)
    assert reading.verify(tmp_path) == 7
    assert "a second" in said[-1]
    assert "min left" in said[-1]


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    made = recipe(**FACES)
    shards.write(maker(made, faces=tmp_path / "faces"), tmp_path / "out", say=silent)
    before = content(tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}

    shards.write(maker(made, faces=tmp_path / "faces"), tmp_path / "out", say=silent)

    assert content(tmp_path / "out") == before
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")} == times


SLOW = """
import signal, sys, time
from pathlib import Path
from tests.generator import test_datasets as t
from generator.datasets import shards
class Slow(t.TermGuard):
    def check_image(self, image):
        time.sleep(0.02)
        return super().check_image(image)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
out = Path(sys.argv[2])
shards.write(t.signed(t.many(), Path(sys.argv[1]), Slow()), out, say=lambda text: print(text, flush=True))
"""


def many() -> Recipe:
    return recipe(**FACES, groups=[{"name": "one", "label": "swap", "count": 40}])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_to_the_same_bytes(how: signal.Signals, tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    pictures(faces, 4, 112)
    shards.write(signed(many(), faces), tmp_path / "whole", say=silent)
    command = [sys.executable, "-W", "ignore", "-c", SLOW, str(faces), str(tmp_path / "killed")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(how)
    process.wait(timeout=60)
    process.stdout.close()
    assert not (tmp_path / "killed" / "manifest.parquet").exists()

    shards.write(signed(many(), faces), tmp_path / "killed", say=silent)

    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert reading.verify(tmp_path / "killed") == 80


def test_workers_share_a_recipe_without_overlap(tmp_path: Path) -> None:
    faces = tmp_path / "faces"
    shards.write(maker(many(), faces=faces), tmp_path / "one", say=silent)

    shards.write(maker(many(), faces=faces), tmp_path / "two", worker=0, workers=2, say=silent)
    first = {path.name for path in (tmp_path / "two" / "shards").glob("*.tar")}
    assert first == {f"{number:06d}.tar" for number in range(0, 14, 2)}
    shards.write(maker(many(), faces=faces), tmp_path / "two", worker=1, workers=2, say=silent)

    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_a_shard_that_another_worker_holds_is_left_to_it(tmp_path: Path) -> None:
    made = maker(many(), faces=tmp_path / "faces")
    dataset = shards.Dataset(tmp_path / "out", made.recipe)
    (tmp_path / "out" / "shards").mkdir(parents=True)

    with shards._claimed(dataset, 1) as ours, shards._claimed(dataset, 1) as twice:
        assert (ours, twice) == (True, False)
        shards.write(made, tmp_path / "out", say=silent)
        assert not dataset.done(1)
    assert not dataset.manifest.exists()


def test_a_forbidden_prompt_refuses_the_whole_recipe(tiny_folder: Path, tmp_path: Path) -> None:
    groups = [
        {"name": "fine", "label": "x", "count": 5, "templates": ["a dress"]},
        {"name": "not", "label": "x", "count": 1, "templates": ["a {c} thing"], "slots": {"c": ["good", "forbidden"]}},
    ]
    with pytest.raises(GuardRefusalError) as caught:
        maker(recipe(groups=groups), folder=tiny_folder)

    assert caught.value.rule == "term"
    assert "forbidden" not in caught.value.message


def test_a_quarantined_image_is_recorded_and_not_kept(tiny_folder: Path, tmp_path: Path) -> None:
    shards.write(maker(recipe(), folder=tiny_folder, guard=TermGuard(darkest=2.0)), tmp_path, say=silent)

    rows = reading.rows(tmp_path)
    assert {(row["guard_state"], row["kept"], row["sha256"]) for row in rows} == {("quarantined", False, "")}
    assert all(set(files) == {"json"} for _, files in reading.samples(tmp_path))
    assert reading.verify(tmp_path) == 7


def test_pairs_share_size_format_and_split(tmp_path: Path) -> None:
    post = {"resize": [0.6, 1.0], "formats": ["jpeg", "webp"], "quality": [70, 95]}
    shards.write(maker(recipe(**FACES, post=post), faces=tmp_path / "faces"), tmp_path / "out", say=silent)

    rows = reading.rows(tmp_path / "out")
    for real, made in zip(rows[::2], rows[1::2], strict=True):
        assert (real["label"], made["label"]) == ("real", "synthetic")
        assert (real["marked"], made["marked"], made["mask"]) == (False, True, True)
        for name in ("width", "height", "format", "quality", "split", "parent"):
            assert real[name] == made[name]
    assert len({row["format"] for row in rows}) == 2
    examples = {Path(example.file).stem: example for example in read_dataset(tmp_path / "out")}
    for row in rows:
        assert examples[row["key"]].generated == (row["label"] != "real")
        assert examples[row["key"]].remade


def test_another_recipe_is_not_mixed_in(tmp_path: Path) -> None:
    shards.write(maker(recipe(**FACES), faces=tmp_path / "faces"), tmp_path / "out", say=silent)

    with pytest.raises(DatasetError, match="another recipe"):
        shards.write(maker(recipe(**FACES, seed=9), faces=tmp_path / "faces"), tmp_path / "out", say=silent)


def test_a_full_disk_is_told_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = maker(recipe(**FACES), faces=tmp_path / "faces")
    monkeypatch.setattr(shards, "LEAST_FREE", 1 << 60)

    with pytest.raises(DatasetError, match="is full at shard 0"):
        shards.write(made, tmp_path / "out", say=silent)
    assert not list((tmp_path / "out").rglob("*.part"))

    monkeypatch.undo()
    shards.write(made, tmp_path / "out", say=silent)
    assert reading.verify(tmp_path / "out") == 14


def test_verify_finds_a_changed_byte(tmp_path: Path) -> None:
    shards.write(maker(recipe(**FACES), faces=tmp_path / "faces"), tmp_path / "out", say=silent)
    shard = tmp_path / "out" / "shards" / "000001.tar"
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xda", b"\xff\xdb", 1))

    with pytest.raises(DatasetError, match="SHA-256"):
        reading.verify(tmp_path / "out")
    shard.unlink()
    with pytest.raises(DatasetError, match="missing"):
        reading.verify(tmp_path / "out")


def test_inspect_finds_duplicates_and_leaks(tmp_path: Path) -> None:
    base: dict[str, Any] = {"label": "a", "group": "g", "guard_state": "safe", "hard_negative": False}
    same = base | {"pdq": "f0" * 32}
    rows = [
        same | {"key": "1", "split": "train", "prompt": "x", "parent": ""},
        same | {"key": "2", "split": "dev", "prompt": "y", "parent": ""},
        base | {"key": "3", "pdq": "0f" * 32, "split": "dev", "prompt": "x", "parent": ""},
    ]

    assert reading.duplicates(rows) == [("1", "2")]
    assert reading._shared_sources(rows) == ["'x' is in dev and train"]


def test_sheets(tmp_path: Path) -> None:
    shards.write(maker(recipe(**FACES), faces=tmp_path / "faces"), tmp_path / "out", say=silent)

    assert sheet(tmp_path / "out", tmp_path / "sheet.png", 6) <= 6
    assert PIL.Image.open(tmp_path / "sheet.png").width == 8 * 128
    assert sheet(tmp_path / "out", tmp_path / "sheet.html") == 14
    assert (tmp_path / "sheet.html").read_text().count("<figure>") == 14
    with pytest.raises(DatasetError, match="cannot be written"):
        sheet(tmp_path / "out", tmp_path / "sheet.gif")


def test_an_unfinished_dataset_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({}))
    with pytest.raises(DatasetError, match="unfinished"):
        reading.rows(tmp_path)


def test_modes_that_need_pictures_say_so(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="needs pictures"):
        maker(recipe(**FACES))
    with pytest.raises(RecipeError, match="two people"):
        maker(recipe(mode="swap"), faces=tmp_path / "faces")


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    made = maker(recipe(**FACES), faces=tmp_path / "faces")
    (tmp_path / "faces" / "picture_0.png").write_bytes(b"not a picture")
    with pytest.raises(RecipeError, match=r"picture_0\.png is not a picture"):
        shards.write(made, tmp_path / "out", say=silent)


def test_encoding_is_deterministic() -> None:
    image = PIL.Image.new("RGB", (16, 16), "red")
    assert encoded(image, "jpeg", 80) == encoded(image, "jpeg", 80)
