"""`/v1/people`: enrol people for protection, and forget them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, File, Form, Response, UploadFile

from api.dependencies import ApplicationDep, CallerDep
from api.routes.scans import ERRORS
from api.schemas.people import EnrolmentAnswer, EventAnswer, EventsAnswer, PeopleAnswer, PersonAnswer, ResemblanceAnswer
from api.schemas.scans import Finding
from moderation.keys.service import Caller
from moderation.people.records import Applicant, Consent, Photo

router = APIRouter(prefix="/v1/people", tags=["people"], responses=ERRORS)

Photos = Annotated[list[UploadFile], File(description="1 to 20 photos, each with the person's face alone.")]


KeepReference = Annotated[
    bool,
    Form(
        description="The person agreed, by itself, that a crop of one face is kept for senior reviewers to compare with."
    ),
]


def people_caller(caller: CallerDep) -> Caller:
    """The caller, who must have the scope `people`."""
    caller.require("people")
    return caller


PeopleCaller = Annotated[Caller, Depends(people_caller)]


def applicant(
    name: Annotated[str, Form(description="For those who work with the list. Encrypted.")],
    document: Annotated[str, Form(description="Where the consent or authority is filed.")],
    vouched_by: Annotated[str, Form(description="Who checked it, and the person's identity.")],
    expires_at: Annotated[
        datetime, Form(description="When it ends, with a time zone.", examples=["2030-01-31T00:00:00Z"])
    ],
    *,
    kind: Annotated[Literal["adult", "minor"], Form()] = "adult",
    ground: Annotated[
        Literal["consent", "guardian", "representative"], Form(description="On what grounds.")
    ] = "consent",
    guardian: Annotated[str, Form(description="Who is responsible for a minor.")] = "",
    keep_reference: KeepReference = False,
) -> Applicant:
    """Who is to be enrolled, from the form."""
    return Applicant(name, kind, Consent(ground, document, vouched_by, expires_at, guardian, keep_reference))


@router.post("", status_code=201)
def enrol_person(
    who: Annotated[Applicant, Depends(applicant)],
    photo: Photos,
    caller: PeopleCaller,
    app: ApplicationDep,
    confirm_duplicate: Annotated[bool, Form(description="Enrol although somebody enrolled looks like this.")] = False,
) -> EnrolmentAnswer:
    """Enrol a person. Photos that cannot be used are refused with the reason. None is kept; of one, a crop of the face where
    `keep_reference` says that the person agreed to it."""
    with app.scanner.turn():
        enrolment = app.people.enrol(
            caller.tenant, who, read(photo), actor=caller.key_id, confirm_duplicate=confirm_duplicate
        )
    return EnrolmentAnswer.of(enrolment)


@router.get("")
def list_people(caller: PeopleCaller, app: ApplicationDep) -> PeopleAnswer:
    """Everybody who is enrolled, those whose consent has ended too."""
    return PeopleAnswer(people=[PersonAnswer.of(person) for person in app.people.people(caller.tenant)])


@router.post("/check")
def check_image(photo: Annotated[UploadFile, File()], caller: PeopleCaller, app: ApplicationDep) -> ResemblanceAnswer:
    """Which enrolled people do the faces of an image resemble? The question is recorded, the image is not kept."""
    with app.scanner.turn():
        findings = app.people.resembled(caller.tenant, read([photo])[0], actor=caller.key_id)
    return ResemblanceAnswer(findings=[Finding(**finding.as_dict()) for finding in findings])


@router.get("/{person_id}")
def read_person(person_id: str, caller: PeopleCaller, app: ApplicationDep) -> PersonAnswer:
    """A person by id."""
    return PersonAnswer.of(app.people.find(caller.tenant, person_id))


@router.get("/{person_id}/events")
def read_events(person_id: str, caller: PeopleCaller, app: ApplicationDep) -> EventsAnswer:
    """What was done about a person, the oldest first; also after the person was deleted."""
    return EventsAnswer(events=[EventAnswer.of(event) for event in app.people.events(caller.tenant, person_id)])


@router.post("/{person_id}/photos")
def add_photos(
    person_id: str, photo: Photos, caller: PeopleCaller, app: ApplicationDep, *, keep_reference: KeepReference = False
) -> EnrolmentAnswer:
    """Add photos of somebody who is enrolled."""
    with app.scanner.turn():
        enrolment = app.people.add_photos(
            caller.tenant, person_id, read(photo), actor=caller.key_id, keep_reference=keep_reference
        )
    return EnrolmentAnswer.of(enrolment)


@router.delete("/{person_id}/reference", status_code=204)
def drop_reference(person_id: str, caller: PeopleCaller, app: ApplicationDep) -> Response:
    """Delete the picture that `keep_reference` kept: the person took that consent back. The protection goes on."""
    app.references.drop(caller.tenant, person_id, actor=caller.key_id)
    return Response(status_code=204)


@router.delete("/{person_id}", status_code=204)
def delete_person(person_id: str, caller: PeopleCaller, app: ApplicationDep) -> Response:
    """Forget a person for good: their key is destroyed, so that backups of the database cannot be read either."""
    app.people.delete(caller.tenant, person_id, actor=caller.key_id)
    return Response(status_code=204)


def read(files: Sequence[UploadFile]) -> list[Photo]:
    """The photos of a form, which are in memory."""
    return [Photo(file.file.read(), (file.filename or "")[:200]) for file in files]
