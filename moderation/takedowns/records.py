"""What a notice says, and what keeps it from being valid."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from moderation.errors import InvalidRequestError

STATES = {
    "incomplete": "Something is missing; the person is asked for it.",
    "valid": "Complete. The clock runs; a person decides.",
    "duplicate": "The same person filed for the same image before; that notice goes on.",
    "abusive": "A person found that the notice misuses the procedure.",
    "rejected": "A person found that it does not hold, and said why.",
    "accepted": "The image's hashes are listed and copies searched; the host is removing them.",
    "removed": "The host confirmed the removal.",
    "reversed": "After a counter-notice a person took the takedown back.",
    "withdrawn": "Who filed it took it back.",
}

STATE_NAMES = tuple(STATES)

OPEN = ("valid", "accepted")
"""States in which the clock runs."""

RELATIONS = ("self", "parent", "representative")

MISSING = {
    "name_missing": "Your name, or that of the organisation that acts for you.",
    "contact_missing": "An e-mail address at which you can be reached.",
    "images_missing": "At least one address of an image, or an image.",
    "statement_missing": "What the image shows, and that you did not agree to its being shown.",
    "represented_missing": "Whom you act for.",
    "good_faith_missing": "Your confirmation that you believe in good faith that the image is shown without consent.",
    "signature_missing": "Your signature: your full name, typed.",
}
"""What makes a notice incomplete, in the words that the person reads."""

FLAGS = {
    "many_notices": "The same contact filed more than ten notices within a week.",
    "rejected_before": "Notices of the same contact were rejected or found abusive before.",
    "countered": "There is a counter-notice.",
}
"""What a person should look at before deciding."""

MOST_URLS = 20
MOST_UPLOADS = 10

LENGTHS = {"name": 200, "contact": 320, "represented": 200, "statement": 5_000, "signature": 200}


@dataclass(frozen=True)
class Filing:
    """A notice as it was filled in. Anything may be missing; what is there must be fit to keep.

    contact: an e-mail address. relation: one of `RELATIONS`; represented: for whom, where it is not for oneself. urls: of
    the image on the host. Raises InvalidRequestError for what is too long, or is no address.
    """

    name: str = ""
    contact: str = ""
    relation: str = "self"
    represented: str = ""
    statement: str = ""
    signature: str = ""
    good_faith: bool = False
    urls: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name, limit in LENGTHS.items():
            value = getattr(self, name)
            if len(value) > limit or "\0" in value:
                raise InvalidRequestError(
                    f"{name} has {len(value):,} characters; at most {limit:,} are taken.", hint="Shorten it."
                )
        if self.relation not in RELATIONS:
            raise InvalidRequestError(
                f"relation is {self.relation[:40]!r}.", hint=f"It is one of {', '.join(RELATIONS)}."
            )
        if self.contact and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", self.contact):
            raise InvalidRequestError("contact is not an e-mail address.", hint="Write it as name@example.org.")
        if len(self.urls) > MOST_URLS:
            raise InvalidRequestError(f"{len(self.urls)} addresses.", hint=f"File at most {MOST_URLS} in one notice.")
        for url in self.urls:
            check_url(url)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Filing":
        """A filing from what was kept."""
        return cls(**{**values, "urls": tuple(values["urls"])})

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def missing(self, images: int) -> list[str]:
        """Codes of what is missing (keys of `MISSING`), given how many images are known by their hashes."""
        absent = {
            "name_missing": not self.name.strip(),
            "contact_missing": not self.contact,
            "images_missing": not (self.urls or images),
            "statement_missing": len(self.statement.strip()) < 10,
            "represented_missing": self.relation != "self" and not self.represented.strip(),
            "good_faith_missing": not self.good_faith,
            "signature_missing": not self.signature.strip(),
        }
        return [code for code, is_absent in absent.items() if is_absent]


def check_url(url: str) -> None:
    """Raises InvalidRequestError for what cannot be an image's address."""
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
    except ValueError:
        fit = False
    if not fit or len(url) > 2_000 or not url.isprintable() or " " in url:
        raise InvalidRequestError(
            f"{url[:100]!r} is not an address of an image.", hint="Copy it from the browser; it starts with https://."
        )


@dataclass(frozen=True)
class Copy:
    """A hosted image that a sweep found. stage, distance, similarity: see the table `notice_copies`."""

    image_id: str
    sha256: str
    stage: str
    distance: int | None = None
    similarity: float | None = None


@dataclass(frozen=True)
class Report:
    """How a tenant keeps the law's time. hours: from validity to confirmed removal, sorted."""

    states: Mapping[str, int]
    hours: Sequence[float]
    limit: int
    overdue: int
    next_due: str | None

    def as_dict(self) -> dict[str, Any]:
        hours = list(self.hours)
        within = sum(hour <= self.limit for hour in hours)
        return {
            "notices": dict(self.states),
            "removed": len(hours),
            "removed_in_time": within,
            "removed_in_time_share": round(within / len(hours), 4) if hours else None,
            "hours_median": round(hours[len(hours) // 2], 2) if hours else None,
            "hours_p95": round(hours[min(len(hours) - 1, int(0.95 * len(hours)))], 2) if hours else None,
            "hours_longest": round(hours[-1], 2) if hours else None,
            "limit_hours": self.limit,
            "overdue": self.overdue,
            "next_due": self.next_due,
        }
