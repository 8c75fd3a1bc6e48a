"""Faces of ordinary pictures: which are taken, what for, and that a second run does not look again."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.runtime import Runtime
from detectors.training.swap_photos import faces_in


@pytest.fixture
def manifest(tmp_path: Path, shared_data: Path) -> Path:
    """A photograph, a generated picture and a drawing, each with a portrait in it, and a photograph with a tiny one."""
    portrait = Pillow.open(sorted((shared_data / "faces").glob("*/*.png"))[0]).convert("RGB")
    rows = ["file,label,source,family"]
    for name, label, family, side in [
        ("photo.png", "real", "photo", 200),
        ("made.png", "generated", "sd", 200),
        ("drawn.png", "real", "drawn", 200),
        ("small.png", "real", "photo", 40),
    ]:
        canvas = Pillow.new("RGB", (360, 400), (120, 120, 120))
        canvas.paste(portrait.resize((side, side)), (80, 80))
        canvas.save(tmp_path / name)
        rows.append(f"{name},{label},test,{family}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "manifest.csv"


def test_faces_are_taken_by_what_their_picture_is(manifest: Path, runtime: Runtime, tmp_path: Path) -> None:
    faces = faces_in((manifest,), runtime, 1.0, tmp_path / "work" / "photos.npz")

    assert [(face.person, face.use) for face in faces] == [("made.png", "made"), ("photo.png", "photo")]
    assert all(face.pixels.shape == (112, 112, 3) for face in faces)


def test_pictures_are_searched_once(manifest: Path, runtime: Runtime, tmp_path: Path) -> None:
    first = faces_in((manifest,), runtime, 1.0, tmp_path / "photos.npz")
    (manifest.parent / "photo.png").unlink()

    second = faces_in((manifest,), runtime, 1.0, tmp_path / "photos.npz")

    assert [face.name for face in second] == [face.name for face in first]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, second, strict=True))


def test_a_blurred_face_is_left_out(manifest: Path, runtime: Runtime, tmp_path: Path) -> None:
    assert not faces_in((manifest,), runtime, 1e6, tmp_path / "photos.npz")
