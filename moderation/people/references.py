"""Reference pictures: the one face crop that an enrolled person let be kept, for reviewers to compare with by eye."""

import io
import json
from collections.abc import Collection

import PIL.Image
from sqlalchemy.orm import Session

from detectors.image import Pixels
from moderation.database import Database
from moderation.errors import NotFoundError
from moderation.people.keys import PersonKeys
from moderation.people.names import details_context
from moderation.people.photos import Assessed
from moderation.people.repository import PeopleRepository
from moderation.tables import FaceReference, Person, PersonEvent, new_id, utc_now
from moderation.vault import Vault


class References:
    """Reads and drops reference pictures. They are made by enrolling, and only where the consent says so."""

    def __init__(self, database: Database, keys: PersonKeys) -> None:
        self.database = database
        self.keys = keys

    def kept(self, tenant: str, people: Collection[str]) -> set[str]:
        """Which of these people have one, and a consent that runs."""
        if not people:
            return set()
        with self.database.read() as session:
            return PeopleRepository(session, tenant).referenced(people, utc_now())

    def read(self, tenant: str, person_id: str) -> bytes:
        """The picture, a JPEG of 112 × 112. Raises NotFoundError where there is none, or the consent ended; StorageError."""
        with self.database.read() as session:
            repository = PeopleRepository(session, tenant)
            kept = repository.referenced([person_id], utc_now())
            row = repository.reference(person_id) if kept else None
        if row is None:
            raise NotFoundError(f"No reference picture of {person_id[:60]!r} is kept.", hint="Compare by id and score.")
        return self.keys.get(tenant, person_id).decrypt(row.ciphertext, _context(tenant, person_id))

    def drop(self, tenant: str, person_id: str, *, actor: str) -> None:
        """Take the consent to the picture back: it is deleted, the protection goes on. Raises NotFoundError, StorageError."""
        cipher = self.keys.get(tenant, person_id)
        with self.database.write() as session:
            repository = PeopleRepository(session, tenant)
            person = repository.person(person_id, lock=True)
            if person is None or repository.reference(person_id) is None:
                raise NotFoundError(
                    f"No reference picture of {person_id[:60]!r} is kept.", hint="There is nothing to drop."
                )
            repository.drop_reference(person_id)
            say_consent(person, cipher, reference=False)
            repository.add(event(tenant, person_id, "reference_dropped", actor))


def keep(session: Session, person: Person, cipher: Vault, assessed: Assessed, *, actor: str) -> None:
    """Keep the largest of the faces as the person's reference, in the place of one before; the consent was given."""
    best = max(range(len(assessed.faces)), key=lambda row: (assessed.qualities[row].pixels, -row))
    picture = cipher.encrypt(_as_jpeg(assessed.faces[best]), _context(person.tenant_id, person.id))
    repository = PeopleRepository(session, person.tenant_id)
    repository.drop_reference(person.id)
    row = FaceReference(person_id=person.id, tenant_id=person.tenant_id, created_at=utc_now(), ciphertext=picture)
    repository.add(row, event(person.tenant_id, person.id, "reference_kept", actor))


def say_consent(person: Person, cipher: Vault, *, reference: bool) -> None:
    """Write into the person's consent whether a reference may be kept. Raises StorageError."""
    context = details_context(person.tenant_id, person.id)
    details = {**json.loads(cipher.decrypt(person.details, context)), "reference": reference}
    person.details = cipher.encrypt(json.dumps(details).encode(), context)


def event(tenant: str, person: str, kind: str, actor: str, **note: object) -> PersonEvent:
    return PersonEvent(
        id=new_id("pev"), tenant_id=tenant, created_at=utc_now(), person_id=person, kind=kind, actor=actor, note=note
    )


def _as_jpeg(face: Pixels) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(face).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _context(tenant: str, person: str) -> bytes:
    return f"reference/{tenant}/{person}".encode()
