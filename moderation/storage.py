"""Encrypted files in any file system that fsspec knows, and kept images as the first use of them."""

import uuid
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from moderation.errors import StorageError
from moderation.settings import Settings
from moderation.vault import Vault


def _store_errors() -> tuple[type[Exception], ...]:
    """What file systems raise. s3fs lets through what its own library raises without an answer, which is no OSError."""
    try:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - of the extra `s3`
    except ImportError:
        return (OSError,)
    return (OSError, BotoCoreError)


STORE_ERRORS = _store_errors()

OPEN_ERRORS: tuple[type[Exception], ...] = (*STORE_ERRORS, ValueError, ImportError)
"""The same, and what a URL raises that names no store, or one whose library is not installed."""


class EncryptedFiles:
    """Small files below a URL, encrypted; plain bytes never reach the disk, and no half file is ever read.

    A file's path is part of what is authenticated, so that one cannot be put in another's place. place, no_key: the
    setting that says where files go, and the error's message and hint where no key is set, for people.
    """

    def __init__(self, url: str, vault: Vault | None, *, place: str, no_key: tuple[str, str]) -> None:
        self.vault = vault
        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise StorageError(
                f"{place} names a store that is not installed: {error}.",
                hint="For s3:// run `pip install 'palisade[s3]'`.",
            ) from None
        self.is_local = isinstance(self.files, LocalFileSystem)
        self.place = place
        self.no_key = no_key

    def write(self, path: str, data: bytes, *, context: str, what: str) -> None:
        """Write a file, under another name first. Raises StorageError naming `what`."""
        encrypted = self.key().encrypt(data, context.encode())
        try:
            if self.is_local:
                self._write_whole(f"{self.root}/{path}", encrypted)
            else:  # an object is there whole or not at all, and no folder needs to be made: nor, above all, a bucket
                self.files.pipe_file(f"{self.root}/{path}", encrypted)
        except STORE_ERRORS as error:
            raise StorageError(
                f"{what} could not be kept: {said(error)}.", hint=f"See {self.place} and free space."
            ) from error

    def _write_whole(self, target: str, data: bytes) -> None:
        """Raises OSError, and leaves nothing then: half a file would take what little room is left."""
        part = f"{target}.{uuid.uuid4().hex}.part"
        self.files.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        try:
            with self.files.open(part, "wb") as stream:
                stream.write(data)
            self.files.mv(part, target)
        except OSError:
            Path(part).unlink(missing_ok=True)
            raise

    def read(self, path: str, *, context: str, what: str) -> bytes:
        """A file's plain bytes. Raises FileNotFoundError where there is none, StorageError for all else."""
        key = self.key()
        try:
            with self.files.open(f"{self.root}/{path}", "rb") as stream:
                content = bytes(stream.read())
        except FileNotFoundError:
            raise
        except STORE_ERRORS as error:
            raise StorageError(f"{what} cannot be read: {said(error)}.", hint=f"See {self.place}.") from error
        return key.decrypt(content, context.encode())

    def remove(self, path: str, *, what: str) -> None:
        """Remove a file; one that is not there is no error. Raises StorageError when it cannot be removed."""
        try:
            if self.files.exists(f"{self.root}/{path}"):
                self.files.rm(f"{self.root}/{path}")
        except STORE_ERRORS as error:
            raise StorageError(f"{what} could not be destroyed: {said(error)}.", hint="Try again.") from error

    def key(self) -> Vault:
        """The vault. Raises StorageError where no key is set."""
        if self.vault is None:
            message, hint = self.no_key
            raise StorageError(message, hint=hint)
        return self.vault


def said(error: Exception) -> str:
    """What an error says, and which one it is where it says nothing."""
    return str(error).rstrip(".") or type(error).__name__


class ImageStore:
    """Keeps image files by tenant and SHA-256."""

    def __init__(self, url: str, vault: Vault | None) -> None:
        self.files = EncryptedFiles(
            url,
            vault,
            place="PALISADE_STORAGE_URL",
            no_key=(
                "The policy keeps images, and no key is set to encrypt them with.",
                "Set PALISADE_IMAGE_KEYS (make one with `palisade keys generate-secret`), or write `keep: none`.",
            ),
        )

    @classmethod
    def of(cls, settings: Settings) -> "ImageStore":
        return cls(settings.storage, Vault.of(settings.image_keys, setting="PALISADE_IMAGE_KEYS"))

    def put(self, tenant: str, sha256: str, data: bytes) -> None:
        """Keep an image. Raises StorageError."""
        self.files.write(_path(tenant, sha256), data, context=_context(tenant, sha256), what=f"The image {sha256}")

    def get(self, tenant: str, sha256: str) -> bytes:
        """A kept image. Raises StorageError when it is not there or cannot be decrypted."""
        try:
            return self.files.read(_path(tenant, sha256), context=_context(tenant, sha256), what=f"The image {sha256}")
        except FileNotFoundError:
            raise StorageError(f"The image {sha256} is not kept.", status=404) from None

    def delete(self, tenant: str, sha256: str) -> None:
        """Forget a kept image; one that is not there is no error."""
        self.files.remove(_path(tenant, sha256), what=f"The image {sha256}")

    def check(self) -> None:
        """Raises StorageError when images cannot be kept for want of a key."""
        self.files.key()


def _path(tenant: str, sha256: str) -> str:
    return f"{tenant}/{sha256[:2]}/{sha256}"


def _context(tenant: str, sha256: str) -> str:
    return f"image/{tenant}/{sha256}"
