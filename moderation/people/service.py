"""Enrolling people for protection, looking them up, and forgetting them for good."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy.exc

from detectors.base import Finding
from detectors.likeness_scores import SIZE, PreparedGallery, Templates
from moderation.database import Database
from moderation.errors import ConflictError, ModerationError, NotFoundError
from moderation.people import references
from moderation.people.gallery import Galleries, decrypt, encrypt
from moderation.people.keys import PersonKeys
from moderation.people.names import details_context
from moderation.people.photos import Assessed, PhotoDesk
from moderation.people.records import (
    Applicant,
    Consent,
    EnrolledPerson,
    Enrolment,
    Photo,
    check_applicant,
    check_count,
)
from moderation.people.repository import PeopleRepository, tenants_with_people
from moderation.tables import FaceTemplate, Person, PersonEvent, new_id, utc_now
from moderation.vault import Vault

DUPLICATE_FPR = 1e-3

NO_TEMPLATES = np.zeros((0, SIZE), dtype=np.float32)


class PeopleService:
    """Photos are measured in memory and never kept; templates are encrypted under a key of the person's own.

    A crop of one face is kept besides, under the same key, only where the consent says so (`moderation.people.references`).
    """

    def __init__(
        self,
        database: Database,
        keys: PersonKeys,
        galleries: Galleries,
        desk: PhotoDesk,
    ) -> None:
        self.database = database
        self.keys = keys
        self.galleries = galleries
        self.desk = desk
        self.likeness = desk.likeness

    def enrol(
        self,
        tenant: str,
        applicant: Applicant,
        photos: Sequence[Photo],
        *,
        actor: str,
        confirm_duplicate: bool = False,
    ) -> Enrolment:
        """Enrol a person from 1 to 20 photos. Refused photos are left out, as long as one is good.

        Raises InvalidRequestError (no usable photo, no grounds), ConflictError (`duplicate_person`: looks like somebody
        enrolled; `confirm_duplicate` enrols all the same), ModelError and StorageError.
        """
        check_applicant(applicant)
        self.keys.check()
        assessed = self.desk.assess(photos, NO_TEMPLATES)
        if not confirm_duplicate:
            self._refuse_duplicate(tenant, assessed.templates)
        person_id = new_id("person")
        cipher = self.keys.create(tenant, person_id)
        person = self._person(tenant, person_id, cipher, applicant)
        rows = self._rows(tenant, person_id, cipher, assessed)
        try:
            with self.database.write() as session:
                repository = PeopleRepository(session, tenant)
                repository.add(person)
                repository.add(
                    *rows, event(tenant, person_id, "enrolled", actor, {"photos": len(rows), "kind": applicant.kind})
                )
                if applicant.consent.reference:
                    references.keep(session, person, cipher, assessed, actor=actor)
                repository.advance()
        except sqlalchemy.exc.SQLAlchemyError:
            self.keys.destroy(tenant, person_id)
            raise
        self.galleries.changed(tenant)
        return Enrolment(self._show(person, len(rows)), assessed.reports)

    def add_photos(
        self, tenant: str, person_id: str, photos: Sequence[Photo], *, actor: str, keep_reference: bool = False
    ) -> Enrolment:
        """More photos of an enrolled person. keep_reference: they agreed that a picture of these be kept, in the place of any before.

        Raises NotFoundError, InvalidRequestError, StorageError.
        """
        with self.database.read() as session:
            repository = PeopleRepository(session, tenant)
            found(repository.person(person_id), person_id)
            own = [row for row in repository.templates(person_id) if row.model == self.galleries.model]
        cipher = self.keys.get(tenant, person_id)
        known = decrypt(cipher, tenant, own) if own else NO_TEMPLATES
        assessed = self.desk.assess(photos, known)
        rows = self._rows(tenant, person_id, cipher, assessed)
        with self.database.write() as session:
            repository = PeopleRepository(session, tenant)
            person = found(repository.person(person_id, lock=True), person_id)
            count = len(repository.templates(person_id)) + len(rows)
            check_count(count)
            repository.add(*rows, event(tenant, person_id, "photos_added", actor, {"photos": len(rows)}))
            if keep_reference:
                references.say_consent(person, cipher, reference=True)
                references.keep(session, person, cipher, assessed, actor=actor)
            repository.advance()
        self.galleries.changed(tenant)
        return Enrolment(self._show(person, count), assessed.reports)

    def delete(self, tenant: str, person_id: str, *, actor: str) -> None:
        """Forget a person for good: the key first, so that no copy of the rows can be read, then the rows.

        Every process drops the person within seconds. Raises NotFoundError, and StorageError when the key could not be
        destroyed: the person is enrolled still.
        """
        with self.database.read() as session:
            found(PeopleRepository(session, tenant).person(person_id), person_id)
        self.keys.destroy(tenant, person_id)
        with self.database.write() as session:
            repository = PeopleRepository(session, tenant)
            person = repository.person(person_id, lock=True)
            if person is not None:
                repository.delete(person)
                repository.add(event(tenant, person_id, "deleted", actor, {}))
                repository.advance()
        self.galleries.changed(tenant)

    def find(self, tenant: str, person_id: str) -> EnrolledPerson:
        """Raises NotFoundError."""
        with self.database.read() as session:
            repository = PeopleRepository(session, tenant)
            person = found(repository.person(person_id), person_id)
            return self._show(person, len(repository.templates(person_id)))

    def people(self, tenant: str) -> list[EnrolledPerson]:
        """Everybody enrolled, expired ones too, by age."""
        with self.database.read() as session:
            repository = PeopleRepository(session, tenant)
            people, templates = repository.people(), repository.templates()
        counts = Counter(row.person_id for row in templates)
        return [self._show(person, counts[person.id]) for person in people]

    def events(self, tenant: str, person_id: str) -> Sequence[PersonEvent]:
        """What was done about a person, the oldest first; also after the person was deleted."""
        with self.database.read() as session:
            return PeopleRepository(session, tenant).events(person_id)

    def resembled(self, tenant: str, photo: Photo, *, actor: str) -> list[Finding]:
        """`likeness` findings of an image: the enrolled people that its faces resemble. The question is recorded."""
        image = self.desk.open(photo)
        image.features["tenant"] = tenant
        self.desk.faces.detect([image])
        (findings,) = self.likeness.detect([image])
        people = sorted({str(f.evidence["person"]) for f in findings if f.status == "ok"})
        with self.database.write() as session:
            repository = PeopleRepository(session, tenant)
            repository.add(*(event(tenant, person, "checked", actor, {}) for person in people or [""]))
        return findings

    def check(self) -> None:
        """Raises when people are enrolled, of any tenant, and cannot be protected: StorageError, ModelError."""
        with self.database.read() as session:
            tenants = tenants_with_people(session)
        for tenant in tenants:
            if self.galleries.gallery(tenant) is not None:
                _ = self.likeness.templates

    def _refuse_duplicate(self, tenant: str, templates: Templates) -> None:
        gallery = self.galleries.gallery(tenant)
        if gallery is None:
            return
        calibration = self.likeness.calibration
        prepared = PreparedGallery(gallery.templates, gallery.people, calibration)
        for probe in calibration.centred(templates):
            best = prepared.best(probe)
            score = calibration.score(calibration.standard(best.similarity, best.templates, 1.0))
            if calibration.fpr(score, len(prepared.people)) <= DUPLICATE_FPR:
                raise ConflictError(
                    f"The photos look like {best.person}, who is enrolled already.",
                    hint="Add the photos to that person, or confirm that this is somebody else.",
                    code="duplicate_person",
                )

    @staticmethod
    def _person(tenant: str, person_id: str, cipher: Vault, applicant: Applicant) -> Person:
        consent = applicant.consent
        details = {"name": applicant.name, **asdict(consent), "expires_at": consent.expires_at.isoformat()}
        return Person(
            id=person_id,
            tenant_id=tenant,
            created_at=utc_now(),
            kind=applicant.kind,
            details=cipher.encrypt(json.dumps(details).encode(), details_context(tenant, person_id)),
            expires_at=consent.expires_at,
        )

    def _rows(self, tenant: str, person: str, cipher: Vault, assessed: Assessed) -> list[FaceTemplate]:
        rows = []
        for template, quality in zip(assessed.templates, assessed.qualities, strict=True):
            template_id = new_id("tpl")
            rows.append(
                FaceTemplate(
                    id=template_id,
                    tenant_id=tenant,
                    created_at=utc_now(),
                    person_id=person,
                    model=self.galleries.model,
                    ciphertext=encrypt(cipher, tenant, person, template_id, template),
                    quality=quality.as_dict(),
                )
            )
        return rows

    def _show(self, person: Person, photos: int) -> EnrolledPerson:
        name, consent, problem = None, None, ""
        try:
            cipher = self.keys.get(person.tenant_id, person.id)
            details = json.loads(cipher.decrypt(person.details, details_context(person.tenant_id, person.id)))
        except ModerationError as error:
            problem = error.message
        else:
            name = details.pop("name")
            consent = Consent(**{**details, "expires_at": datetime.fromisoformat(details["expires_at"])})
        return EnrolledPerson(
            person.id, person.kind, person.created_at, person.expires_at, photos, name, consent, problem
        )


def found(person: Person | None, person_id: str) -> Person:
    """Raises NotFoundError."""
    if person is None:
        raise NotFoundError(f"Nobody is enrolled as {person_id!r}.", hint="See `palisade people list`.")
    return person


def event(tenant: str, person: str, kind: str, actor: str, note: dict[str, Any]) -> PersonEvent:
    return PersonEvent(
        id=new_id("pev"), tenant_id=tenant, created_at=utc_now(), person_id=person, kind=kind, actor=actor, note=note
    )
