"""Marks of generated pictures, read back by the real `provenance` detector."""

import io
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from detectors.base import Finding
from detectors.provenance import ProvenanceDetector
from detectors.runtime import Runtime
from generator.mark import SIGNER_FILE, Marker, MarkError
from generator.unsalted import cbor_bytes, cbor_read_bytes, unsalted
from tests.factories import make_image, picture

FACTS: dict[str, Any] = {"prompt_digest": "ab" * 32, "model": "tiny@1", "seed": 7}


@pytest.fixture(scope="module")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Marker:
    return Marker.default(tmp_path_factory.mktemp("signer"))


def found(data: bytes, format: str) -> dict[str, Finding]:
    pixels = np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))
    findings = ProvenanceDetector(Runtime(Path("none"))).detect([make_image(pixels, data=data, format=format)])[0]
    return {finding.label: finding for finding in findings}


@pytest.mark.parametrize("size", [(64, 64), (70, 90), (512, 384)])
@pytest.mark.parametrize(
    ("format", "quality"), [("PNG", None), ("JPEG", None), ("JPEG", 75), ("WEBP", None), ("WEBP", 90)]
)
def test_all_three_marks_are_read_back(marker: Marker, format: str, quality: int | None, size: tuple[int, int]) -> None:
    marked = marker.mark(Pillow.fromarray(picture(*size)), fmt=format.lower(), quality=quality, **FACTS)
    findings = found(marked, format)

    credentials = findings["c2pa"].evidence
    assert (credentials["state"], credentials["problems"], credentials["trusted"]) == ("valid", [], False)
    assert (credentials["ai_generated"], credentials["source_type"]) == (True, "trainedAlgorithmicMedia")
    assert findings["source_type"].evidence["value"] == "trainedAlgorithmicMedia"
    assert findings["watermark"].evidence["scheme"] == "palisade"


@pytest.mark.parametrize(("format", "quality"), [("PNG", None), ("JPEG", 75), ("WEBP", 90)])
def test_the_same_picture_and_facts_are_the_same_bytes(marker: Marker, format: str, quality: int | None) -> None:
    image = Pillow.fromarray(picture(70, 90, seed=5))
    first, second = (marker.mark(image, fmt=format, quality=quality, **FACTS) for _ in range(2))

    assert first == second
    assert first != marker.mark(image, fmt=format, quality=quality, **FACTS | {"seed": 8})


def test_a_byte_changed_after_signing_is_noticed(marker: Marker) -> None:
    """The signature that replaces the library's own is one that its reader checks."""
    marked = marker.mark(Pillow.fromarray(picture(64, 64)), fmt="JPEG", quality=90, **FACTS)

    assert found(marked.replace(b"tiny@1", b"huge@1"), "JPEG")["c2pa"].evidence["state"] == "invalid"


@pytest.mark.parametrize("broken", [b"", b"c2pa.claim.v2\0", b"\x00\x00\x00\x18c2sh" + bytes(16)])
def test_a_file_that_is_not_built_as_expected_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unsalted(broken, bytes, "urn:x")


@pytest.mark.parametrize("size", [0, 23, 24, 255, 256, 65_535])
def test_byte_strings_are_read_as_they_are_written(size: int) -> None:
    value = bytes(size)

    assert cbor_read_bytes(cbor_bytes(value) + b"more") == value


@pytest.mark.parametrize("side", [64, 256])
def test_the_mark_in_the_pixels_survives_a_host_that_saves_anew(marker: Marker, side: int) -> None:
    marked = marker.mark(Pillow.fromarray(picture(side, side, seed=3)), fmt="PNG", quality=None, **FACTS)
    anew = io.BytesIO()
    Pillow.open(io.BytesIO(marked)).convert("RGB").save(anew, "JPEG", quality=75, subsampling=2)

    assert set(found(anew.getvalue(), "JPEG")) == {"watermark"}


def test_the_key_is_kept_for_its_owner_alone_and_used_again(tmp_path: Path) -> None:
    first = Marker.default(tmp_path / "new")
    path = tmp_path / "new" / SIGNER_FILE

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Marker.default(tmp_path / "new") == first
    assert [entry.name for entry in path.parent.iterdir()] == [SIGNER_FILE]


def test_a_signer_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / SIGNER_FILE).write_text("no key")

    with pytest.raises(MarkError, match=SIGNER_FILE):
        Marker.default(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"fmt": "GIF"},
        {"fmt": "PNG", "quality": 90},
        {"fmt": "JPEG", "quality": 0},
        {"fmt": "JPEG", "quality": 101},
        {"prompt_digest": "a cat"},
        {"image": Pillow.fromarray(picture(63, 200))},
    ],
)
def test_what_cannot_be_marked_is_refused(marker: Marker, changed: dict[str, Any]) -> None:
    arguments = {"image": Pillow.fromarray(picture(64, 64)), "fmt": "PNG", "quality": None, **FACTS, **changed}

    with pytest.raises(MarkError):
        marker.mark(arguments.pop("image"), **arguments)
