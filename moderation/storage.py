"""Where kept images go: encrypted, in any file system that fsspec knows."""

import fsspec

from moderation.errors import StorageError
from moderation.settings import Settings
from moderation.vault import Vault


class ImageStore:
    """Keeps image files by tenant and SHA-256, encrypted; the plain bytes never reach the disk."""

    def __init__(self, url: str, vault: Vault | None) -> None:
        self.vault = vault
        self.files, self.root = fsspec.core.url_to_fs(url)

    @classmethod
    def of(cls, settings: Settings) -> "ImageStore":
        keys = settings.image_keys
        vault = Vault.parse(keys.get_secret_value(), setting="PALISADE_IMAGE_KEYS") if keys else None
        return cls(settings.storage, vault)

    def put(self, tenant: str, sha256: str, data: bytes) -> None:
        """Keep an image. Written under another name and renamed, so that no half file is ever read."""
        path = self._path(tenant, sha256)
        encrypted = self._key().encrypt(data, _context(tenant, sha256))
        try:
            self.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            with self.files.open(f"{path}.part", "wb") as stream:
                stream.write(encrypted)
            self.files.mv(f"{path}.part", path)
        except OSError as error:
            raise StorageError(
                f"The image {sha256} could not be kept: {error}.", hint="See PALISADE_STORAGE_URL and free space."
            ) from error

    def get(self, tenant: str, sha256: str) -> bytes:
        """A kept image. Raises StorageError when it is not there or cannot be decrypted."""
        try:
            with self.files.open(self._path(tenant, sha256), "rb") as stream:
                content = bytes(stream.read())
        except OSError as error:
            raise StorageError(f"The image {sha256} is not kept: {error}.", status=404) from error
        return self._key().decrypt(content, _context(tenant, sha256))

    def delete(self, tenant: str, sha256: str) -> None:
        """Forget a kept image; one that is not there is no error."""
        path = self._path(tenant, sha256)
        if self.files.exists(path):
            self.files.rm(path)

    def check(self) -> None:
        """Raises StorageError when images cannot be kept for want of a key."""
        self._key()

    def _key(self) -> Vault:
        if self.vault is None:
            raise StorageError(
                "The policy keeps images, and no key is set to encrypt them with.",
                hint="Set PALISADE_IMAGE_KEYS (make one with `palisade keys generate-secret`), or write `keep: none`.",
            )
        return self.vault

    def _path(self, tenant: str, sha256: str) -> str:
        return f"{self.root}/{tenant}/{sha256[:2]}/{sha256}"


def _context(tenant: str, sha256: str) -> bytes:
    return f"image/{tenant}/{sha256}".encode()
