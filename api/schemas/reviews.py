"""What cases, decisions and appeals look like on the wire."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

from api.schemas.banks import Strict
from moderation.reviews import appeals as pleas
from moderation.reviews.harms import HARMS
from moderation.reviews.priority import explained
from moderation.reviews.records import ANSWERS, MOST_CLAUSE, MOST_TEXT, OUTCOME_NAMES, STATE_NAMES, CaseView, Claim
from moderation.reviews.safety import HOW, Display, Exposure
from moderation.roles import Person, Role
from moderation.tables import Appeal, CaseImage, Decision, ReviewCase, utc_now

State = Literal[STATE_NAMES]  # type: ignore[valid-type]
Outcome = Literal[OUTCOME_NAMES]  # type: ignore[valid-type]
Answer = Literal[ANSWERS]  # type: ignore[valid-type]
How = Literal[HOW]  # type: ignore[valid-type]
AppealState = Literal[pleas.STATES]  # type: ignore[valid-type]

PERSON = r"^[0-9A-Za-z][0-9A-Za-z@._+:-]{0,199}$"
QUEUE = r"^[0-9A-Za-z_-]{0,100}$"
SHA256 = "^[0-9a-f]{64}$"
LARGEST_TOKEN = (1 << 31) - 1


class Reviewer(Strict):
    """Who acts. The owner of the key vouches for it: that it is this person, and that they have these roles."""

    id: str = Field(pattern=PERSON, examples=["anna"])
    name: str = Field("", max_length=200)
    roles: list[Role] = Field(default_factory=lambda: [Role.REVIEWER], min_length=1, max_length=len(Role))
    queues: list[str] | None = Field(None, max_length=100, description="Those they may work; all when absent.")

    def person(self, tenant: str) -> Person:
        queues = None if self.queues is None else frozenset(self.queues)
        return Person(self.id, tenant, self.name or self.id, frozenset(self.roles), queues)


class Act(Strict):
    reviewer: Reviewer


class ClaimRequest(Act):
    queue: str = Field("", pattern=QUEUE, description="Of this queue only; of all that the person works when absent.")


class Held(Act):
    """An act on a case that is held. token: of the claim."""

    token: int = Field(ge=1, le=LARGEST_TOKEN)


class SkipRequest(Held):
    reason: str = Field(min_length=1, max_length=MOST_TEXT)


class DecideRequest(Held):
    """A decision. To uphold, block or restrict takes a clause of the policy; to overturn or escalate a reason."""

    outcome: Outcome
    clause: str = Field("", max_length=MOST_CLAUSE)
    reason: str = Field("", max_length=MOST_TEXT)


class AdoptRequest(Held):
    decision: str = Field(max_length=40, description="A late decision that was offered with the case.")


class ReassignRequest(Act):
    to: Reviewer
    reason: str = Field(min_length=1, max_length=MOST_TEXT)


class ReopenRequest(Act):
    reason: str = Field(min_length=1, max_length=MOST_TEXT)


class RevealRequest(Act):
    sha256: str = Field(pattern=SHA256)
    how: How


class GoldenRequest(Act):
    """A scan whose right answer is known."""

    scan: str = Field(max_length=40)
    answer: Answer
    reason: str = Field(min_length=1, max_length=MOST_TEXT)


class BacktestRequest(Strict):
    """policy: the YAML of a draft. The period is of scans."""

    policy: str = Field(min_length=1, max_length=200_000)
    since: AwareDatetime
    until: AwareDatetime


class FactorAnswer(BaseModel):
    """Why a case stands where it stands. points: hours that it is moved ahead."""

    factor: str
    points: float
    words: str


class CaseAnswer(BaseModel):
    """A case. priority: its factors add up to its place, the most points first."""

    id: str = Field(examples=["case_01kax1pz7rc5w1m3s0qv9yd2ht"])
    kind: Literal["scan", "appeal"]
    queue: str
    harm: str = Field(description=f"One of {', '.join(HARMS)}.")
    severity: int
    tier: Literal["reviewer", "senior"]
    state: State
    created_at: datetime
    due_at: datetime
    labels: list[str]
    reach: int
    uncertainty: float
    disputed: bool
    holder: str | None
    lease_until: datetime | None
    assigned_to: str | None
    outcome: Outcome | None
    effect: str | None
    decided_at: datetime | None
    priority: list[FactorAnswer]

    @classmethod
    def of(cls, case: ReviewCase) -> "CaseAnswer":
        """Golden cases look like any other."""
        values = {name: getattr(case, name) for name in cls.model_fields if name not in ("kind", "priority")}
        factors = [FactorAnswer.model_validate(factor, from_attributes=True) for factor in explained(case, utc_now())]
        return cls(kind="appeal" if case.kind == "appeal" else "scan", priority=factors, **values)


class CasesAnswer(BaseModel):
    cases: list[CaseAnswer]


class CaseImageAnswer(BaseModel):
    """An image of a case. scan is absent when it was deleted. distance: PDQ bits from the case's first image."""

    sha256: str
    scan: str | None
    stage: str = Field(description="`first`, `same` or `near`.")
    distance: int | None
    action: str
    times: int

    @classmethod
    def of(cls, image: CaseImage) -> "CaseImageAnswer":
        return cls(
            sha256=image.sha256,
            scan=image.scan_id,
            stage=image.stage,
            distance=image.distance,
            action=image.action,
            times=image.times,
        )


class DecisionAnswer(BaseModel):
    """A decision. state: `late` ones were refused, and are kept to be taken up."""

    id: str
    case_id: str
    created_at: datetime
    reviewer: str
    outcome: Outcome
    effect: str
    clause: str
    reason: str
    state: Literal["counted", "late", "adopted", "undone"]

    @classmethod
    def of(cls, decision: Decision) -> "DecisionAnswer":
        return cls.model_validate(decision, from_attributes=True)


class ClaimedCase(BaseModel):
    """A case that is the person's until `case.lease_until`. token: goes with every act on it."""

    case: CaseAnswer
    token: int
    images: list[CaseImageAnswer]
    offers: list[DecisionAnswer]

    @classmethod
    def of(cls, claim: Claim) -> "ClaimedCase":
        return cls(
            case=CaseAnswer.of(claim.case),
            token=claim.case.token,
            images=[CaseImageAnswer.of(image) for image in claim.images],
            offers=[DecisionAnswer.of(made) for made in claim.offers],
        )


class ClaimAnswer(BaseModel):
    """claim: absent where nothing waits for this person."""

    claim: ClaimedCase | None


class UndoneAnswer(BaseModel):
    """The case is the person's again, under this token."""

    case: CaseAnswer
    token: int


class DisplayAnswer(BaseModel):
    """How the images may be shown to this person. Where `shown` is false: never; `steps` say what to do instead."""

    shown: bool
    blur: int
    grey: bool
    small: bool
    hover: bool
    whole: bool
    autoplay: bool
    steps: list[str]

    @classmethod
    def of(cls, display: Display) -> "DisplayAnswer":
        return cls.model_validate(display, from_attributes=True)


class AppealAnswer(BaseModel):
    """An appeal. in_force: what it is against; effect: what came of it."""

    id: str
    created_at: datetime
    scan_id: str | None
    case_id: str
    of_case: str | None
    statement: str | None = Field(description="Empty once it was deleted; null where its key is not held.")
    locale: str
    in_force: str
    state: AppealState
    due_at: datetime
    outcome: Outcome | None
    effect: str | None
    reason: str
    decided_at: datetime | None

    @classmethod
    def of(cls, appeal: Appeal, statement: str | None) -> "AppealAnswer":
        names = (name for name in cls.model_fields if name != "statement")
        return cls.model_validate({"statement": statement, **{name: getattr(appeal, name) for name in names}})


class AppealsAnswer(BaseModel):
    appeals: list[AppealAnswer]


class AppealRequest(Strict):
    """What the uploader says, and against which verdict: a scan's id, or the image's SHA-256 (then its newest scan)."""

    statement: str = Field(min_length=1, max_length=pleas.MOST_STATEMENT)
    scan: str = Field("", max_length=40, pattern="^[0-9a-z_]*$")
    sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    locale: str = Field("", max_length=35, pattern="^[0-9A-Za-z-]*$")

    def plea(self) -> pleas.Plea:
        return pleas.Plea(self.statement, self.scan, self.sha256, self.locale)


class EarlierCase(BaseModel):
    """Another case about the same file."""

    case: str
    outcome: Outcome | None
    effect: str | None
    closed_at: datetime | None


class WholeCaseAnswer(BaseModel):
    """A case with its images, what was decided as far as this person may know, and how it may be shown to them."""

    case: CaseAnswer
    images: list[CaseImageAnswer]
    decisions: list[DecisionAnswer]
    offers: list[DecisionAnswer]
    appeal: AppealAnswer | None
    earlier: list[EarlierCase]
    display: DisplayAnswer

    @classmethod
    def of(cls, view: CaseView, display: Display) -> "WholeCaseAnswer":
        return cls(
            case=CaseAnswer.of(view.case),
            images=[CaseImageAnswer.of(image) for image in view.images],
            decisions=[DecisionAnswer.of(made) for made in view.decisions],
            offers=[DecisionAnswer.of(made) for made in view.offers],
            appeal=AppealAnswer.of(view.appeal, view.statement) if view.appeal else None,
            earlier=[EarlierCase.model_validate(found) for found in view.earlier],
            display=DisplayAnswer.of(display),
        )


class ExposureAnswer(BaseModel):
    """How many images the person uncovered within the hour, and the break they take."""

    uncovered: int
    limit: int
    rest_until: datetime | None
    rest_why: str

    @classmethod
    def of(cls, exposure: Exposure) -> "ExposureAnswer":
        return cls.model_validate(exposure, from_attributes=True)


class FiguresAnswer(BaseModel):
    """What waits now, and what was done in the period."""

    queues: Sequence[Mapping[str, Any]]
    decided: int
    overturned: int
    overturn_rate: float | None
    appeals_decided: int
    appeals_overturned: int
    per_day: Mapping[str, int]
    reviewers: Sequence[Mapping[str, Any]]
    agreement_by_queue: Mapping[str, Mapping[str, float | None]]
    agreement_by_reviewer: Mapping[str, Mapping[str, float | None]]
    precision: Sequence[Mapping[str, Any]]


class BacktestAnswer(BaseModel):
    """Which verdicts would be others. counts: by action before and after; samples: up to twelve of each change."""

    policy: str
    scans: int
    changed: int
    stricter: int
    milder: int
    unmeasured: int = Field(description="Scans on which a rule of the draft could not be decided.")
    truncated: bool
    rules: Mapping[str, int]
    counts: Sequence[Mapping[str, Any]]
    samples: Sequence[Mapping[str, Any]]
