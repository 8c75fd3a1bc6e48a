"""Pictures that enrolled people let be kept: only then, encrypted, and gone with the consent or the person. On both databases."""

import io
from datetime import timedelta

import numpy as np
import PIL.Image
import pytest
import sqlalchemy as sa

from detectors.faces import Face
from moderation.database import Database
from moderation.errors import ModerationError, NotFoundError
from moderation.people.references import References
from moderation.people.service import PeopleService
from moderation.tables import FaceReference, Person, Tenant, utc_now
from tests.moderation.people.conftest import applicant, photo


@pytest.fixture
def references(service: PeopleService) -> References:
    return References(service.database, service.keys)


def enrol(service: PeopleService, faces, **consent: object) -> str:
    photos = [photo(face) for face in faces]
    return service.enrol("default", applicant(**consent), photos, actor="key_1").person.id


def kinds(service: PeopleService, person: str) -> list[str]:
    return [event.kind for event in service.events("default", person)]


def test_none_is_kept_without_a_consent_of_its_own(
    service: PeopleService, references: References, database: Database, crops
) -> None:
    person = enrol(service, crops[0][:2])

    with database.read() as session:
        assert session.scalars(sa.select(FaceReference)).all() == []
    assert references.kept("default", {person}) == set()
    assert not service.find("default", person).consent.reference
    with pytest.raises(NotFoundError, match="No reference picture"):
        references.read("default", person)


def test_one_aligned_crop_is_kept_and_nothing_readable(
    service: PeopleService, references: References, database: Database, crops
) -> None:
    person = enrol(service, crops[0][:3], reference=True)
    kept = references.read("default", person)
    picture = PIL.Image.open(io.BytesIO(kept))

    assert picture.size == (112, 112)
    aligned = [_only_face(service, face).aligned for face in crops[0][:3]]
    apart = [np.abs(np.asarray(picture, int) - one).mean() for one in aligned]
    assert min(apart) < 6, "it is the face itself, as JPEG"
    with database.read() as session:
        (row,) = session.scalars(sa.select(FaceReference)).all()
    assert kept[:20] not in row.ciphertext
    assert service.find("default", person).consent.reference
    assert kinds(service, person) == ["enrolled", "reference_kept"]


def _only_face(service: PeopleService, face) -> Face:
    (found,) = service.desk.faces.find(service.desk.open(photo(face)).frames[0])
    return found


def test_it_goes_with_the_person_also_in_a_backup(
    service: PeopleService, references: References, database: Database, crops
) -> None:
    person = enrol(service, crops[0][:2], reference=True)
    with database.read() as session:
        saved = session.scalars(sa.select(FaceReference)).one()
        owner = session.scalars(sa.select(Person)).one()
    service.delete("default", person, actor="key_1")
    with database.read() as session:
        assert session.scalars(sa.select(FaceReference)).all() == []

    with database.write() as session:  # a backup of the database is restored
        session.merge(owner)
        session.flush()
        session.merge(saved)
    with pytest.raises(ModerationError, match="destroyed"):
        references.read("default", person)


def test_the_consent_to_it_can_be_taken_back_alone(service: PeopleService, references: References, crops) -> None:
    person = enrol(service, crops[0][:2], reference=True)
    references.drop("default", person, actor="key_1")

    assert references.kept("default", {person}) == set()
    assert not service.find("default", person).consent.reference
    assert service.find("default", person).active
    assert kinds(service, person)[-1] == "reference_dropped"
    with pytest.raises(NotFoundError):
        references.drop("default", person, actor="key_1")


def test_it_may_be_given_later_and_takes_the_place_of_the_one_before(
    service: PeopleService, references: References, crops
) -> None:
    person = enrol(service, crops[0][:2])
    service.add_photos("default", person, [photo(crops[0][2])], actor="key_1")
    assert references.kept("default", {person}) == set()

    service.add_photos("default", person, [photo(crops[0][3])], actor="key_1", keep_reference=True)
    first = references.read("default", person)
    service.add_photos("default", person, [photo(crops[0][4])], actor="key_1", keep_reference=True)
    assert references.read("default", person) != first
    assert service.find("default", person).consent.reference


def test_it_is_not_read_after_the_consent_ended_nor_by_another_tenant(
    service: PeopleService, references: References, database: Database, crops
) -> None:
    person = enrol(service, crops[0][:2], reference=True)
    with database.write() as session:
        session.add(Tenant(id="other", name="other", created_at=utc_now()))
    assert references.kept("other", {person}) == set()
    with pytest.raises(NotFoundError):
        references.read("other", person)
    with pytest.raises(ModerationError):
        references.drop("other", person, actor="key_1")

    with database.write() as session:
        session.execute(sa.update(Person).values(expires_at=utc_now() - timedelta(seconds=1)))
    with pytest.raises(NotFoundError):
        references.read("default", person)
