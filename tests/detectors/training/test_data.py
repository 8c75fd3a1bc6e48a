"""Manifests, splits and views: what is refused, and that nothing but the pixels is left."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from detectors.training.data import (
    DataError,
    Example,
    View,
    check_split,
    decode,
    drop_duplicates,
    read_manifest,
    render,
)
from tests.factories import picture

HEADER = "file,label,source,family,origin\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        PIL.Image.fromarray(picture(120, 90, seed=number)).save(tmp_path / f"{number}.png")
    return tmp_path


def manifest(folder: Path, rows: str, header: str = HEADER) -> Path:
    path = folder / "manifest.csv"
    path.write_text(header + rows)
    return path


def test_examples_know_their_groups_and_prompts(folder: Path) -> None:
    rows = "1.png,generated,site,sd,x:out/renders/a-red-boat-17/sd-1.png\n0.png,real,camera,photo,a/renders/b/c\n"

    real, generated = read_manifest(manifest(folder, rows))

    assert (real.file, real.group, real.prompt) == ("0.png", "camera", "")
    assert (generated.group, generated.prompt, generated.source) == ("sd", "a-red-boat-17", "site")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "no rows"),
        ("0.png,fake,a,b,\n", "'fake'"),
        ("9.png,real,a,b,\n", "no .*9.png"),
        ("0.png,real,,b,\n", "no source"),
        ("0.png,real,a,b,\n0.png,generated,a,b,\n", r"0\.png 2 times"),
    ],
)
def test_an_unusable_manifest_is_refused_with_the_reason(folder: Path, rows: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_manifest(manifest(folder, rows))


def test_a_group_stands_for_the_family_or_is_what_a_split_keeps_together(folder: Path) -> None:
    (decided,) = read_manifest(manifest(folder, "1.png,generated,queue,uploader-7\n", "file,label,source,group\n"))
    both = "1.png,generated,queue,uploader-7,sd\n"
    (known,) = read_manifest(manifest(folder, both, "file,label,source,group,family\n"))

    assert (decided.group, decided.prompt) == ("uploader-7", "")
    assert (known.group, known.prompt) == ("sd", "uploader-7")


def test_a_missing_column_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match="family"):
        read_manifest(manifest(folder, "0.png,real,a\n", "file,label,source\n"))


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv")


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")

    with pytest.raises(DataError, match=r"bad\.png cannot be decoded"):
        decode(tmp_path / "bad.png")


def made(file: str, family: str, prompt: str = "", *, generated: bool = True) -> Example:
    return Example(file, Path(file), generated, family, family, prompt)


@pytest.mark.parametrize(
    ("train", "test", "what"),
    [
        (made("a", "sd"), made("a", "mj"), "file"),
        (made("a", "sd"), made("b", "sd"), "family"),
        (made("a", "sd", "boat"), made("b", "mj", "boat"), "prompt"),
    ],
)
def test_a_leaking_split_is_refused(train: Example, test: Example, what: str) -> None:
    with pytest.raises(DataError, match=f"the {what} "):
        check_split([train], [test])


def test_real_images_of_one_source_may_be_on_both_sides() -> None:
    check_split([made("a", "camera", generated=False)], [made("b", "camera", generated=False)])


@pytest.mark.parametrize("protocol", ["native", "laundered", "matched"])
def test_a_view_depends_on_its_seed_and_key_only(protocol: str) -> None:
    source = PIL.Image.fromarray(picture(700, 900, seed=3))
    first, again = (render(source, View(protocol, 0), "key").pixels for _ in range(2))

    assert np.array_equal(first, again)
    others = (render(source, View(protocol, 1), "key").pixels, render(source, View(protocol, 0), "else").pixels)
    assert all(first.shape != other.shape or not np.array_equal(first, other) for other in others)


def test_views_have_the_sides_of_their_protocol() -> None:
    source = PIL.Image.fromarray(picture(800, 1000, seed=3))
    for seed in range(20):
        assert 0.54 <= min(render(source, View("native", seed), "k").pixels.shape[:2]) / 800 <= 1
        assert 255 <= min(render(source, View("laundered", seed), "k").pixels.shape[:2]) <= 513
        assert 139 <= min(render(source, View("matched", seed), "k").pixels.shape[:2]) <= 401


def test_small_pictures_are_never_enlarged() -> None:
    source = PIL.Image.fromarray(picture(100, 120, seed=3))

    assert all(render(source, View("laundered", seed), "k").width <= 120 for seed in range(10))


def test_near_duplicates_and_mirror_images_are_dropped(folder: Path) -> None:
    PIL.Image.open(folder / "0.png").resize((100, 76)).save(folder / "0-small.jpg", quality=85)
    PIL.Image.open(folder / "0.png").transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "0-mirror.png")
    names = ["0.png", "0-small.jpg", "0-mirror.png", "1.png"]

    kept = drop_duplicates([Example(name, folder / name, False, "a", "b") for name in names])

    assert [example.file for example in kept] == ["0.png", "1.png"]
