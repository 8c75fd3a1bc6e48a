"""Kept images: encrypted, whole, and gone when they are deleted."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moderation.commands.keys import new_secret
from moderation.errors import StorageError
from moderation.storage import ImageStore
from moderation.vault import Vault

SHA = "ab" * 32


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path.as_uri(), Vault.parse(new_secret("test"), setting="KEYS"))


def test_an_image_comes_back_and_its_bytes_are_not_on_the_disk(store: ImageStore, tmp_path: Path) -> None:
    store.put("t", SHA, b"pixels" * 100)

    assert store.get("t", SHA) == b"pixels" * 100
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in files] == [SHA]
    assert b"pixels" not in files[0].read_bytes()


def test_a_deleted_image_is_gone(store: ImageStore) -> None:
    store.put("t", SHA, b"pixels")
    store.delete("t", SHA)
    store.delete("t", SHA)

    with pytest.raises(StorageError, match="not kept"):
        store.get("t", SHA)


def test_another_tenants_image_cannot_be_read_by_moving_it(store: ImageStore, tmp_path: Path) -> None:
    store.put("one", SHA, b"pixels")
    target = tmp_path / "two" / SHA[:2] / SHA
    target.parent.mkdir(parents=True)
    (tmp_path / "one" / SHA[:2] / SHA).rename(target)

    with pytest.raises(StorageError, match="not the one"):
        store.get("two", SHA)


def test_without_a_key_nothing_is_kept(tmp_path: Path) -> None:
    store = ImageStore(tmp_path.as_uri(), None)
    for act in (lambda: store.put("t", SHA, b"x"), store.check):
        with pytest.raises(StorageError, match="no key") as refusal:
            act()
        assert "PALISADE_IMAGE_KEYS" in refusal.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_image(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.files.files, "open", full)

    with pytest.raises(StorageError, match="No space left"):
        store.put("t", SHA, b"x")


def test_memory_file_systems_serve_too() -> None:
    store = ImageStore("memory://images", Vault.parse(new_secret("test"), setting="KEYS"))
    store.put("t", SHA, b"pixels")

    assert store.get("t", SHA) == b"pixels"


def test_the_same_image_may_be_kept_by_many_at_once(store: ImageStore, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.put("t", SHA, b"pixels" * 10_000), range(32)))

    assert store.get("t", SHA) == b"pixels" * 10_000
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [SHA]


@pytest.mark.parametrize("url", ["gs://bucket/kept", "nonsense://bucket/kept"])
def test_a_store_whose_library_is_not_installed_is_said(url: str) -> None:
    with pytest.raises(StorageError, match="PALISADE_STORAGE_URL names a store that is not installed") as refusal:
        ImageStore(url, None)
    assert "palisade[s3]" in refusal.value.hint
