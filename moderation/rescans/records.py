"""What a re-scan is asked to do, checked, and what it says of itself."""

import re
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from croniter import croniter

from moderation.errors import InvalidRequestError
from moderation.policy import ACTIONS
from moderation.tables import RescanFailure, RescanPlan

WITH = {
    "policy": "stored findings are judged anew, lists looked up anew",
    "head": "named detectors measure anew: from stored embeddings where they read nothing else, else from the images",
    "banks": "entries that banks gained since `since_entry` are compared with stored hashes",
    "model": "named detectors measure the images anew",
    "all": "every detector measures the images anew",
}

PATHS = {
    "policy": "stored findings",
    "head": "stored embeddings",
    "banks": "stored hashes",
    "images": "the images themselves",
}

STATES = {
    "scheduled": "plans a run whenever its schedule says",
    "running": "workers take shards of it",
    "paused": "by a person; `resume` goes on where it was",
    "stopped": "by its ceiling of changed verdicts; `resume` with a higher one goes on where it was",
    "done": "every posting was judged, or is listed as a failure",
    "cancelled": "by a person, for good",
}

WITH_NAMES, PATH_NAMES, STATE_NAMES = tuple(WITH), tuple(PATHS), tuple(STATES)

OPEN = ("running", "paused", "stopped", "scheduled")

SOURCES = ("kept", "file", "s3", "gs", "az", "http", "https", "memory")


@dataclass(frozen=True)
class PlanSpec:
    """What is judged again, and with what. Checked when made: raises InvalidRequestError.

    using: one of `WITH`. detectors: which measure anew, for `head` and `model`. since, surface, action: only postings
    scanned since then, of that surface, whose verdict is that action. sample: share of the postings, in (0, 1], the same ones
    each time. policy: judge by the policy of this name; '' by the one that each was judged by. since_entry: number of the last
    bank entry that is not new; until_entry: of the last one that is compared, 0 for all. source: where images are: '' for nowhere, `kept` for those that were kept, or an fsspec or
    http(s) URL with `{external_id}` or `{sha256}` in it. rate: most images a second, 0 for no limit. hours: `22-6`, in UTC,
    '' for any. max_changed: changed actions after which it stops, 0 for no limit. cron: five fields, in UTC, '' for once.
    """

    using: str
    detectors: tuple[str, ...] = ()
    since: datetime | None = None
    surface: str = ""
    action: str = ""
    sample: float = 1.0
    policy: str = ""
    since_entry: int = 0
    until_entry: int = 0
    source: str = field(default="", repr=False)
    rate: float = 0.0
    hours: str = ""
    max_changed: int = 0
    cron: str = ""

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_numbers()
        if self.since is not None and self.since.tzinfo is None:
            raise InvalidRequestError(
                f"since is {self.since}, without a time zone.", hint="Write 2030-01-31T00:00:00Z."
            )
        if self.hours:
            hours_of(self.hours)
        if self.cron and (len(self.cron.split()) != 5 or not croniter.is_valid(self.cron)):
            raise InvalidRequestError(
                f"cron is {self.cron[:60]!r}.", hint="Five fields, such as `0 3 * * 0` for Sundays at three, UTC."
            )
        if self.source and self.source != "kept":
            check_template(self.source)

    def _check_choices(self) -> None:
        for name, value, allowed in (("using", self.using, list(WITH)), ("action", self.action, ["", *ACTIONS])):
            if value not in allowed:
                shown = ", ".join(choice for choice in allowed if choice)
                raise InvalidRequestError(f"{name} is {value[:40]!r}.", hint=f"It is one of {shown}.")
        if (self.using in ("head", "model")) != bool(self.detectors):
            raise InvalidRequestError(
                f"A plan with {self.using!r} names {len(self.detectors)} detectors.",
                hint="Name the detectors that measure anew for `head` and `model`, and none otherwise.",
            )

    def _check_numbers(self) -> None:
        for name, number, low, high in (
            ("sample", self.sample, 1e-6, 1.0),
            ("rate", self.rate, 0.0, 1e6),
            ("max_changed", self.max_changed, 0, 1 << 31),
            ("since_entry", self.since_entry, 0, 1 << 62),
            ("until_entry", self.until_entry, 0, 1 << 62),
        ):
            if not low <= number <= high:  # also refuses what is not a number
                raise InvalidRequestError(f"{name} is {number}.", hint=f"It lies in {low:g} to {high:g}.")
        for name, text, most in (
            ("surface", self.surface, 100),
            ("policy", self.policy, 64),
            ("source", self.source, 500),
        ):
            if len(text) > most:
                raise InvalidRequestError(f"{name} has {len(text)} characters.", hint=f"At most {most} are taken.")

    def as_dict(self) -> dict[str, Any]:
        values = asdict(self)
        return {**values, "detectors": list(self.detectors), "since": self.since.isoformat() if self.since else None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PlanSpec":
        since = datetime.fromisoformat(values["since"]) if values["since"] else None
        return cls(**{**values, "detectors": tuple(values["detectors"]), "since": since})

    @property
    def subject(self) -> "PlanSpec":
        """The same without how it is worked: plans of one subject judge the same postings with the same."""
        return replace(self, source="", rate=0.0, hours="", max_changed=0)

    @property
    def once(self) -> "PlanSpec":
        """The same without its schedule."""
        return replace(self, cron="")

    def open_at(self, moment: datetime) -> bool:
        """Whether work may be done at a moment, by `hours`."""
        if not self.hours:
            return True
        start, end = hours_of(self.hours)
        hour = moment.astimezone(UTC).hour
        return start <= hour < end if start < end else hour >= start or hour < end

    def next_run(self, after: datetime) -> datetime:
        """When its schedule says next, for plans that have one."""
        found: datetime = croniter(self.cron, after.astimezone(UTC)).get_next(datetime)
        return found


def hours_of(text: str) -> tuple[int, int]:
    """First hour and the one behind the last. Raises InvalidRequestError."""
    match = re.fullmatch(r"(\d{1,2})-(\d{1,2})", text)
    start, end = (int(match[1]), int(match[2])) if match else (-1, -1)
    if not (0 <= start < 24 and 0 <= end <= 24 and start != end):
        raise InvalidRequestError(f"hours is {text[:20]!r}.", hint="Two hours of the day in UTC, such as `22-6`.")
    return start, end


def check_template(url: str) -> None:
    """Raises InvalidRequestError unless a source's URL has a scheme that is read, and says where the image's id goes."""
    scheme = url.split("://", 1)[0] if "://" in url else ""
    if scheme not in SOURCES:
        raise InvalidRequestError(
            f"The source's scheme is {scheme[:20]!r}.", hint=f"`kept`, or a URL of {', '.join(SOURCES[1:])}."
        )
    names = re.findall(r"{([^{}]*)}", url)
    if not names or set(names) - {"external_id", "sha256"}:
        raise InvalidRequestError(
            "The source does not say where the image's id goes.",
            hint="Put `{external_id}` or `{sha256}` where it does, and nothing else in braces.",
        )


class Posting(NamedTuple):
    """An image as it was last judged in one place of the host (external id and surface), with all that it rests on.

    verdict, lookups, findings: JSON as text.
    """

    scan_id: str
    image_id: str
    action: str
    policy: str
    external_id: str
    uploader: str
    surface: str
    locale: str
    verdict: str
    lookups: str | None
    findings: str
    measurement_id: str
    models: str
    plan: str
    sha256: str
    width: int
    height: int
    frames: int
    size: int
    format: str
    probes: bytes | None

    @property
    def context(self) -> dict[str, str]:
        """What the host said."""
        return {
            "external_id": self.external_id,
            "uploader": self.uploader,
            "surface": self.surface,
            "locale": self.locale,
        }

    @property
    def facts(self) -> dict[str, Any]:
        """What policies may ask of the file."""
        return {
            "width": self.width,
            "height": self.height,
            "frames": self.frames,
            "bytes": self.size,
            "format": self.format,
        }


@dataclass(frozen=True)
class Progress:
    """How far a plan is. left: postings still to be judged; retried ones are among failed until they are through.

    per_s: postings a second of one worker's work. seconds_left: at that rate, with the workers of now; None when unknown.
    """

    total: int
    done: int
    changed: int
    gone: int
    waiting: int
    failed: int
    workers: int
    per_s: float

    @property
    def left(self) -> int:
        return max(0, self.total - self.done - self.gone - self.waiting - self.failed)

    @property
    def seconds_left(self) -> float | None:
        return round(self.left / (self.per_s * max(1, self.workers)), 1) if self.per_s else None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "left": self.left, "seconds_left": self.seconds_left}


@dataclass(frozen=True)
class PlanView:
    """A plan, and how far it is. lacking: what it was made for that the process that says so has not; '' for nothing."""

    plan: RescanPlan
    progress: Progress
    lacking: str = ""

    @property
    def note(self) -> str:
        """Why it stopped, or gets no further."""
        waits = f"It waits for a process that has what it was made for: {self.lacking}." if self.lacking else ""
        return self.plan.note or waits

    def as_dict(self) -> dict[str, Any]:
        """JSON values, the same on every door."""
        plan = self.plan
        moments = ("created_at", "started_at", "ended_at", "next_at")
        return {
            **{name: getattr(plan, name) for name in ("id", "state", "spec", "path", "why", "schedule_id", "basis")},
            "note": self.note,
            **{name: getattr(plan, name).isoformat() if getattr(plan, name) else None for name in moments},
            "progress": self.progress.as_dict(),
        }


@dataclass(frozen=True)
class DryRun:
    """What a plan would do, from a sample that was judged and thrown away.

    images: postings in its scope. seconds: of one worker for all of them. sampled, changed, failed: of the sample.
    changes: some changed postings, as events say them.
    """

    path: str
    why: str
    images: int
    seconds: float
    sampled: int
    changed: int
    failed: int
    changes: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        share = self.changed / self.sampled if self.sampled else 0.0
        return {**asdict(self), "changes": list(self.changes), "expected_changes": round(share * self.images)}


def failure_as_dict(failure: RescanFailure) -> dict[str, Any]:
    return {
        "scan": failure.scan_id,
        "code": failure.code,
        "message": failure.message,
        "attempts": failure.attempts,
        "next_at": failure.next_at.isoformat() if failure.next_at else None,
    }
