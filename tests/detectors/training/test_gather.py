"""Gathering real pictures: from a folder as packages leave it; what is missing or broken is said."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.training.data import DataError, read_manifest
from detectors.training.gather import PAGES, Source, chosen, gather, on_ground, sources
from tests.conftest import required
from tests.factories import picture

SOURCE = Source("drawings", "drawn", (("drawings-data",),), ("usr/share/drawings/**/*.png",), 3)


def silent(_: str) -> None:
    """Nobody listens."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven pictures that are worth it, one with holes, one too small, one broken, and a text."""
    folder = tmp_path / "root/usr/share/drawings/deep"
    folder.mkdir(parents=True)
    for number in range(6):
        Pillow.fromarray(picture(200, 160, seed=number)).save(folder / f"{number}.png", compress_level=0)
    holed = np.dstack([picture(200, 160, seed=9), np.zeros((160, 200), np.uint8)])
    Pillow.fromarray(holed).save(folder / "6.png", compress_level=0)
    Pillow.fromarray(picture(100, 90)).save(folder / "small.png", compress_level=0)
    (folder / "broken.png").write_bytes(b"\x89PNG" + bytes(20_000))
    (folder / "notes.txt").write_text("x" * 20_000)
    return tmp_path / "root"


def test_a_source_is_gathered_evenly_with_a_manifest(root: Path, tmp_path: Path) -> None:
    written = gather([SOURCE], tmp_path / "out", silent, root=root)

    examples = read_manifest(written)
    assert [(e.file, e.generated, e.source, e.family) for e in examples] == [
        (f"drawings/{number:04d}.png", False, "drawings", "drawn") for number in range(3)
    ]
    origins = (tmp_path / "out/drawings/origins.txt").read_text().splitlines()
    assert [Path(origin).name for origin in origins] == ["0.png", "3.png", "6.png"]


def test_what_is_there_is_kept_and_what_is_half_done_is_not_there(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out/.drawings.part").mkdir(parents=True)
    gather([SOURCE], tmp_path / "out", silent, root=root)
    shutil.rmtree(root)

    assert len(read_manifest(gather([SOURCE], tmp_path / "out", silent, root=root))) == 3
    assert not (tmp_path / "out/.drawings.part").exists()


def test_what_is_transparent_is_filled_and_the_same_each_time(root: Path) -> None:
    path = root / "usr/share/drawings/deep/6.png"
    first = np.asarray(on_ground(path))

    assert first.shape == (160, 200, 3)
    assert len(np.unique(first.reshape(-1, 3), axis=0)) == 1
    assert np.array_equal(first, np.asarray(on_ground(path)))


def test_small_and_broken_pictures_are_passed_over(root: Path) -> None:
    names = [Path(name).name for name, _ in chosen(replace(SOURCE, count=100), root)]

    assert names == [f"{number}.png" for number in range(7)]


def test_a_source_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="drawings"):
        gather([SOURCE], tmp_path / "out", silent, root=tmp_path)


def uneven(picture: Pillow.Image) -> bool:
    """Whether it is more than one plain colour."""
    return bool(np.asarray(picture).std(axis=(0, 1)).max() > 1)


def test_photographs_that_do_not_suit_are_left_out(root: Path, tmp_path: Path) -> None:
    photographs = replace(SOURCE, kind="photo", count=100)
    written = gather([photographs], tmp_path / "out", silent, root=root, suits=uneven)

    assert len(read_manifest(written)) == 6
    assert len(read_manifest(gather([replace(SOURCE, count=100)], tmp_path / "all", silent, root=root))) == 7


def test_the_manifest_states_the_licence(root: Path, tmp_path: Path) -> None:
    written = gather([replace(SOURCE, licence="CC0")], tmp_path / "out", silent, root=root)

    assert {row["licence"] for row in csv.DictReader(written.read_text().splitlines())} == {"CC0"}


def test_pages_are_taken_by_chromium(tmp_path: Path) -> None:
    if not shutil.which("chromium"):
        if required("SERVICES"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/page.html").write_text("<h1>A page</h1>" + "<p>Words of a manual.</p>" * 1000)

    examples = read_manifest(gather([], tmp_path / "out", silent, pages=1, root=tmp_path / "root"))

    assert [(e.source, e.family) for e in examples] == [(PAGES, "screenshot")]


def test_the_shipped_list_can_be_read() -> None:
    names = [source.name for source in sources()]

    assert len(names) == len(set(names)) >= 9


def test_a_list_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text("[[source]]\nname = 1\n")

    with pytest.raises(DataError, match="not a list of sources"):
        sources(tmp_path / "list.toml")
