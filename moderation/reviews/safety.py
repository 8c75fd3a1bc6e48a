"""Keeps what people have to look at from hurting them more than it must."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from moderation import audit
from moderation.database import Database
from moderation.errors import ForbiddenError, InvalidRequestError, NotFoundError, RateLimitError
from moderation.reviews.harms import HARMS
from moderation.reviews.records import REVIEWERS, ReviewRules, holds, may_see, must_have
from moderation.reviews.repository import ReviewRepository
from moderation.roles import Person
from moderation.tables import Reveal, ReviewCase, ReviewerState, new_id, utc_now

HOUR = timedelta(hours=1)

PART_FOR = timedelta(minutes=1)
"""How long a part may be asked for after it was noted: the next part is noted anew."""

HOW = ("part", "blurred", "whole")
"""How much of an image was uncovered, the least first."""

FACES = ("face", "reference")
"""What is looked at where a matched face is compared with the enrolled person's picture."""

STEPS = (
    "Do not search for the picture, and do not ask anybody for it.",
    "Compare the hash and the source below: an official list's match stands, unless the list took it back.",
    "Check that the upload is blocked and the file preserved as the law of your country asks.",
    "File the report that the law asks for with the authority, by a person who is entitled to.",
    "Decide here. A second senior decides by themselves.",
)
"""What is to be done about a match with known child sexual abuse material; nobody has to see it."""


@dataclass(frozen=True)
class Display:
    """How an image may be shown. shown: False means never, whoever asks: then `steps` say what to do instead.

    blur: radius in pixels at first. grey, small: without colour; at most 200 pixels at first. hover: whether a part may be
    uncovered under the pointer, whole: whether all of it may. autoplay is always off.
    """

    shown: bool
    blur: int
    grey: bool
    small: bool
    hover: bool = True
    whole: bool = True
    autoplay: bool = False
    steps: tuple[str, ...] = ()


PERSONAL = {
    "blur": "a number of pixels, at least the team's",
    "grey": "true, or the team's",
    "small": "true, or the team's",
    "hover": "false, or the team's",
    "whole": "false, or the team's",
}
"""What people may set for themselves: never less safe than the team's."""


@dataclass(frozen=True)
class Look:
    """What is to be looked at. how: one of `HOW` or `FACES`. field: which part. harm: of an image that is not the case's own."""

    case_id: str
    sha256: str
    how: str
    field: int | None = None
    harm: str = ""


@dataclass(frozen=True)
class Exposure:
    """uncovered: images within the last hour, of at most `limit`. rest_until: the end of the break that is being taken."""

    uncovered: int
    limit: int
    rest_until: datetime | None
    rest_why: str


class ReviewerSafety:
    """Decides how images are shown, counts what was looked at, and enforces breaks."""

    def __init__(self, database: Database, rules: ReviewRules) -> None:
        self.database = database
        self.rules = rules

    def display(self, person: Person, case: ReviewCase) -> Display:
        """How this person may see the images of a case. Raises ForbiddenError where they may not know of it."""
        if not may_see(person, case):
            raise ForbiddenError("This case is for others.", hint="Roles and queues are given by an administrator.")
        team = team_display(case.harm)
        if not team.shown:
            return team
        with self.database.read() as session:
            chosen = ReviewRepository(session, person.tenant).reviewer(person.id).display
        return safer(team, chosen)

    def settings(self, person: Person) -> dict[str, Any]:
        """What a person set for themselves."""
        with self.database.read() as session:
            return dict(ReviewRepository(session, person.tenant).reviewer(person.id).display)

    def set_display(self, person: Person, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a person's own display settings; less safe values are kept but have no effect. Raises InvalidRequestError."""
        kept = _checked(chosen)
        with self.database.write() as session:
            row = ReviewRepository(session, person.tenant).reviewer(person.id)
            row.display = kept
            session.add(row)
            audit.record(session, person.tenant, person.id, "reviewer.display_set", person.id, **kept)
        return kept

    def reveal(
        self,
        person: Person,
        case_id: str,
        sha256: str,
        how: str,
        *,
        field: int | None = None,
        now: datetime | None = None,
    ) -> Exposure:
        """Note that somebody uncovers an image, before it is shown to them. field: which part, 0 to 8 row by row.

        Raises ForbiddenError for what is never shown, RateLimitError while they rest or when a break is due (which begins).
        """
        if how not in HOW:
            raise InvalidRequestError(f"how is {how[:20]!r}.", hint=f"It is one of {', '.join(HOW)}.")
        return self.note(person, Look(case_id, sha256, how, field if how == "part" else None), now=now)

    def note(
        self, person: Person, look: Look, *, also: Callable[[Session], None] | None = None, now: datetime | None = None
    ) -> Exposure:
        """Note a look, whatever is looked at. also: is called in the same transaction. Raises as `reveal`."""
        must_have(person, *REVIEWERS)
        now = now or utc_now()
        rest = self._note(person, look, also, now)
        if rest is not None:
            raise rest
        return self.exposure(person, now=now)

    def _note(
        self, person: Person, look: Look, also: Callable[[Session], None] | None, now: datetime
    ) -> RateLimitError | None:
        with self.database.write() as session:
            repository = ReviewRepository(session, person.tenant)
            case = repository.case(look.case_id)
            harm = look.harm or (case.harm if case and repository.image(look.case_id, look.sha256) else "")
            if case is None or not harm or not may_see(person, case):
                raise NotFoundError("There is no such image in such a case.", hint="See the case.")
            _must_be_shown((case.harm, harm), look.how, repository.reviewer(person.id).display)
            must_not_rest(repository, person.id, now)
            if self._counted(repository, person, now) >= self.rules.exposures:
                return self._begin_rest(repository, person, "break", now)
            row = Reveal(
                id=new_id("reveal"),
                tenant_id=person.tenant,
                created_at=now,
                case_id=case.id,
                reviewer=person.id,
                sha256=look.sha256,
                how=look.how,
                field=look.field,
                harm=harm,
            )
            repository.add(row)
            if also:
                also(session)
        return None

    def revealed(
        self,
        person: Person,
        case: ReviewCase,
        sha256: str,
        how: str,
        *,
        field: int | None = None,
        now: datetime | None = None,
    ) -> bool:
        """Whether the person may be sent an image of a case that they hold, so far uncovered: it was noted under this claim, of
        this part within the last minute, and they take no break."""
        now = now or utc_now()
        if how not in (*HOW, *FACES) or case.claimed_at is None or not holds(person, case, case.token, now):
            return False
        since = max(case.claimed_at, now - PART_FOR) if how == "part" else case.claimed_at
        with self.database.read() as session:
            repository = ReviewRepository(session, person.tenant)
            rest = repository.reviewer(person.id).rest_until
            if not team_display(case.harm).shown or (rest is not None and now < rest):
                return False
            enough = HOW[HOW.index(how) :] if how in HOW else (how,)
            return repository.revealed(case.id, person.id, sha256, enough, since, field=field)

    def exposure(self, person: Person, *, now: datetime | None = None) -> Exposure:
        """How much a person has looked at since their last break, and the break that they take."""
        now = now or utc_now()
        with self.database.read() as session:
            repository = ReviewRepository(session, person.tenant)
            row = repository.reviewer(person.id)
            resting = row.rest_until is not None and row.rest_until > now
            counted = self._counted(repository, person, now)
        return Exposure(
            counted, self.rules.exposures, row.rest_until if resting else None, row.rest_why if resting else ""
        )

    def stop_now(self, person: Person, *, now: datetime | None = None) -> datetime:
        """Stop at once, without a question: every held case goes back, and a break begins; gives when it ends."""
        now = now or utc_now()
        with self.database.write() as session:
            repository = ReviewRepository(session, person.tenant)
            held = repository.held_by(person.id, now)
            for case in held:
                case.holder = case.claimed_at = case.lease_until = None
            self._begin_rest(repository, person, "stop", now, cases=[case.id for case in held])
        return now + self.rules.rest

    def _counted(self, repository: ReviewRepository, person: Person, now: datetime) -> int:
        rested = repository.reviewer(person.id).rest_until
        return repository.reveals_since(person.id, max(now - HOUR, rested) if rested else now - HOUR)

    def _begin_rest(
        self, repository: ReviewRepository, person: Person, why: str, now: datetime, **note: Any
    ) -> RateLimitError:
        row = repository.reviewer(person.id)
        row.rest_from, row.rest_until, row.rest_why = now, now + self.rules.rest, why
        repository.add(row)
        audit.record(repository.session, person.tenant, person.id, f"reviewer.{why}", person.id, **note)
        return _rest(row, now)


def _must_be_shown(harms: Sequence[str], how: str, chosen: Mapping[str, Any]) -> None:
    """Raises ForbiddenError where one of the harms is never shown, or not as a whole to this person."""
    for harm in harms:
        display = safer(team_display(harm), chosen)
        if not display.shown or (how == "whole" and not display.whole):
            raise ForbiddenError(f"This is not shown: {HARMS[harm].words}.", hint="Follow the case's steps.")


def must_not_rest(repository: ReviewRepository, person: str, now: datetime) -> None:
    """Raises RateLimitError while a person takes a break."""
    row = repository.reviewer(person)
    if row.rest_until is not None and now < row.rest_until:
        raise _rest(row, now)


def team_display(harm: str) -> Display:
    """How the team shows images of a harm at first."""
    about = HARMS[harm]
    if about.restricted:
        return Display(False, about.blur, about.grey, about.small, hover=False, whole=False, steps=STEPS)
    return Display(True, about.blur, about.grey, about.small)


def safer(team: Display, chosen: Mapping[str, Any]) -> Display:
    """The team's display with a person's own settings, each only where it is safer."""
    return replace(
        team,
        blur=max(team.blur, chosen.get("blur", 0)),
        grey=team.grey or chosen.get("grey", False),
        small=team.small or chosen.get("small", False),
        hover=team.hover and chosen.get("hover", True),
        whole=team.whole and chosen.get("whole", True),
    )


def _checked(chosen: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in chosen.items():
        right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 200
        if name not in PERSONAL or (not right if name == "blur" else not isinstance(value, bool)):
            known = "; ".join(f"{key}: {about}" for key, about in PERSONAL.items())
            raise InvalidRequestError(f"{str(name)[:20]!r} cannot be {str(value)[:20]!r}.", hint=known)
    return dict(chosen)


def _rest(row: ReviewerState, now: datetime) -> RateLimitError:
    until = row.rest_until or now
    seconds = max(1, round((until - now).total_seconds()))
    return RateLimitError(
        f"A break until {until:%H:%M} UTC.",
        retry_after=seconds,
        code="resting",
        hint="Nothing is lost; come back then.",
    )
