"""What callers say of people and their photos, and what they are told."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from moderation.errors import InvalidRequestError
from moderation.people.enrolment import Quality, Refusal
from moderation.tables import utc_now

KINDS = ("adult", "minor")
MOST_PHOTOS = 20
LONGEST_TEXT = 500

CONSENTS = {
    "consent": "the person agreed, in writing",
    "guardian": "a parent or guardian agreed for a minor",
    "representative": "somebody with authority acts for the person",
}
"""On what grounds somebody is enrolled."""


@dataclass(frozen=True)
class Consent:
    """On what grounds a person is enrolled, until when, and who answers for it.

    kind: one of `CONSENTS`. document: where the agreement or authority is filed. vouched_by: who checked it and the
    person's identity. guardian: who is responsible for a minor. reference: whether a picture of the face may be kept besides the
    templates, for reviewers to compare with: no, unless it was asked for by itself.
    """

    kind: str
    document: str
    vouched_by: str
    expires_at: datetime
    guardian: str = ""
    reference: bool = False


@dataclass(frozen=True)
class Applicant:
    """Who is to be enrolled. kind: 'adult' or 'minor'."""

    name: str
    kind: str
    consent: Consent


@dataclass(frozen=True)
class Photo:
    """A photo's bytes and what the sender calls it."""

    data: bytes
    name: str = ""


@dataclass(frozen=True)
class PhotoReport:
    """What became of one photo: enrolled, or refused with the reason."""

    name: str
    refusal: Refusal | None
    quality: Quality | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "enrolled": self.refusal is None,
            "code": self.refusal.code if self.refusal else "",
            "reason": self.refusal.reason if self.refusal else "",
            "quality": self.quality.as_dict() if self.quality else None,
        }


@dataclass(frozen=True)
class EnrolledPerson:
    """A person as callers see one: never a template. name and consent are None where they cannot be decrypted."""

    id: str
    kind: str
    created_at: datetime
    expires_at: datetime
    photos: int
    name: str | None
    consent: Consent | None
    problem: str = ""

    @property
    def active(self) -> bool:
        return self.expires_at > utc_now() and not self.problem

    def as_dict(self) -> dict[str, Any]:
        """JSON values, the same on every door."""
        values = asdict(self)
        for moments in (values, values["consent"] or {}):
            moments |= {key: at.isoformat() for key, at in moments.items() if isinstance(at, datetime)}
        return {**values, "active": self.active}


@dataclass(frozen=True)
class Enrolment:
    """What came of enrolling: the person, and each photo's report in the order they came."""

    person: EnrolledPerson
    photos: tuple[PhotoReport, ...]


def check_applicant(applicant: Applicant) -> None:
    """Raises InvalidRequestError when a person may not be enrolled on these grounds."""
    consent = applicant.consent
    check_texts(applicant)
    if applicant.kind not in KINDS:
        raise InvalidRequestError(f"{applicant.kind!r} is not a kind of person.", hint=f"Kinds are {', '.join(KINDS)}.")
    if consent.kind not in CONSENTS:
        raise InvalidRequestError(f"{consent.kind!r} is not a ground.", hint=f"Grounds are {', '.join(CONSENTS)}.")
    check_guardian(applicant.kind, consent)
    if consent.expires_at.tzinfo is None:
        raise InvalidRequestError(
            f"expires_at {consent.expires_at} has no time zone.", hint="Write it as 2030-01-31T00:00:00Z."
        )
    if consent.expires_at <= utc_now():
        raise InvalidRequestError(
            f"The consent ended on {consent.expires_at:%Y-%m-%d}.", hint="Get it renewed first.", code="consent_expired"
        )


def check_texts(applicant: Applicant) -> None:
    """Raises InvalidRequestError when a name or reference is missing or too long."""
    consent = applicant.consent
    texts = {"name": applicant.name, "document": consent.document, "vouched_by": consent.vouched_by}
    for field, text in texts.items():
        if not text.strip():
            raise InvalidRequestError(
                f"{field} is empty.", hint="Enrolling needs a name, a document and who vouches for it."
            )
    for field, text in {**texts, "guardian": consent.guardian}.items():
        if len(text) > LONGEST_TEXT:
            raise InvalidRequestError(f"{field} has {len(text)} characters, at most {LONGEST_TEXT} are taken.")


def check_guardian(kind: str, consent: Consent) -> None:
    """A minor's guardian is recorded, and agrees for the minor; an adult has none. Raises InvalidRequestError."""
    if kind == "minor" and not consent.guardian.strip():
        raise InvalidRequestError(
            "A minor cannot be enrolled without a guardian.",
            hint="Record who it is as `guardian`.",
            code="guardian_missing",
        )
    if kind == "minor" and consent.kind == "consent":
        raise InvalidRequestError(
            "A minor's own consent does not do.", hint="Record the ground `guardian` or `representative`."
        )
    if kind == "adult" and consent.kind == "guardian":
        raise InvalidRequestError("An adult has no guardian here.", hint="Record the ground `representative`.")


def check_count(photos: int) -> None:
    """Raises InvalidRequestError unless a person has 1 to 20 photos."""
    if not 1 <= photos <= MOST_PHOTOS:
        raise InvalidRequestError(
            f"{photos} photos of one person; 1 to {MOST_PHOTOS} are taken.",
            code="photo_count",
            hint="Send the best ones.",
        )
