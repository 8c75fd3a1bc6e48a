"""Decisions: counted once, undone within a moment, told to the host afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from moderation import audit, events
from moderation.database import Database
from moderation.errors import ConflictError, NotFoundError
from moderation.policy.verdict import RANK
from moderation.reviews.harms import HARMS
from moderation.reviews.priority import rank_of
from moderation.reviews.records import (
    REVIEWERS,
    Choice,
    LateDecisionError,
    ReviewRules,
    effect_of,
    holds,
    may_work,
    must_have,
    must_work,
)
from moderation.reviews.repository import ReviewRepository, tenants_to_release
from moderation.reviews.service import exclusion, found, let_go, must_not_be_excluded
from moderation.roles import Person
from moderation.tables import Appeal, CaseImage, Decision, ReviewCase, new_id, utc_now

PAGE = 200
"""Decisions that are told to the host in one transaction."""

RESTORED = ("state", "tier", "eyes", "disputed")
"""What a decision may change of a case, and undoing it brings back."""


@dataclass(frozen=True)
class _Attempt:
    """A decision as it comes in, under the token of a claim."""

    person: Person
    token: int
    choice: Choice
    now: datetime

    @property
    def words(self) -> tuple[str, str, str]:
        return self.choice.outcome, self.choice.clause.strip(), self.choice.reason.strip()


class DecisionService:
    """Decides cases. The effect on a host's images begins when `release` tells of it, after the moment for undoing."""

    def __init__(self, database: Database, rules: ReviewRules) -> None:
        self.database = database
        self.rules = rules

    def decide(
        self, person: Person, case_id: str, token: int, choice: Choice, *, now: datetime | None = None
    ) -> Decision:
        """Decide on a case that the person holds under this token. Sent twice, it counts once.

        Raises LateDecisionError when the lease is over (the decision is kept, and offered again), ForbiddenError where
        another person has to decide, ConflictError where this one decided otherwise.
        """
        now = now or utc_now()
        with self.database.write() as session:
            repository = ReviewRepository(session, person.tenant)
            case = found(repository.case(case_id, lock=True), case_id)
            made = self._decide(repository, case, _Attempt(person, token, choice, now))
        return self._in_time(case, made)

    def adopt(
        self, person: Person, case_id: str, token: int, decision_id: str, *, now: datetime | None = None
    ) -> Decision:
        """Take up a late decision that was offered with the case, as one's own. Raises as `decide`."""
        now = now or utc_now()
        with self.database.write() as session:
            repository = ReviewRepository(session, person.tenant)
            case = found(repository.case(case_id, lock=True), case_id)
            late = repository.decision(decision_id)
            if late is None or late.case_id != case_id or late.state != "late":
                raise NotFoundError(
                    f"There is no late decision {decision_id[:60]!r} on this case.", hint="See its offers."
                )
            made = self._decide(
                repository, case, _Attempt(person, token, Choice(late.outcome, late.clause, late.reason), now)
            )
            if made.state == "counted":
                late.state = "adopted"
        return self._in_time(case, made)

    @staticmethod
    def _in_time(case: ReviewCase, made: Decision) -> Decision:
        if made.state == "late":
            whose = "decided already" if case.rank is None else "yours no more"
            raise LateDecisionError(
                f"The lease was over: the case is {whose}. The decision is kept as {made.id}.",
                made,
                hint="Claim the case again, and take the decision up."
                if case.rank is not None
                else "Nothing is to do.",
            )
        return made

    def _decide(self, repository: ReviewRepository, case: ReviewCase, attempt: _Attempt) -> Decision:
        person, now = attempt.person, attempt.now
        must_have(person, *REVIEWERS)
        before = repository.decisions(case.id)
        same = _sent_before(before, attempt)
        if same is not None:
            return same
        held = holds(person, case, attempt.token, now)
        if not held:
            must_work(person, case)
        _must_make_sense(case, attempt)
        made = _row(case, attempt, repository.images(case.id))
        if case.rank is None or not held or not may_work(person, case):
            if held:  # a graver copy took it from the person who was given it
                let_go(case)
            made.state = "late"
            repository.add(made)
            audit.record(repository.session, case.tenant_id, person.id, "case.decision_late", case.id, decision=made.id)
            return made
        must_not_be_excluded(repository, person, case)
        firsts = [d for d in before if d.state == "counted" and d.round == case.round and d.outcome != "escalate"]
        repository.add(made)
        self._count(repository, case, made, firsts, now)
        note = {"decision": made.id, "outcome": made.outcome, "clause": made.clause, "state": case.state}
        audit.record(repository.session, case.tenant_id, person.id, "case.decided", case.id, **note)
        return made

    def _count(
        self,
        repository: ReviewRepository,
        case: ReviewCase,
        made: Decision,
        firsts: Sequence[Decision],
        now: datetime,
    ) -> None:
        """What a decision does to its case."""
        let_go(case)
        case.assigned_to = None
        if case.kind == "golden":
            repository.exclude(exclusion(case, made.reviewer, "decided"))
            made.right = None if made.outcome == "escalate" else made.outcome == case.answer
            return
        if made.outcome == "escalate":
            case.tier = "senior"
            return
        repository.exclude(exclusion(case, made.reviewer, "decided"))
        if case.state == "second" and made.effect != firsts[-1].effect:
            # Two people who looked for themselves disagree: a senior's word ends it.
            case.state, case.tier, case.eyes, case.disputed = "open", "senior", 1, True
        elif case.state == "open" and not case.disputed and _eyes(case, made.effect) > 1:
            case.state, case.eyes = "second", 2
        else:
            case.state, case.rank = "decided", None
            case.outcome, case.effect = made.outcome, made.effect
            case.decided_at, case.release_at = now, now + self.rules.undo

    def undo(self, person: Person, case_id: str, *, now: datetime | None = None) -> ReviewCase:
        """Take one's latest decision on a case back, while the host is not told; the case is the person's again.

        Raises ConflictError once the moment is over, or when somebody else went on.
        """
        must_have(person, *REVIEWERS)
        now = now or utc_now()
        with self.database.write() as session:
            repository = ReviewRepository(session, person.tenant)
            repository.lock_tenant()
            case = found(repository.case(case_id, lock=True), case_id)
            made = next((d for d in reversed(repository.decisions(case_id)) if d.state == "counted"), None)
            if made is None or made.reviewer != person.id:
                raise ConflictError("The latest decision on this case is not yours.", hint="Ask a senior to reopen it.")
            self._may_undo(case, made, now)
            made.state = "undone"
            for name in RESTORED:
                setattr(case, name, made.before[name])
            case.outcome = case.effect = case.decided_at = case.release_at = None
            if case.rank is None and case.kind == "scan":
                repository.number(*repository.images(case_id))
            case.rank = rank_of(case)
            decided = repository.exclusion(case_id, person.id, "decided")
            if decided is not None:
                session.delete(decided)
            case.holder, case.claimed_at, case.lease_until = person.id, now, now + self.rules.lease
            case.token += 1
            audit.record(session, person.tenant, person.id, "case.undone", case_id, decision=made.id)
        return case

    def _may_undo(self, case: ReviewCase, made: Decision, now: datetime) -> None:
        if case.state == "closed" or now - made.created_at > self.rules.undo:
            raise ConflictError(
                f"A decision can be undone for {self.rules.undo.total_seconds():.0f} seconds.",
                hint="A senior or lead can open the case again.",
                code="undo_over",
            )
        if case.holder is not None and case.lease_until is not None and case.lease_until > now:
            raise ConflictError("Another person looks at the case now.", hint="Their decision will say.")

    def release(self, *, now: datetime | None = None) -> int:
        """Tell hosts of decisions that cannot be undone any more, of every tenant; gives how many."""
        now = now or utc_now()
        with self.database.read() as session:
            tenants = tenants_to_release(session, now)
        return sum(self._release(tenant, now) for tenant in tenants)

    def _release(self, tenant: str, now: datetime) -> int:
        with self.database.write() as session:
            repository = ReviewRepository(session, tenant)
            cases = repository.to_release(now, PAGE)
            for case in cases:
                last = [d for d in repository.decisions(case.id) if d.state == "counted"][-1]
                case.state, case.closed_at = "closed", now
                appeal = repository.appeal_of_case(case.id) if case.kind == "appeal" else None
                if appeal is not None:
                    end_appeal(repository, case, appeal, last, now)
                else:
                    events.add(session, tenant, "case.decided", told(repository, case, last), now=now)
        return len(cases)


def told(repository: ReviewRepository, case: ReviewCase, last: Decision) -> dict[str, Any]:
    """What the host is told of a decision: what to do with each image, and the reason to give. Not who decided."""
    images = repository.images(case.id)
    names = repository.external_ids([image.image_id for image in images if image.image_id])
    return {
        "case": case.id,
        "outcome": case.outcome,
        "action": case.effect,
        "clause": last.clause,
        "reason": last.reason,
        "images": [
            {
                "sha256": image.sha256,
                "scan": image.scan_id,
                "external_ids": names.get(image.image_id or "", []),
                "was": image.action,
            }
            for image in images
        ],
    }


def end_appeal(repository: ReviewRepository, case: ReviewCase, appeal: Appeal, last: Decision, now: datetime) -> None:
    """The uploader was right, in part or not: an appeal never makes it worse."""
    most = "block" if appeal.in_force == "hold" else appeal.in_force
    effect = min(case.effect or most, most, key=lambda action: RANK[action])  # type: ignore[index]
    case.effect = effect
    appeal.state, appeal.outcome, appeal.effect = "decided", case.outcome, effect
    appeal.reason, appeal.decided_at = last.reason or last.clause, now
    changed = RANK[effect] < RANK[appeal.in_force]  # type: ignore[index]
    said = told(repository, case, last) | {"appeal": appeal.id, "action": effect, "locale": appeal.locale}
    note = {"outcome": case.outcome, "effect": effect}
    audit.record(repository.session, case.tenant_id, "palisade", "appeal.decided", appeal.id, **note)
    kind = "verdict.overturned" if changed else "appeal.decided"
    events.add(
        repository.session, case.tenant_id, kind, said | {"undone": appeal.in_force if changed else None}, now=now
    )


def _eyes(case: ReviewCase, effect: str) -> int:
    """How many people have to reach an effect."""
    return 2 if effect in HARMS[case.harm].two_eyes else case.eyes


def _must_make_sense(case: ReviewCase, attempt: _Attempt) -> None:
    """Raises ConflictError where a decision cannot even be late."""
    if not 1 <= attempt.token <= case.token:
        raise ConflictError(f"The case was never claimed under the token {attempt.token}.", hint="Claim it first.")
    if attempt.choice.outcome == "escalate" and case.tier == "senior":
        raise ConflictError("The case is with the seniors already.", hint="Decide, skip it or give it back.")


def _sent_before(before: Sequence[Decision], attempt: _Attempt) -> Decision | None:
    """The same decision, where it was sent before. Raises ConflictError where another was, under the same claim."""
    mine = [d for d in before if d.reviewer == attempt.person.id and d.token == attempt.token]
    for made in mine:
        if made.state != "undone" and (made.outcome, made.clause, made.reason) == attempt.words:
            return made
    if any(made.state == "counted" for made in mine):
        raise ConflictError("You decided otherwise under this claim.", hint="Undo that first.")
    return None


def _row(case: ReviewCase, attempt: _Attempt, images: Sequence[CaseImage]) -> Decision:
    outcome, clause, reason = attempt.words
    return Decision(
        id=new_id("dec"),
        tenant_id=case.tenant_id,
        created_at=attempt.now,
        case_id=case.id,
        reviewer=attempt.person.id,
        outcome=outcome,
        effect=effect_of(outcome, [image.action for image in images]),
        clause=clause,
        reason=reason,
        state="counted",
        token=attempt.token,
        round=case.round,
        queue=case.queue,
        seconds=round((attempt.now - case.claimed_at).total_seconds(), 2) if case.claimed_at else None,
        before={name: getattr(case, name) for name in RESTORED},
        consent=bool(images) and all(image.consent for image in images),
    )
