"""Packages are unpacked, never run: what is in them, what tries to get out of them, and what is not there."""

import hashlib
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image as Pillow

from detectors.training import packages
from detectors.training.data import DataError
from detectors.training.packages import pictures_in, unpacked
from tests.factories import picture


def silent(_: str) -> None:
    """Nobody listens."""


def encoded(form: str, seed: int = 0) -> bytes:
    with io.BytesIO() as buffer:
        Pillow.fromarray(picture(480, 360, seed=seed)).save(buffer, format=form, quality=95)
        return buffer.getvalue()


def resources(*held: bytes) -> bytes:
    """A Qt resource file whose data comes before its tree, as rcc lays it."""
    data = b"".join(struct.pack(">I", len(one)) + one for one in held)
    return b"qres" + struct.pack(">4I", 1, 20 + len(data), 20, 24 + len(data)) + data + bytes(8)


def laid(members: dict[str, bytes]) -> packages.Told:
    """Stands in for the registry: the package's file is there, as `npm pack` leaves it."""

    def fetch(name: str, folder: Path) -> bool:
        with tarfile.open(folder / "one.tgz", "w:gz") as archive:
            for path, held in members.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(held)
                archive.addfile(entry, io.BytesIO(held))
        return True

    return fetch  # type: ignore[return-value]


def test_pictures_of_a_resource_file_are_found_among_other_things() -> None:
    jpeg, webp = encoded("JPEG"), encoded("WEBP", seed=1)
    held = resources(jpeg, b"import QtQuick 2.12" * 1000, b"tiny", webp)

    assert list(pictures_in(held)) == [(jpeg, "jpeg"), (webp, "webp")]


@pytest.mark.parametrize("broken", [b"", b"qres", b"other" * 100, resources(encoded("JPEG"))[:5000]])
def test_a_broken_resource_file_has_none(broken: bytes) -> None:
    assert list(pictures_in(broken)) == []


def test_a_package_of_npm_lies_below_its_name_with_its_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {"package/photos/a.jpg": encoded("JPEG"), "package/b.rcc": resources(encoded("PNG"))}
    monkeypatch.setattr(packages, "fetch", laid(members))

    folder = unpacked([["npm:@some/photos@1.0.0"]], tmp_path, silent)

    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    inside = "npm/some_photos/package"
    assert found[1:] == [f"{inside}/b.rcc", f"{inside}/b.rcc.d/0000.png", f"{inside}/photos/a.jpg"]
    assert not list(tmp_path.glob("*.tgz"))


def test_a_package_that_writes_outside_its_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "fetch", laid({"../../../out.jpg": b"x"}))

    with pytest.raises(DataError, match="cannot be unpacked"):
        unpacked([["npm:evil@1.0.0"]], tmp_path / "a/b", silent)
    assert not list(tmp_path.rglob("out.jpg"))


def wheel(members: dict[str, bytes]) -> bytes:
    with io.BytesIO() as buffer:
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, held in members.items():
                archive.writestr(path, held)
        return buffer.getvalue()


def given(held: bytes) -> packages.Told:
    """Stands in for the registry: the wheel is there, as `pip download` leaves it."""

    def fetch(name: str, folder: Path) -> bool:
        (folder / "art-1.0-py3-none-any.whl").write_bytes(held)
        return True

    return fetch  # type: ignore[return-value]


def test_a_wheel_lies_below_its_name_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = wheel({"art/a.webp": encoded("WEBP"), "art/__init__.py": b"raise SystemExit"})
    monkeypatch.setattr(packages, "fetch", given(held))

    folder = unpacked([[f"pypi:art@1.0#sha256={hashlib.sha256(held).hexdigest()}"]], tmp_path, silent)

    assert (folder / "pypi/art_1.0/art/a.webp").read_bytes() == encoded("WEBP")
    assert not list(tmp_path.glob("*.whl"))


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "fetch", given(wheel({"art/a.webp": b"other"})))

    with pytest.raises(DataError, match=r"art-1\.0-py3-none-any\.whl has the SHA-256"):
        unpacked([["pypi:art@1.0#sha256=" + "0" * 64]], tmp_path, silent)
    assert not list(tmp_path.rglob("*.webp"))


@pytest.mark.parametrize("outside", ["../out.webp", "/out.webp", "art/../../out.webp"])
def test_a_wheel_that_writes_outside_its_folder_is_refused(
    outside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "fetch", given(wheel({outside: b"x"})))

    with pytest.raises(DataError, match="outside its folder"):
        unpacked([["pypi:art@1.0"]], tmp_path / "a", silent)
    assert not list(tmp_path.rglob("out.webp"))


@pytest.mark.parametrize("held", [b"", b"PK" * 100])
def test_a_broken_wheel_is_refused(held: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "fetch", given(held))

    with pytest.raises(DataError, match="cannot be unpacked"):
        unpacked([["pypi:art@1.0"]], tmp_path, silent)


def test_a_wheel_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "fetch", given(wheel({"art/a.bin": bytes(5000)})))
    monkeypatch.setattr(packages, "MOST_UNPACKED", 4000)

    with pytest.raises(DataError, match="holds 5000 bytes, at most 4000"):
        unpacked([["pypi:art@1.0"]], tmp_path, silent)


def test_packages_that_no_registry_has_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "fetch", lambda name, folder: False)

    with pytest.raises(DataError, match="drawings-data") as refusal:
        unpacked([["drawings-data"]], tmp_path, silent)
    assert "apt-get update" in refusal.value.hint
