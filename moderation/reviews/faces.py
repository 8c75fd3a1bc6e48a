"""A matched face beside the enrolled person's reference picture: for senior reviewers who hold the case, each look noted.

A reference is personal data of somebody who asked for protection and shows who they are; a reviewer can decide by the person's
id and the score, or escalate. So only `senior` is shown it, the role that sees the gravest and ends disputes, and only on a case
that they hold. Leads, administrators and auditors read what was done, and need no picture for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from detectors.base import Region
from moderation import audit
from moderation.errors import ForbiddenError, NotFoundError
from moderation.people.references import References, event
from moderation.people.repository import PeopleRepository
from moderation.reviews.repository import ReviewRepository
from moderation.reviews.safety import Exposure, Look, ReviewerSafety
from moderation.roles import Person, Role
from moderation.tables import ReviewCase, Scan, utc_now

COMPARES = (Role.SENIOR,)
"""Who is shown reference pictures."""


@dataclass(frozen=True)
class FaceMatch:
    """A face of an image that is like an enrolled person's. number: among the image's matches, as they were found. reference: whether a
    picture of the person is kept."""

    number: int
    person: str
    score: float
    fpr: float | None
    region: Region
    frame: int | None
    reference: bool


class FaceComparison:
    """Finds the matched faces of an image, and gives the reference of each to whoever may compare them."""

    def __init__(self, safety: ReviewerSafety, references: References) -> None:
        self.database = safety.database
        self.safety = safety
        self.references = references

    def of(self, tenant: str, findings: Sequence[Mapping[str, Any]]) -> list[FaceMatch]:
        """The matches among an image's findings, the surest first."""
        found = [f for f in findings if f["label"] == "likeness" and f["status"] == "ok" and f["region"]]
        kept = self.references.kept(tenant, {str(f["evidence"].get("person")) for f in found})
        matches = [
            FaceMatch(
                number,
                str(f["evidence"].get("person")),
                float(f["score"]),
                f["fpr"],
                Region(**f["region"]),
                f["frame"],
                str(f["evidence"].get("person")) in kept,
            )
            for number, f in enumerate(found)
        ]
        return sorted(matches, key=lambda match: (match.fpr or 0.0, -match.score))

    def uncover(self, person: Person, case_id: str, sha256: str, enrolled: str) -> Exposure:
        """Note that somebody compares a face of an image with an enrolled person's reference, before either is shown.

        Raises ForbiddenError where they may not, NotFoundError where the image matches nobody of this name.
        """
        may_compare(person)
        match = self.match(person.tenant, case_id, sha256, enrolled)
        if match.reference:

            def also(session: Session) -> None:
                seen = event(person.tenant, enrolled, "reference_shown", person.id, case=case_id)
                PeopleRepository(session, person.tenant).add(seen)
                audit.record(session, person.tenant, person.id, "person.reference_shown", enrolled, case=case_id)

            self.safety.note(person, Look(case_id, sha256, "reference"), also=also)
        return self.safety.note(person, Look(case_id, sha256, "face", match.number))

    def match(self, tenant: str, case_id: str, sha256: str, enrolled: str) -> FaceMatch:
        """The surest match of an image of a case with a person. Raises NotFoundError."""
        scan = self._scan(tenant, case_id, sha256)
        found = [match for match in self.of(tenant, scan.findings) if match.person == enrolled] if scan else []
        if not found:
            raise NotFoundError("No face of this image is like that person's.", hint="See the case.")
        return found[0]

    def reference(self, person: Person, case: ReviewCase, sha256: str, enrolled: str) -> bytes:
        """The reference picture, a JPEG. Raises ForbiddenError until the look was noted under this claim; NotFoundError."""
        may_compare(person)
        self.match(person.tenant, case.id, sha256, enrolled)
        noted = self.safety.revealed(person, case, sha256, "reference") and self._noted(person, case, enrolled)
        if not noted:
            raise ForbiddenError("The picture was not uncovered.", hint="Ask for it on the case's page.")
        return self.references.read(person.tenant, enrolled)

    def _noted(self, person: Person, case: ReviewCase, enrolled: str) -> bool:
        since: datetime = case.claimed_at or utc_now()
        with self.database.read() as session:
            return any(
                seen.kind == "reference_shown" and seen.actor == person.id and seen.created_at >= since
                for seen in PeopleRepository(session, person.tenant).events(enrolled)
                if seen.note.get("case") == case.id
            )

    def _scan(self, tenant: str, case_id: str, sha256: str) -> Scan | None:
        with self.database.read() as session:
            repository = ReviewRepository(session, tenant)
            image = repository.image(case_id, sha256)
            return repository.scan(image.scan_id) if image and image.scan_id else None


def may_compare(person: Person) -> None:
    """Raises ForbiddenError where somebody is not shown reference pictures."""
    if not person.has(*COMPARES):
        raise ForbiddenError(
            f"{person.name} may not compare faces; this takes {' or '.join(sorted(COMPARES))}.",
            hint="Decide by the person's id and the score, or escalate.",
        )
