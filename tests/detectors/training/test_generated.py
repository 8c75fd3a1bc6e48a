"""Listed pictures of generative models: every one is taken as the list says, or it is said which is not there."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.training.data import DataError, read_manifest
from detectors.training.gather import GENERATED, Source, gather, sources
from detectors.training.generated import Made, facts, still
from tests.factories import picture

MADE = (
    Made("flux", "FLUX.2", ("pypi/art_1.0/art/fox-1.webp", "pypi/art_1.0/art/fox-2.webp")),
    Made("wan", "Wan 2.2", ("pypi/art_1.0/art/run-1.webp",), above=0.25),
)
SOURCE = Source("art", "", (("pypi:art@1.0",),), (), 0, "MIT", MADE)


def silent(_: str) -> None:
    """Nobody listens."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures and an animated one, whose middle frame is red, as a wheel leaves them."""
    folder = tmp_path / "root/pypi/art_1.0/art"
    folder.mkdir(parents=True)
    for number in (1, 2):
        Pillow.fromarray(picture(200, 160, seed=number)).save(folder / f"fox-{number}.webp", lossless=True)
    first, *others = (Pillow.new("RGB", (200, 160), colour) for colour in ("black", "red", "white"))
    first.save(folder / "run-1.webp", save_all=True, append_images=others, lossless=True)
    return tmp_path / "root"


def test_listed_pictures_are_gathered_with_family_group_and_model(root: Path, tmp_path: Path) -> None:
    written = gather([SOURCE], tmp_path / "out", silent, root=root)

    rows = list(csv.DictReader(written.read_text().splitlines()))
    assert [(row["file"], row["family"], row["group"], row["model"]) for row in rows] == [
        ("art/0000.png", "flux", "fox", "FLUX.2"),
        ("art/0001.png", "flux", "fox", "FLUX.2"),
        ("art/0002.png", "wan", "run", "Wan 2.2"),
    ]
    assert {row["licence"] for row in rows} == {"MIT"}
    assert [(e.generated, e.source, e.group, e.prompt) for e in read_manifest(written)] == [
        (True, "art", "flux", "fox"),
        (True, "art", "flux", "fox"),
        (True, "art", "wan", "run"),
    ]


def test_an_animated_picture_gives_its_middle_frame_without_what_is_above(root: Path) -> None:
    shown = still(root / MADE[1].files[0], above=0.25)

    assert shown.size == (200, 120)
    assert shown.getcolors() == [(200 * 120, (255, 0, 0))]


def test_generated_pictures_that_do_not_suit_are_left_out(root: Path, tmp_path: Path) -> None:
    written = gather([SOURCE], tmp_path / "out", silent, root=root, suits=lambda p: bool(np.asarray(p).std() > 120))

    assert [e.family for e in read_manifest(written)] == ["wan"]


def test_a_listed_picture_that_is_not_there_is_named(root: Path, tmp_path: Path) -> None:
    (root / MADE[0].files[1]).unlink()

    with pytest.raises(DataError, match=r"fox-2\.webp is not in the packages"):
        gather([SOURCE], tmp_path / "out", silent, root=root)
    assert not (tmp_path / "out/art").exists()


def test_a_broken_picture_is_named(root: Path, tmp_path: Path) -> None:
    (root / MADE[0].files[0]).write_bytes(b"RIFF" + bytes(100))

    with pytest.raises(DataError, match=r"fox-1\.webp cannot be decoded"):
        gather([SOURCE], tmp_path / "out", silent, root=root)


def test_what_was_gathered_from_another_list_is_not_labelled(root: Path, tmp_path: Path) -> None:
    gather([SOURCE], tmp_path / "out", silent, root=root)

    with pytest.raises(DataError, match=r"run-1\.webp is not listed"):
        gather([replace(SOURCE, made=MADE[:1])], tmp_path / "out", silent, root=root)


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="above is 1"):
        Made.of({"family": "flux", "model": "FLUX.2", "files": [], "above": 1})


def test_the_shipped_list_names_every_picture_once_in_packages_whose_files_are_pinned() -> None:
    (listed,) = sources(GENERATED)

    files = [file for one in listed.made for file in one.files]
    places = {f"pypi/{name.removeprefix('pypi:').partition('#')[0].replace('@', '_')}/" for (name,) in listed.packages}
    assert len(files) == len(set(files)) >= 300
    assert len({one.family for one in listed.made}) >= 40
    assert {next(place for place in places if file.startswith(place)) for file in files} == places
    assert all(len(name.partition("#sha256=")[2]) == 64 for (name,) in listed.packages)
    assert all(facts(listed.made, file)[2] for file in files)
