"""`/v1/cases`: the reviewers' queue, for tools of one's own. The person is named in each request."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import AwareDatetime

from api.dependencies import ApplicationDep, CallerDep
from api.routes.scans import ERRORS
from api.schemas.reviews import (
    PERSON,
    QUEUE,
    Act,
    AdoptRequest,
    BacktestAnswer,
    BacktestRequest,
    CaseAnswer,
    CasesAnswer,
    ClaimAnswer,
    ClaimedCase,
    ClaimRequest,
    DecideRequest,
    DecisionAnswer,
    ExposureAnswer,
    FiguresAnswer,
    GoldenRequest,
    Held,
    ReassignRequest,
    ReopenRequest,
    RevealRequest,
    SkipRequest,
    State,
    UndoneAnswer,
    WholeCaseAnswer,
)
from moderation.keys.service import Caller
from moderation.reviews.records import WAITING, Choice
from moderation.roles import Person, Role

router = APIRouter(prefix="/v1/cases", tags=["reviews"], responses=ERRORS)


def review_caller(caller: CallerDep) -> Caller:
    """The caller, who must have the scope `reviews`."""
    caller.require("reviews")
    return caller


ReviewCaller = Annotated[Caller, Depends(review_caller)]
CaseId = Annotated[str, Path(pattern="^case_[0-9a-z]{1,33}$", description="The case's id.")]


def reader(
    caller: ReviewCaller,
    reviewer: Annotated[str, Query(pattern=PERSON, description="Who reads; the key's owner vouches for it.")],
    role: Annotated[list[Role] | None, Query(description="Their roles; `reviewer` when absent.")] = None,
    works: Annotated[list[str] | None, Query(description="Queues that they may work; all when absent.")] = None,
) -> Person:
    """Who reads, from the query."""
    roles = frozenset(role or [Role.REVIEWER])
    return Person(reviewer, caller.tenant, reviewer, roles, None if works is None else frozenset(works))


Reader = Annotated[Person, Depends(reader)]


@router.get("")
def list_cases(
    person: Reader,
    app: ApplicationDep,
    *,
    queue: Annotated[str, Query(pattern=QUEUE, description="Only of this queue.")] = "",
    state: Annotated[list[State] | None, Query(description="Of these states; those that wait when absent.")] = None,
    after: Annotated[str, Query(max_length=40, pattern="^[0-9a-z_]*$", description="Only behind this one.")] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> CasesAnswer:
    """Cases in the order in which they are given out, each with why it stands there."""
    states = state or WAITING
    found = app.reviews.cases(person, queue=queue, states=states, after=after, limit=limit)
    return CasesAnswer(cases=[CaseAnswer.of(case) for case in found])


def lead(
    caller: ReviewCaller,
    role: Annotated[list[Role] | None, Query(description="Roles of who reads; `lead` when absent.")] = None,
    works: Annotated[list[str] | None, Query(description="Queues that they may work; all when absent.")] = None,
) -> Person:
    """Who reads figures, from the query."""
    return reader(caller, "figures", role or [Role.LEAD], works)


@router.get("/figures")
def read_figures(
    who: Annotated[Person, Depends(lead)], app: ApplicationDep, since: AwareDatetime, until: AwareDatetime
) -> FiguresAnswer:
    """What waits now; and of a period throughput, overturn rate, agreement, and each detector's precision.

    Known child abuse is counted for the role `senior` only.
    """
    return FiguresAnswer.model_validate(app.review_figures.figures(who.tenant, since, until, reader=who).as_dict())


@router.post("/backtest")
def backtest(draft: BacktestRequest, caller: ReviewCaller, app: ApplicationDep) -> BacktestAnswer:
    """Judge the scans of a period under a draft policy: which verdicts would change. Nothing is changed."""
    result = app.backtests.run(caller.tenant, draft.policy, draft.since, draft.until)
    return BacktestAnswer.model_validate(result.as_dict())


@router.post("/claim")
def claim(what: ClaimRequest, caller: ReviewCaller, app: ApplicationDep) -> ClaimAnswer:
    """The next case for a person, kept for them for a while. Renew it, decide, skip it or give it back."""
    found = app.reviews.claim(what.reviewer.person(caller.tenant), what.queue)
    return ClaimAnswer(claim=ClaimedCase.of(found) if found else None)


@router.post("/golden", status_code=201)
def add_golden(what: GoldenRequest, caller: ReviewCaller, app: ApplicationDep) -> CaseAnswer:
    """Put a case with a known answer among the others, by a lead. It scores who decides, and changes nothing else."""
    lead = what.reviewer.person(caller.tenant)
    return CaseAnswer.of(app.reviews.add_golden(lead, what.scan, what.answer, what.reason))


@router.post("/stop")
def stop_now(what: Act, caller: ReviewCaller, app: ApplicationDep) -> ExposureAnswer:
    """Stop at once: every case that the person holds goes back, and a break begins."""
    person = what.reviewer.person(caller.tenant)
    app.reviewer_safety.stop_now(person)
    return ExposureAnswer.of(app.reviewer_safety.exposure(person))


@router.get("/{case_id}")
def read_case(case_id: CaseId, person: Reader, app: ApplicationDep) -> WholeCaseAnswer:
    """A case, as far as this person may know, and how its images may be shown to them."""
    view = app.reviews.show(person, case_id)
    return WholeCaseAnswer.of(view, app.reviewer_safety.display(person, view.case))


@router.post("/{case_id}/claim")
def take_case(case_id: CaseId, what: Act, caller: ReviewCaller, app: ApplicationDep) -> ClaimedCase:
    """A certain case, kept for the person for a while."""
    return ClaimedCase.of(app.reviews.take(what.reviewer.person(caller.tenant), case_id))


@router.post("/{case_id}/renew")
def renew(case_id: CaseId, what: Held, caller: ReviewCaller, app: ApplicationDep) -> CaseAnswer:
    """Keep a case for another lease."""
    return CaseAnswer.of(app.reviews.renew(what.reviewer.person(caller.tenant), case_id, what.token))


@router.post("/{case_id}/release")
def release(case_id: CaseId, what: Held, caller: ReviewCaller, app: ApplicationDep) -> CaseAnswer:
    """Give a case back."""
    return CaseAnswer.of(app.reviews.release(what.reviewer.person(caller.tenant), case_id, what.token))


@router.post("/{case_id}/skip")
def skip(case_id: CaseId, what: SkipRequest, caller: ReviewCaller, app: ApplicationDep) -> CaseAnswer:
    """Leave a case to others; this person is not given it again for a while."""
    return CaseAnswer.of(app.reviews.skip(what.reviewer.person(caller.tenant), case_id, what.token, what.reason))


@router.post("/{case_id}/decide")
def decide(case_id: CaseId, what: DecideRequest, caller: ReviewCaller, app: ApplicationDep) -> DecisionAnswer:
    """Decide on a case that the person holds. Sent twice, it counts once.

    Once the lease is over it is refused with `decision_late`, kept, and offered with the case when it is claimed again.
    """
    choice = Choice(what.outcome, what.clause, what.reason)
    return DecisionAnswer.of(app.decisions.decide(what.reviewer.person(caller.tenant), case_id, what.token, choice))


@router.post("/{case_id}/adopt")
def adopt(case_id: CaseId, what: AdoptRequest, caller: ReviewCaller, app: ApplicationDep) -> DecisionAnswer:
    """Take up a late decision that was offered with the case."""
    person = what.reviewer.person(caller.tenant)
    return DecisionAnswer.of(app.decisions.adopt(person, case_id, what.token, what.decision))


@router.post("/{case_id}/undo")
def undo(case_id: CaseId, what: Act, caller: ReviewCaller, app: ApplicationDep) -> UndoneAnswer:
    """Take the person's latest decision back, within a moment; the case is theirs again."""
    case = app.decisions.undo(what.reviewer.person(caller.tenant), case_id)
    return UndoneAnswer(case=CaseAnswer.of(case), token=case.token)


@router.post("/{case_id}/escalate")
def escalate(case_id: CaseId, what: SkipRequest, caller: ReviewCaller, app: ApplicationDep) -> DecisionAnswer:
    """Leave a case to the seniors."""
    choice = Choice("escalate", reason=what.reason)
    return DecisionAnswer.of(app.decisions.decide(what.reviewer.person(caller.tenant), case_id, what.token, choice))


@router.post("/{case_id}/reassign")
def reassign(case_id: CaseId, what: ReassignRequest, caller: ReviewCaller, app: ApplicationDep) -> CaseAnswer:
    """Give a case to one person only, by a lead or senior, whoever holds it."""
    lead, to = what.reviewer.person(caller.tenant), what.to.person(caller.tenant)
    return CaseAnswer.of(app.reviews.reassign(lead, case_id, to, what.reason))


@router.post("/{case_id}/reopen")
def reopen(case_id: CaseId, what: ReopenRequest, caller: ReviewCaller, app: ApplicationDep) -> CaseAnswer:
    """Open a closed case again, by a lead or senior; the host is told."""
    return CaseAnswer.of(app.reviews.reopen(what.reviewer.person(caller.tenant), case_id, what.reason))


@router.post("/{case_id}/reveal")
def reveal(case_id: CaseId, what: RevealRequest, caller: ReviewCaller, app: ApplicationDep) -> ExposureAnswer:
    """Note that the person uncovers an image, before it is shown to them. Refused (429) when a break is due."""
    person = what.reviewer.person(caller.tenant)
    return ExposureAnswer.of(app.reviewer_safety.reveal(person, case_id, what.sha256, what.how))
