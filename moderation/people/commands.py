"""`palisade people`: protected people."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from moderation.application import Application
from moderation.commands.console import err, out
from moderation.errors import InvalidRequestError
from moderation.people.records import CONSENTS, KINDS, Applicant, Consent, EnrolledPerson, Enrolment, Photo, PhotoReport
from moderation.people.service import PeopleService
from moderation.settings import settings
from moderation.tables import DEFAULT_TENANT

app = typer.Typer(help="People who are enrolled for protection.", no_args_is_help=True)

ACTOR = "command line"

Tenant = Annotated[str, typer.Option(help="The tenant whose people these are.")]
PersonId = Annotated[str, typer.Argument(help="The person's id, as `palisade people list` shows it.")]
Photos = Annotated[list[Path], typer.Argument(help="1 to 20 photos, each with the person's face alone.")]
KeepReference = Annotated[
    bool,
    typer.Option(
        "--keep-reference",
        help="The person agreed, by itself, that a crop of one face is kept for senior reviewers to compare with.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def enrol(
    photos: Photos,
    *,
    name: Annotated[str, typer.Option(help="The person's name, for those who work with the list. Encrypted.")],
    document: Annotated[str, typer.Option(help="Where the consent or authority is filed.")],
    vouched_by: Annotated[str, typer.Option(help="Who checked it, and the person's identity.")],
    expires: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day of the consent is the day before.")],
    kind: Annotated[str, typer.Option(help=f"{' or '.join(KINDS)}.")] = "adult",
    ground: Annotated[str, typer.Option(help=f"On what grounds: {', '.join(CONSENTS)}.")] = "consent",
    guardian: Annotated[str, typer.Option(help="Who is responsible for a minor.")] = "",
    confirm_duplicate: Annotated[
        bool, typer.Option("--confirm-duplicate", help="Enrol although somebody enrolled looks like this.")
    ] = False,
    keep_reference: KeepReference = False,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Enrol a person. Photos that cannot be used are refused with the reason; none is kept, but for --keep-reference."""
    consent = Consent(ground, document, vouched_by, expires.replace(tzinfo=UTC), guardian, keep_reference)
    enrolment = _people().enrol(
        tenant, Applicant(name, kind, consent), read(photos), actor=ACTOR, confirm_duplicate=confirm_duplicate
    )
    _show_enrolment(enrolment, as_json=as_json)


@app.command("add-photo")
def add_photo(
    person_id: PersonId,
    photos: Photos,
    *,
    keep_reference: KeepReference = False,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Add photos of somebody who is enrolled."""
    enrolment = _people().add_photos(tenant, person_id, read(photos), actor=ACTOR, keep_reference=keep_reference)
    _show_enrolment(enrolment, as_json=as_json)


@app.command("drop-reference")
def drop_reference(person_id: PersonId, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Delete the picture that --keep-reference kept: the person took that consent back. The protection goes on."""
    Application(settings()).references.drop(tenant, person_id, actor=ACTOR)
    out.print(f"The picture of {person_id} is deleted.")


@app.command("list")
def list_people(tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """Everybody who is enrolled, and whether the protection runs."""
    people = _people().people(tenant)
    if as_json:
        print(json.dumps([person.as_dict() for person in people]))  # noqa: T201 - the command's result
        return
    table = Table("id", "name", "kind", "photos", "expires", "protected")
    for person in people:
        table.add_row(
            person.id,
            person.name or "",
            person.kind,
            str(person.photos),
            f"{person.expires_at:%Y-%m-%d}",
            state(person),
        )
    out.print(table)


@app.command()
def show(person_id: PersonId, tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """One person: on what grounds, until when, and what was done."""
    people = _people()
    person = people.find(tenant, person_id)
    events = [
        {"at": e.created_at.isoformat(), "kind": e.kind, "actor": e.actor, "note": e.note}
        for e in people.events(tenant, person_id)
    ]
    if as_json:
        print(json.dumps({**person.as_dict(), "events": events}))  # noqa: T201 - the command's result
        return
    out.print(
        Text.assemble((person.name or person.id, "bold"), f"  {person.kind}, {person.photos} photos, {state(person)}")
    )
    if person.consent:
        consent = person.consent
        out.print(f"{consent.kind}: {consent.document}, vouched by {consent.vouched_by}", markup=False)
        if consent.reference:
            out.print("a picture of the face is kept for senior reviewers")
        if consent.guardian:
            out.print(f"guardian: {consent.guardian}", markup=False)
    for entry in events:
        out.print(f"{entry['at']}  {entry['kind']}  {entry['actor']}  {entry['note'] or ''}", markup=False)


@app.command()
def delete(person_id: PersonId, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Forget a person for good: the key is destroyed, so that backups of the database cannot be read either."""
    _people().delete(tenant, person_id, actor=ACTOR)
    out.print(f"{person_id} is forgotten.")


@app.command()
def check(
    image: Annotated[Path, typer.Argument(help="An image file.")],
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Which enrolled people do the faces of an image resemble? The question is recorded."""
    findings = _people().resembled(tenant, read([image])[0], actor=ACTOR)
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings]))  # noqa: T201 - the command's result
        return
    for finding in findings:
        if finding.status == "ok":
            out.print(f"{finding.evidence['person']}  score {finding.score:.3f}  fpr {finding.fpr:.2g}")
        else:
            out.print(f"{finding.status}: {finding.reason}")
    if not findings:
        out.print("No face resembles anybody enrolled.")


def read(paths: Sequence[Path]) -> list[Photo]:
    """Raises InvalidRequestError."""
    try:
        return [Photo(path.read_bytes(), path.name) for path in paths]
    except OSError as error:
        raise InvalidRequestError(f"{error.filename} cannot be read: {error.strerror}.") from error


def state(person: EnrolledPerson) -> str:
    return person.problem or ("yes" if person.active else "expired")


def _people() -> PeopleService:
    return Application(settings()).people


def _show_enrolment(enrolment: Enrolment, *, as_json: bool) -> None:
    if as_json:
        answer = {**enrolment.person.as_dict(), "reports": [report.as_dict() for report in enrolment.photos]}
        print(json.dumps(answer))  # noqa: T201 - the command's result
        return
    for report in enrolment.photos:
        _show_report(report)
    out.print(f"{enrolment.person.id} has {enrolment.person.photos} photos.")


def _show_report(report: PhotoReport) -> None:
    said = report.refusal.reason if report.refusal else "enrolled"
    err.print(Text.assemble((report.name, "bold"), f": {said}"))
