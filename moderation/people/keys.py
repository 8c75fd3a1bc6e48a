"""A key for each person, kept apart from the database: destroying it makes every copy of the person's rows unreadable."""

import os

import fsspec

from moderation.errors import NotFoundError, StorageError
from moderation.settings import Settings
from moderation.vault import Vault

KEY = "person"


class PersonKeys:
    """Data keys by person, each wrapped (encrypted) by the vault and kept as one small file.

    The files' place must not be part of the database's backups: a backup that holds rows and keys undoes a deletion.
    """

    def __init__(self, url: str, vault: Vault | None) -> None:
        self.vault = vault
        self.files, self.root = fsspec.core.url_to_fs(url)

    @classmethod
    def of(cls, settings: Settings) -> "PersonKeys":
        keys = settings.people_keys
        vault = Vault.parse(keys.get_secret_value(), setting="PALISADE_PEOPLE_KEYS") if keys else None
        return cls(settings.people_storage, vault)

    def create(self, tenant: str, person: str) -> Vault:
        """A new key for a person, kept; with it the person's rows are encrypted. Raises StorageError."""
        key, path = os.urandom(32), self._path(tenant, person)
        wrapped = self._master().encrypt(key, _context(tenant, person))
        try:
            self.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            with self.files.open(f"{path}.part", "wb") as stream:
                stream.write(wrapped)
            self.files.mv(f"{path}.part", path)
        except OSError as error:
            raise StorageError(
                f"The key of {person} could not be kept: {error}.",
                hint="See PALISADE_PEOPLE_STORAGE_URL and free space.",
            ) from error
        return Vault({KEY: key})

    def get(self, tenant: str, person: str) -> Vault:
        """Raises NotFoundError when the key was destroyed, StorageError when it cannot be read or unwrapped."""
        master = self._master()
        try:
            with self.files.open(self._path(tenant, person), "rb") as stream:
                wrapped = bytes(stream.read())
        except FileNotFoundError:
            raise NotFoundError(
                f"The key of {person} was destroyed.", hint="Delete the person; what is left of it cannot be read."
            ) from None
        except OSError as error:
            raise StorageError(f"The key of {person} cannot be read: {error}.") from error
        return Vault({KEY: master.decrypt(wrapped, _context(tenant, person))})

    def destroy(self, tenant: str, person: str) -> None:
        """Destroy a key; one that is gone is no error. Raises StorageError when it is still there afterwards."""
        path = self._path(tenant, person)
        try:
            if self.files.exists(path):
                self.files.rm(path)
        except OSError as error:
            raise StorageError(f"The key of {person} could not be destroyed: {error}.", hint="Try again.") from error

    def check(self) -> None:
        """Raises StorageError when there is no key to wrap people's keys with."""
        self._master()

    def _master(self) -> Vault:
        if self.vault is None:
            raise StorageError(
                "No key is set to protect enrolled people's templates with.",
                hint="Set PALISADE_PEOPLE_KEYS; make one with `palisade keys generate-secret`.",
            )
        return self.vault

    def _path(self, tenant: str, person: str) -> str:
        return f"{self.root}/{tenant}/{person}"


def _context(tenant: str, person: str) -> bytes:
    return f"person-key/{tenant}/{person}".encode()
