"""What protected people look like on the wire: never a template, never a picture."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.scans import Finding
from moderation.people.records import EnrolledPerson, Enrolment
from moderation.tables import PersonEvent


class ConsentAnswer(BaseModel):
    """On what grounds somebody is enrolled, and who answers for it."""

    kind: Literal["consent", "guardian", "representative"]
    document: str
    vouched_by: str
    expires_at: datetime
    guardian: str
    reference: bool = Field(description="Whether a crop of one face is kept. No endpoint gives it out.")


class PersonAnswer(BaseModel):
    """An enrolled person. `active`: whether faces are compared with theirs; `problem`: why they cannot be."""

    id: str = Field(examples=["person_01kax1pz7rc5w1m3s0qv9yd2ht"])
    kind: Literal["adult", "minor"]
    created_at: datetime
    expires_at: datetime
    photos: int
    name: str | None
    consent: ConsentAnswer | None
    problem: str
    active: bool

    @classmethod
    def of(cls, person: EnrolledPerson) -> "PersonAnswer":
        return cls.model_validate(person.as_dict())


class PhotoAnswer(BaseModel):
    """What became of a photo; `code` and `reason` say why it was refused."""

    name: str
    enrolled: bool
    code: str = Field(examples=["blurred"])
    reason: str
    quality: Mapping[str, float] | None


class EnrolmentAnswer(BaseModel):
    person: PersonAnswer
    photos: list[PhotoAnswer]

    @classmethod
    def of(cls, enrolment: Enrolment) -> "EnrolmentAnswer":
        photos = [PhotoAnswer.model_validate(report.as_dict()) for report in enrolment.photos]
        return cls(person=PersonAnswer.of(enrolment.person), photos=photos)


class PeopleAnswer(BaseModel):
    people: list[PersonAnswer]


class EventAnswer(BaseModel):
    """What was done about a person, when and by whom."""

    at: datetime
    kind: Literal[
        "enrolled",
        "photos_added",
        "deleted",
        "checked",
        "reference_kept",
        "reference_shown",
        "reference_dropped",
    ]
    actor: str
    note: Mapping[str, Any]

    @classmethod
    def of(cls, event: PersonEvent) -> "EventAnswer":
        return cls.model_validate(
            {"at": event.created_at, "kind": event.kind, "actor": event.actor, "note": event.note}
        )


class EventsAnswer(BaseModel):
    events: list[EventAnswer]


class ResemblanceAnswer(BaseModel):
    """`likeness` findings of an image."""

    findings: list[Finding]
