"""The queue: who is given which case, and for how long."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from moderation import audit, events
from moderation.database import Database
from moderation.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from moderation.reviews.harms import HARMS, QUEUES, cause_of
from moderation.reviews.intake import Intake, image_row
from moderation.reviews.priority import rank_of
from moderation.reviews.records import (
    ANSWERS,
    LEADS,
    REVIEWERS,
    WAITING,
    CaseView,
    Claim,
    ReviewRules,
    Waiting,
    holds,
    may_see,
    must_have,
    must_work,
    need_text,
)
from moderation.reviews.repository import ReviewRepository
from moderation.reviews.safety import must_not_rest
from moderation.reviews.statements import Statements
from moderation.roles import Person, Role
from moderation.tables import CaseExclusion, CaseImage, Decision, ReviewCase, utc_now

MOST_HELD = 3
"""Cases that one person may hold at once: the one being looked at, the next, and one more tab."""


class ReviewService:
    """Gives cases to people. Every act names the person, whose tenant's cases these are."""

    def __init__(self, database: Database, rules: ReviewRules, statements: Statements | None = None) -> None:
        self.database = database
        self.rules = rules
        self.statements = statements or Statements(None)
        self.intake = Intake(rules)

    def claim(self, person: Person, queue: str = "", *, now: datetime | None = None) -> Claim | None:
        """The first case of a queue, or of all that the person works, kept for them until the lease is over.

        None where nothing waits for them. The claim's `case.token` goes with the decision. Raises ForbiddenError,
        InvalidRequestError (an unknown queue), ConflictError (they hold too many), RateLimitError (they rest).
        """
        must_have(person, *REVIEWERS)
        now = now or utc_now()
        with self.database.write() as session:
            repository = ReviewRepository(session, person.tenant)
            queues = self._queues(repository, person, queue)
            self._may_hold_more(repository, person, now)
            tiers = ("reviewer", "senior") if person.has(Role.SENIOR) else ("reviewer",)
            case = repository.next(person.id, queues, tiers, now)
            return self._hold(repository, person, case, now) if case else None

    def take(self, person: Person, case_id: str, *, now: datetime | None = None) -> Claim:
        """A certain case. Raises NotFoundError, ForbiddenError, ConflictError (another holds it), RateLimitError."""
        now = now or utc_now()
        with self.database.write() as session:
            repository = ReviewRepository(session, person.tenant)
            case = found(repository.case(case_id, lock=True), case_id)
            must_work(person, case)
            if case.rank is None:
                raise ConflictError(f"The case is {case.state}.", hint="A lead or senior can open it again.")
            if case.holder not in (None, person.id) and case.lease_until and case.lease_until > now:
                raise ConflictError("Another person holds this case.", hint="Take the next one.")
            if case.assigned_to not in (None, person.id):
                raise ConflictError("This case is assigned to another person.", hint="Take the next one.")
            must_not_be_excluded(repository, person, case)
            if case.holder != person.id:
                self._may_hold_more(repository, person, now)
            return self._hold(repository, person, case, now)

    def _queues(self, repository: ReviewRepository, person: Person, queue: str) -> frozenset[str] | None:
        if not queue:
            return person.queues
        if queue not in QUEUES and queue not in repository.queues():
            raise InvalidRequestError(f"There is no queue {queue[:100]!r}.", hint=f"Queues are {', '.join(QUEUES)}.")
        if not person.works(queue):
            raise ForbiddenError(f"{person.name} does not work the queue {queue!r}.", hint="Ask an administrator.")
        return frozenset({queue})

    def _may_hold_more(self, repository: ReviewRepository, person: Person, now: datetime) -> None:
        must_not_rest(repository, person.id, now)
        held = repository.held_by(person.id, now)
        if len(held) >= MOST_HELD:
            raise ConflictError(
                f"{person.name} holds {len(held)} cases already, such as {held[0].id}.",
                hint="Decide on one, skip it or give it back.",
            )

    def _hold(self, repository: ReviewRepository, person: Person, case: ReviewCase, now: datetime) -> Claim:
        case.holder, case.claimed_at, case.lease_until = person.id, now, now + self.rules.lease
        case.token += 1
        audit.record(repository.session, person.tenant, person.id, "case.claimed", case.id, token=case.token)
        return Claim(case, repository.images(case.id), offers(repository, person, case))

    def held(self, person: Person, *, now: datetime | None = None) -> Sequence[ReviewCase]:
        """What the person holds."""
        with self.database.read() as session:
            return ReviewRepository(session, person.tenant).held_by(person.id, now or utc_now(), lock=False)

    def waiting(self, person: Person) -> Sequence[Waiting]:
        """The queues in which something waits that the person may see, by name."""
        must_have(person, *REVIEWERS, *LEADS, Role.AUDITOR)
        senior = person.has(Role.SENIOR)
        tiers = ("reviewer", "senior") if senior or person.has(*LEADS, Role.AUDITOR) else ("reviewer",)
        with self.database.read() as session:
            repository = ReviewRepository(session, person.tenant)
            return [Waiting(*row) for row in repository.waiting_by_queue(person.queues, tiers, gravest=senior)]

    def renew(self, person: Person, case_id: str, token: int, *, now: datetime | None = None) -> ReviewCase:
        """Keep a case for another lease. Raises ConflictError once the lease is over."""
        now = now or utc_now()
        with self.database.write() as session:
            case = found(ReviewRepository(session, person.tenant).case(case_id, lock=True), case_id)
            must_hold(person, case, token, now)
            case.lease_until = now + self.rules.lease
        return case

    def release(self, person: Person, case_id: str, token: int, *, now: datetime | None = None) -> ReviewCase:
        """Give a case back. Raises ConflictError once the lease is over."""
        with self.database.write() as session:
            case = found(ReviewRepository(session, person.tenant).case(case_id, lock=True), case_id)
            must_hold(person, case, token, now or utc_now())
            let_go(case)
            audit.record(session, person.tenant, person.id, "case.released", case.id)
        return case

    def skip(self, person: Person, case_id: str, token: int, reason: str, *, now: datetime | None = None) -> ReviewCase:
        """Leave a case to others: it is not given to this person again for a while. Raises ConflictError, …"""
        reason, now = need_text("reason", reason), now or utc_now()
        with self.database.write() as session:
            repository = ReviewRepository(session, person.tenant)
            case = found(repository.case(case_id, lock=True), case_id)
            must_hold(person, case, token, now)
            let_go(case)
            if case.assigned_to == person.id:
                case.assigned_to = None
            repository.exclude(exclusion(case, person.id, "skipped", until=now + self.rules.skip, reason=reason))
            audit.record(session, person.tenant, person.id, "case.skipped", case.id, reason=reason)
        return case

    def reassign(self, lead: Person, case_id: str, to: Person, reason: str) -> ReviewCase:
        """Give a case to one person only, taking it from whoever holds it. Raises ForbiddenError, ConflictError."""
        must_have(lead, *LEADS, Role.SENIOR)
        reason = need_text("reason", reason)
        with self.database.write() as session:
            repository = ReviewRepository(session, lead.tenant)
            case = found(repository.case(case_id, lock=True), case_id)
            must_work(to, case)
            must_not_be_excluded(repository, to, case)
            if case.rank is None:
                raise ConflictError(f"The case is {case.state}.", hint="Open it again first.")
            let_go(case)
            case.assigned_to = to.id
            skipped = repository.exclusion(case.id, to.id, "skipped")
            if skipped is not None:
                session.delete(skipped)
            audit.record(session, lead.tenant, lead.id, "case.reassigned", case.id, to=to.id, reason=reason)
        return case

    def reopen(self, person: Person, case_id: str, reason: str, *, now: datetime | None = None) -> ReviewCase:
        """Open a closed case again, for seniors; the host is told. Raises ForbiddenError, ConflictError."""
        must_have(person, *LEADS, Role.SENIOR)
        reason, now = need_text("reason", reason), now or utc_now()
        with self.database.write() as session:
            repository = ReviewRepository(session, person.tenant)
            repository.lock_tenant()
            case = found(repository.case(case_id, lock=True), case_id)
            if not may_see(person, case):
                raise ForbiddenError("This case is for seniors.", hint="Roles are given by an administrator.")
            if case.state != "closed" or case.kind != "scan":
                raise ConflictError(
                    f"The case is {case.state}, of kind {case.kind}.", hint="Only closed cases of scans open again."
                )
            case.state, case.tier, case.eyes, case.disputed = "open", "senior", 1, False
            case.outcome = case.effect = case.decided_at = case.release_at = case.closed_at = None
            case.round += 1
            case.due_at = self.rules.due(case.severity, now)
            case.rank = rank_of(case)
            repository.number(*repository.images(case.id))
            audit.record(session, person.tenant, person.id, "case.reopened", case.id, reason=reason)
            events.add(session, person.tenant, "case.reopened", {"case": case.id, "round": case.round}, now=now)
        return case

    def add_golden(self, lead: Person, scan_id: str, answer: str, reason: str) -> ReviewCase:
        """Put a case with a known answer among the others. It changes nothing outside; whoever decides is scored by it.

        Raises ForbiddenError, NotFoundError, InvalidRequestError (no answer, or a scan that calls for nobody).
        """
        must_have(lead, *LEADS)
        reason = need_text("reason", reason)
        if answer not in ANSWERS:
            raise InvalidRequestError(f"{answer[:20]!r} is not an answer.", hint=f"Answers are {', '.join(ANSWERS)}.")
        with self.database.write() as session:
            repository = ReviewRepository(session, lead.tenant)
            scan = repository.scan(scan_id)
            if scan is None:
                raise NotFoundError(f"There is no scan {scan_id[:60]!r}.", hint="Ids look like `scan_01k2…`.")
            cause = cause_of(scan.verdict, scan.findings)
            if cause is None or cause.harm.restricted:
                raise InvalidRequestError(
                    "This scan makes no case that people could be scored by.", hint="Take one that was held."
                )
            case = self.intake.new_case(lead.tenant, cause, reach=max(scan.reach, 1), kind="golden", answer=answer)
            repository.add(case, image_row(case, scan, b"", "first", 0))
            audit.record(session, lead.tenant, lead.id, "case.golden_added", case.id, scan=scan_id, reason=reason)
        return case

    def end_golden(self, lead: Person, case_id: str) -> ReviewCase:
        """Take a golden case out of the queue; its scores stay. Raises ForbiddenError, NotFoundError, ConflictError."""
        must_have(lead, *LEADS)
        with self.database.write() as session:
            case = found(ReviewRepository(session, lead.tenant).case(case_id, lock=True), case_id)
            if case.kind != "golden":
                raise ConflictError("This is no golden case.", hint="People decide on it.")
            let_go(case)
            case.state, case.rank, case.closed_at = "closed", None, utc_now()
            audit.record(session, lead.tenant, lead.id, "case.golden_ended", case_id)
        return case

    def images(self, person: Person, case_id: str) -> tuple[ReviewCase, Sequence[CaseImage]]:
        """A case and its images, and nothing of what was decided. Raises NotFoundError, ForbiddenError."""
        with self.database.read() as session:
            repository = ReviewRepository(session, person.tenant)
            case = found(repository.case(case_id), case_id)
            if not may_see(person, case):
                raise ForbiddenError("This case is for others.", hint="Roles and queues are given by an administrator.")
            return case, repository.images(case_id)

    def show(self, person: Person, case_id: str) -> CaseView:
        """All of a case. While a second person is to decide, what others decided is kept from whoever may be that person.

        Raises NotFoundError, ForbiddenError.
        """
        with self.database.read() as session:
            repository = ReviewRepository(session, person.tenant)
            case = found(repository.case(case_id), case_id)
            if not may_see(person, case):
                raise ForbiddenError("This case is for others.", hint="Roles and queues are given by an administrator.")
            images = repository.images(case_id)
            earlier = [
                {"case": other.id, "outcome": other.outcome, "effect": other.effect, "closed_at": other.closed_at}
                for image in images[:20]
                for other in repository.cases_with(image.sha256)
                if other.id != case_id and other.state == "closed"
            ]
            seen = [made for made in repository.decisions(case_id) if _may_read(person, case, made)]
            appeal = repository.appeal_of_case(case_id)
            said = self.statements.read(appeal) if appeal else None
            return CaseView(case, images, seen, offers(repository, person, case), appeal, _once(earlier), said)

    def cases(
        self, person: Person, *, queue: str = "", states: Sequence[str] = WAITING, after: str = "", limit: int = 100
    ) -> Sequence[ReviewCase]:
        """Cases that a person may see, in the order of the queue."""
        must_have(person, *REVIEWERS, *LEADS, Role.AUDITOR)
        with self.database.read() as session:
            repository = ReviewRepository(session, person.tenant)
            queues = self._queues(repository, person, queue)
            senior = person.has(Role.SENIOR)
            tiers = ("reviewer", "senior") if senior or person.has(*LEADS, Role.AUDITOR) else ("reviewer",)
            return repository.page(queues=queues, tiers=tiers, gravest=senior, states=states, after=after, limit=limit)


def found(case: ReviewCase | None, case_id: str) -> ReviewCase:
    """Raises NotFoundError."""
    if case is None:
        raise NotFoundError(f"There is no case {case_id[:60]!r}.", hint="See `palisade reviews list`.")
    return case


def must_hold(person: Person, case: ReviewCase, token: int, now: datetime) -> None:
    """Raises ConflictError where somebody does not hold a case under this token, or not any more."""
    if not holds(person, case, token, now):
        raise ConflictError(
            "The lease on this case is over, or it is another's.", hint="Claim it again.", code="lease_over"
        )


def let_go(case: ReviewCase) -> None:
    case.holder = case.claimed_at = case.lease_until = None


def must_not_be_excluded(repository: ReviewRepository, person: Person, case: ReviewCase) -> None:
    """Raises ForbiddenError where another person has to decide than this one."""
    why = repository.excluded(case.id, person.id)
    if why is not None:
        words = {"decided": "decided on this case before", "appealed": "decided what is appealed against"}
        raise ForbiddenError(f"{person.name} {words[why]}.", hint="Another person has to decide.")


def exclusion(
    case: ReviewCase, reviewer: str, why: str, *, until: datetime | None = None, reason: str = ""
) -> CaseExclusion:
    return CaseExclusion(
        tenant_id=case.tenant_id,
        created_at=utc_now(),
        case_id=case.id,
        reviewer=reviewer,
        why=why,
        reason=reason,
        until=until,
    )


def offers(repository: ReviewRepository, person: Person, case: ReviewCase) -> list[Decision]:
    """Late decisions that a person may take up: their own, and others' where nobody has to decide unseen."""
    if case.rank is None:
        return []
    open_to_all = case.eyes == 1 and case.state == "open" and not HARMS[case.harm].two_eyes and case.kind == "scan"
    return [
        made
        for made in repository.decisions(case.id)
        if made.state == "late" and made.round == case.round and (made.reviewer == person.id or open_to_all)
    ]


def _may_read(person: Person, case: ReviewCase, made: Decision) -> bool:
    if made.reviewer == person.id or person.has(*LEADS, Role.AUDITOR):
        return True
    if made.outcome == "escalate" or made.round < case.round:
        return True
    return case.kind != "golden" and (case.state in ("decided", "closed") or case.disputed)


def _once(earlier: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({found["case"]: found for found in earlier}.values())
