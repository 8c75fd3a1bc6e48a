"""The galleries that faces are compared with: in memory, read again when a tenant's people change."""

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog

from detectors.likeness import Gallery
from detectors.likeness_scores import SIZE, Templates, template_model
from moderation.database import Database
from moderation.errors import ModerationError, NotFoundError, StorageError
from moderation.people.keys import PersonKeys
from moderation.people.repository import PeopleRepository
from moderation.tables import FaceTemplate, utc_now
from moderation.vault import Vault

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 2.0
"""How long a process goes without asking whether a gallery changed."""

RETRY_SECONDS = 60.0
"""How long it goes without trying again to read people who could not be read."""

Own = Mapping[str, tuple[tuple[str, ...], Templates]]
"""By person: the ids of the templates, and the templates (n, 128)."""


@dataclass(frozen=True)
class _Snapshot:
    """A tenant's gallery as it was read.

    counts: the database's sequence and number of people. asked, read: when that, and the templates, were read last.
    unreadable: people left out, with the reason. error: why nobody could be read.
    """

    counts: tuple[int, int]
    asked: float
    read: float
    gallery: Gallery | None
    own: Own
    unreadable: Mapping[str, str]
    error: StorageError | None

    @property
    def version(self) -> str:
        return f"{self.counts[0]}.{self.counts[1]}.{len(self.own)}" if self.counts[1] else ""


class Galleries:
    """A `GallerySource` over the database. Safe to share between threads; a snapshot is swapped whole.

    People whose consent has ended are not in it. A person whose rows cannot be decrypted is left out, logged and told by
    `unreadable`; when that is everybody, the configured key is wrong and `gallery` raises StorageError. People whose key
    was destroyed (by a deletion, before the database was restored) are left out always.
    """

    def __init__(
        self, database: Database, keys: PersonKeys, model: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.database = database
        self.keys = keys
        self.model = template_model(model)
        self.clock = clock
        self._snapshots: dict[str, _Snapshot] = {}
        self._reading = threading.Lock()

    def gallery(self, tenant: str) -> Gallery | None:
        snapshot = self._current(tenant)
        if snapshot.error:
            raise StorageError(snapshot.error.message, hint=snapshot.error.hint)
        return snapshot.gallery

    def version(self, tenant: str) -> str:
        return self._current(tenant).version

    def unreadable(self, tenant: str) -> Mapping[str, str]:
        """People who are enrolled and not protected, since their rows cannot be read: id → reason."""
        return self._current(tenant).unreadable

    def changed(self, tenant: str) -> None:
        """Ask again the next time: this process changed the tenant's people."""
        with self._reading:
            if tenant in self._snapshots:
                self._snapshots[tenant] = replace(self._snapshots[tenant], asked=-math.inf)

    def _current(self, tenant: str) -> _Snapshot:
        known = self._snapshots.get(tenant)
        if known and self.clock() - known.asked < REFRESH_SECONDS:
            return known
        with self._reading:
            known = self._snapshots.get(tenant)
            if known is None or self.clock() - known.asked >= REFRESH_SECONDS:
                known = self._snapshots[tenant] = self._refresh(tenant, known)
            return known

    def _refresh(self, tenant: str, known: _Snapshot | None) -> _Snapshot:
        now, asked = utc_now(), self.clock()
        with self.database.read() as session:
            repository = PeopleRepository(session, tenant)
            counts = repository.version(now)
            if known and known.counts == counts and not (known.unreadable and asked - known.read > RETRY_SECONDS):
                return replace(known, asked=asked)
            people = repository.active(now)
            rows = [row for row in repository.templates() if row.model == self.model] if people else []
        own, unreadable, error = self._read(tenant, people, rows, known.own if known else {})
        return _Snapshot(counts, asked, asked, self._gallery(counts, own), own, unreadable, error)

    def _read(
        self, tenant: str, people: Sequence[str], rows: Sequence[FaceTemplate], known: Own
    ) -> tuple[Own, dict[str, str], StorageError | None]:
        """Each person's templates, decrypted unless they are known; who could not be read; why nobody could."""
        own, unreadable = dict[str, tuple[tuple[str, ...], Templates]](), dict[str, str]()
        error: StorageError | None = None
        by_person = defaultdict[str, list[FaceTemplate]](list)
        for row in rows:
            by_person[row.person_id].append(row)
        for person in people:
            mine = by_person[person]
            ids = tuple(row.id for row in mine)
            try:
                cached = known.get(person)
                own[person] = cached if cached and cached[0] == ids else (ids, self._decrypt(tenant, person, mine))
            except ModerationError as failure:
                log.error("person cannot be protected", tenant=tenant, person=person, reason=failure.message)
                unreadable[person] = failure.message
                error = failure if isinstance(failure, StorageError) else error
        if error and not own:
            error = StorageError(
                f"None of the {len(people)} enrolled people can be read: {error.message}",
                hint="See PALISADE_PEOPLE_KEYS and PALISADE_PEOPLE_STORAGE_URL.",
            )
        return own, unreadable, None if own else error

    def _decrypt(self, tenant: str, person: str, rows: Sequence[FaceTemplate]) -> Templates:
        if not rows:
            raise NotFoundError(f"There is no template of the model {self.model}.", hint="Enrol the photos again.")
        return decrypt(self.keys.get(tenant, person), tenant, rows)

    def _gallery(self, counts: tuple[int, int], own: Own) -> Gallery | None:
        if not own:
            return None
        templates = np.concatenate([templates for _, templates in own.values()])
        people = tuple(person for person, (ids, _) in own.items() for _ in ids)
        return Gallery(f"{counts[0]}.{counts[1]}.{len(own)}", self.model, templates, people)


def encrypt(cipher: Vault, tenant: str, person: str, template_id: str, template: Templates) -> bytes:
    """One template (128) under the person's key."""
    return cipher.encrypt(template.astype("<f4").tobytes(), _context(tenant, person, template_id))


def decrypt(cipher: Vault, tenant: str, rows: Sequence[FaceTemplate]) -> Templates:
    """Templates of one person's rows: float32 (n, 128). Raises StorageError."""
    read = []
    for row in rows:
        plain = cipher.decrypt(row.ciphertext, _context(tenant, row.person_id, row.id))
        if len(plain) != 4 * SIZE:
            raise StorageError(f"The template {row.id} has {len(plain)} bytes, expected {4 * SIZE}.")
        read.append(np.frombuffer(plain, dtype="<f4").astype(np.float32))
    return np.stack(read)


def _context(tenant: str, person: str, template_id: str) -> bytes:
    return f"template/{tenant}/{person}/{template_id}".encode()
