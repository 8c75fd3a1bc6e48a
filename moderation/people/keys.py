"""A key for each person, kept apart from the database: destroying it makes every copy of the person's rows unreadable."""

import os

from moderation.errors import NotFoundError
from moderation.settings import Settings
from moderation.storage import EncryptedFiles
from moderation.vault import Vault

KEY = "person"


class PersonKeys:
    """Data keys by person, each wrapped (encrypted) by the vault and kept as one small file.

    The files' place must not be part of the database's backups: a backup that holds rows and keys undoes a deletion.
    """

    def __init__(self, url: str, vault: Vault | None) -> None:
        self.files = EncryptedFiles(
            url,
            vault,
            place="PALISADE_PEOPLE_STORAGE_URL",
            no_key=(
                "No key is set to protect enrolled people's templates with.",
                "Set PALISADE_PEOPLE_KEYS; make one with `palisade keys generate-secret`.",
            ),
        )

    @classmethod
    def of(cls, settings: Settings) -> "PersonKeys":
        return cls(settings.people_storage, Vault.of(settings.people_keys, setting="PALISADE_PEOPLE_KEYS"))

    def create(self, tenant: str, person: str) -> Vault:
        """A new key for a person, kept; with it the person's rows are encrypted. Raises StorageError."""
        key = os.urandom(32)
        self.files.write(_path(tenant, person), key, context=_context(tenant, person), what=f"The key of {person}")
        return Vault({KEY: key})

    def get(self, tenant: str, person: str) -> Vault:
        """Raises NotFoundError when the key was destroyed, StorageError when it cannot be read or unwrapped."""
        what = f"The key of {person}"
        try:
            return Vault({KEY: self.files.read(_path(tenant, person), context=_context(tenant, person), what=what)})
        except FileNotFoundError:
            raise NotFoundError(
                f"{what} was destroyed.", hint="Delete the person; what is left of it cannot be read."
            ) from None

    def destroy(self, tenant: str, person: str) -> None:
        """Destroy a key; one that is gone is no error. Raises StorageError when it is still there afterwards."""
        self.files.remove(_path(tenant, person), what=f"The key of {person}")

    def check(self) -> None:
        """Raises StorageError when there is no key to wrap people's keys with."""
        self.files.key()


def _path(tenant: str, person: str) -> str:
    return f"{tenant}/{person}"


def _context(tenant: str, person: str) -> str:
    return f"person-key/{tenant}/{person}"
