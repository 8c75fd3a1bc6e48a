"""Enrolling, matching, expiring and forgetting people, on both databases."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from moderation.commands.keys import new_secret
from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError, NotFoundError, StorageError
from moderation.people.records import Photo
from moderation.people.service import PeopleService
from moderation.tables import FaceTemplate, Person, Tenant, utc_now
from tests.factories import encode, picture
from tests.moderation.people.conftest import MakeService, applicant, photo


def enrol(service: PeopleService, faces, **options) -> str:
    photos = [photo(face) for face in faces]
    return service.enrol("default", applicant(), photos, actor="key_1", **options).person.id


def matches(service: PeopleService, face) -> list[str]:
    return [
        str(f.evidence["person"]) for f in service.resembled("default", photo(face), actor="key_1") if f.status == "ok"
    ]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_enrolled_person_is_found_in_another_photo(service: PeopleService, crops) -> None:
    person = enrol(service, crops[0][:5])

    (finding,) = service.resembled("default", photo(crops[0][6]), actor="key_1")

    assert finding.evidence["person"] == person
    assert finding.fpr < 1e-3
    assert finding.score > 0.9
    assert finding.region is not None
    assert matches(service, crops[1][0]) == []


def test_what_is_told_of_a_person(service: PeopleService, crops) -> None:
    enrolment = service.enrol(
        "default", applicant("minor"), [photo(crops[0][0]), Photo(encode(picture()), "no-face.png")], actor="key_1"
    )

    told = service.find("default", enrolment.person.id)

    assert told == enrolment.person
    assert (told.name, told.kind, told.photos, told.active) == ("C. Person", "minor", 1, True)
    assert told.consent.guardian == "B. Parent"
    assert [report.as_dict()["code"] for report in enrolment.photos] == ["", "no_face"]
    assert service.people("default") == [told]
    assert json.loads(json.dumps(told.as_dict()))["consent"]["document"] == "file 17"


def test_nothing_readable_is_stored(service: PeopleService, database: Database, crops, desk) -> None:
    enrol(service, crops[0][:2])

    with database.read() as session:
        person, rows = session.scalars(sa.select(Person)).one(), session.scalars(sa.select(FaceTemplate)).all()
    plain = [desk.assess([photo(face)], desk.likeness.templates.of([])).templates[0].tobytes() for face in crops[0][:2]]

    assert b"C. Person" not in person.details
    assert all(template[:16] not in row.ciphertext for row in rows for template in plain)
    assert len({row.ciphertext for row in rows}) == 2


def test_without_a_key_nobody_is_enrolled(make_service: MakeService) -> None:
    with pytest.raises(StorageError, match="No key is set") as refusal:
        make_service(keys="").enrol("default", applicant(), [Photo(b"")], actor="key_1")

    assert "PALISADE_PEOPLE_KEYS" in refusal.value.hint


def test_a_minor_without_a_guardian_is_refused(service: PeopleService) -> None:
    with pytest.raises(InvalidRequestError, match="guardian"):
        service.enrol("default", applicant("minor", guardian=""), [Photo(b"")], actor="key_1")


def test_the_wrong_key_is_an_error_and_not_silence(make_service: MakeService, crops) -> None:
    enrol(make_service(), crops[0][:2])
    other = make_service(keys=new_secret("k1"))

    with pytest.raises(StorageError, match="None of the 1 enrolled"):
        other.resembled("default", photo(crops[0][3]), actor="key_1")
    with pytest.raises(StorageError):
        other.check()
    assert other.galleries.version("default") == "1.1.0"
    (told,) = other.people("default")
    assert told.name is None
    assert not told.active


def test_keys_rotate(make_service: MakeService, secret: str, crops) -> None:
    person = enrol(make_service(), crops[0][:2])

    rotated = make_service(keys=f"{new_secret('k2')},{secret}")

    assert matches(rotated, crops[0][3]) == [person]


def test_a_corrupted_record_leaves_the_others_protected(make_service: MakeService, database: Database, crops) -> None:
    first = make_service()
    broken, whole = enrol(first, crops[0][:3]), enrol(first, crops[1][:3])
    with database.write() as session:
        row = session.scalars(sa.select(FaceTemplate).where(FaceTemplate.person_id == broken)).first()
        row.ciphertext = row.ciphertext[:-1] + bytes([row.ciphertext[-1] ^ 1])

    fresh = make_service()

    assert matches(fresh, crops[1][3]) == [whole]
    assert list(fresh.galleries.unreadable("default")) == [broken]


def test_a_template_cannot_be_passed_off_as_another_persons(
    make_service: MakeService, database: Database, crops
) -> None:
    first = make_service()
    one, other = enrol(first, crops[0][:1]), enrol(first, crops[1][:1])
    with database.write() as session:
        rows = {row.person_id: row for row in session.scalars(sa.select(FaceTemplate))}
        rows[one].ciphertext = rows[other].ciphertext

    assert list(make_service().galleries.unreadable("default")) == [one]


def test_the_same_person_again_has_to_be_confirmed(service: PeopleService, crops) -> None:
    person = enrol(service, crops[0][:3])

    with pytest.raises(ConflictError, match=person) as refusal:
        enrol(service, crops[0][3:5])
    assert refusal.value.error_code == "duplicate_person"

    assert enrol(service, crops[0][3:5], confirm_duplicate=True) != person


def test_photos_are_added(service: PeopleService, crops) -> None:
    person = enrol(service, crops[0][:2])

    enrolment = service.add_photos("default", person, [photo(crops[0][4]), photo(crops[1][0])], actor="key_2")

    assert enrolment.person.photos == 3
    assert [r.refusal.code if r.refusal else None for r in enrolment.photos] == [None, "another_face"]
    with pytest.raises(InvalidRequestError, match="22 photos"):
        service.add_photos("default", person, [photo(crops[0][5])] * 19, actor="key_2")


def test_deleting_leaves_nothing_that_can_be_read(
    service: PeopleService, make_service: MakeService, database: Database, crops, tmp_path: Path
) -> None:
    person = enrol(service, crops[0][:3])
    with database.read() as session:
        backup = [session.scalars(sa.select(Person)).one(), *session.scalars(sa.select(FaceTemplate))]
        session.expunge_all()

    service.delete("default", person, actor="key_2")

    assert matches(service, crops[0][4]) == []
    assert list((tmp_path / "keys").rglob("person_*")) == []
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(FaceTemplate)) == 0
        assert session.scalar(sa.select(sa.func.count()).select_from(Person)) == 0
    with pytest.raises(NotFoundError):
        service.find("default", person)
    restore(database, backup)
    restored = make_service()
    assert matches(restored, crops[0][4]) == []
    assert "was destroyed" in restored.galleries.unreadable("default")[person]
    restored.delete("default", person, actor="key_2")
    with pytest.raises(NotFoundError):
        restored.delete("default", person, actor="key_2")


def restore(database: Database, rows) -> None:
    """Put deleted rows back, as restoring a backup does."""
    with database.write() as session:
        for row in rows:
            values = {column.name: getattr(row, column.key) for column in row.__table__.columns}
            session.execute(sa.insert(row.__table__).values(**values))


def test_other_processes_follow_within_five_seconds(make_service: MakeService, crops) -> None:
    clock = Clock()
    here, there = make_service(), make_service(clock=clock)
    assert there.galleries.gallery("default") is None
    person = enrol(here, crops[0][:2])

    clock.now += 5
    assert set(there.galleries.gallery("default").people) == {person}
    version = there.galleries.version("default")
    here.delete("default", person, actor="key_1")
    clock.now += 5

    assert there.galleries.gallery("default") is None
    assert there.galleries.version("default") not in (version, "1.1.1")


def test_a_gallery_that_did_not_change_is_the_same_object(make_service: MakeService, crops) -> None:
    clock = Clock()
    service = make_service(clock=clock)
    enrol(service, crops[0][:1])
    before = service.galleries.gallery("default")
    clock.now += 100

    assert service.galleries.gallery("default") is before


def test_consent_that_ends_ends_the_protection(make_service: MakeService, database: Database, crops) -> None:
    clock = Clock()
    service = make_service(clock=clock)
    person = enrol(service, crops[0][:2])
    enrol(service, crops[1][:2])
    assert person in service.galleries.gallery("default").people
    version = service.galleries.version("default")
    with database.write() as session:
        session.execute(
            sa.update(Person).where(Person.id == person).values(expires_at=utc_now() - timedelta(seconds=1))
        )
    clock.now += 5

    assert person not in service.galleries.gallery("default").people
    assert service.galleries.version("default") != version
    assert not service.find("default", person).active


def test_tenants_do_not_see_each_others_people(service: PeopleService, database: Database, crops) -> None:
    with database.write() as session:
        session.add(Tenant(id="other", name="other"))
    person = enrol(service, crops[0][:2])

    assert service.people("other") == []
    assert service.galleries.gallery("other") is None
    assert list(service.events("other", person)) == []
    with pytest.raises(NotFoundError):
        service.find("other", person)
    with pytest.raises(NotFoundError):
        service.delete("other", person, actor="key_9")
    (finding,) = service.resembled("other", photo(crops[0][4]), actor="key_9")
    assert (finding.status, finding.reason) == ("skipped", "no gallery")


def test_what_was_done_is_recorded_without_the_face_or_the_name(service: PeopleService, crops) -> None:
    person = enrol(service, crops[0][:2])
    service.add_photos("default", person, [photo(crops[0][4])], actor="key_2")
    matches(service, crops[0][5])
    service.delete("default", person, actor="key_3")

    events = service.events("default", person)

    assert [(e.kind, e.actor) for e in events] == [
        ("enrolled", "key_1"),
        ("photos_added", "key_2"),
        ("checked", "key_1"),
        ("deleted", "key_3"),
    ]
    assert [e.note for e in events] == [{"photos": 2, "kind": "adult"}, {"photos": 1}, {}, {}]
