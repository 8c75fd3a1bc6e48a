"""The names of the people who are enrolled: decrypted once for each change of a tenant's gallery, kept in memory only."""

import json
import threading

import structlog

from moderation.database import Database
from moderation.errors import ModerationError, NotFoundError, StorageError
from moderation.people.keys import PersonKeys
from moderation.people.repository import PeopleRepository
from moderation.tables import Person, utc_now

log = structlog.get_logger(__name__)


class PeopleNames:
    """Names by tenant, of those whose consent runs. Safe to share between threads."""

    def __init__(self, database: Database, keys: PersonKeys) -> None:
        self.database = database
        self.keys = keys
        self._known: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {}
        self._reading = threading.Lock()

    def of(self, tenant: str) -> tuple[str, ...]:
        """Raises StorageError when there are people and the name of none can be read: nobody would be protected."""
        with self._reading:
            now = utc_now()
            with self.database.read() as session:
                repository = PeopleRepository(session, tenant)
                version = repository.version(now)
                known = self._known.get(tenant)
                if known and known[0] == version:
                    return known[1]
                active = set(repository.active(now))
                people = [person for person in repository.people() if person.id in active]
            names, whole = self._read(people)
            if whole:
                self._known[tenant] = version, names
            return names

    def _read(self, people: list[Person]) -> tuple[tuple[str, ...], bool]:
        """The names that can be read, and whether those are all that ever will be."""
        names, failure = list[str](), None
        for person in people:
            try:
                names.append(read_name(self.keys, person))
            except NotFoundError:
                continue  # the key was destroyed: the person is deleted
            except ModerationError as error:
                log.error("name cannot be protected", person=person.id, reason=error.message)
                failure = error
        if failure and not names:
            raise StorageError(
                f"No enrolled person's name can be read: {failure.message}", hint=failure.hint
            ) from failure
        return tuple(sorted(names)), failure is None


def read_name(keys: PersonKeys, person: Person) -> str:
    """Raises NotFoundError when the person's key was destroyed, StorageError when it or the row cannot be read."""
    cipher = keys.get(person.tenant_id, person.id)
    return str(json.loads(cipher.decrypt(person.details, details_context(person.tenant_id, person.id)))["name"])


def details_context(tenant: str, person: str) -> bytes:
    """What a person's encrypted details are bound to."""
    return f"person/{tenant}/{person}".encode()
