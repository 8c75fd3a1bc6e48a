"""What takedown notices look like on the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.schemas.banks import Strict
from moderation.tables import AuditRecord, CounterNotice, Event, Notice
from moderation.takedowns.records import FLAGS, MISSING, RELATIONS, STATE_NAMES, Copy, Filing, Report
from moderation.takedowns.service import NoticeView

State = Literal[STATE_NAMES]  # type: ignore[valid-type]
Relation = Literal[RELATIONS]  # type: ignore[valid-type]

SHA256 = "^[0-9a-f]{64}$"


class NoticeAnswer(BaseModel):
    """A notice. reasons: what is missing; flags: what a person should look at before deciding."""

    id: str = Field(examples=["notice_01kax1pz7rc5w1m3s0qv9yd2ht"])
    state: State
    reasons: list[str] = Field(description=f"Of {', '.join(MISSING)}.")
    flags: list[str] = Field(description=f"Of {', '.join(FLAGS)}.")
    duplicate_of: str | None
    created_at: datetime
    valid_at: datetime | None
    due_at: datetime | None
    decided_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, notice: Notice) -> "NoticeAnswer":
        return cls.model_validate(notice, from_attributes=True)


class FiledAnswer(BaseModel):
    """A notice that was filed. token: of the private link `/notice/<token>`, by which whoever filed it follows it."""

    notice: NoticeAnswer
    token: str


class NoticesAnswer(BaseModel):
    notices: list[NoticeAnswer]


class FilingAnswer(BaseModel):
    """What was filed; for those who decide."""

    name: str
    contact: str
    relation: Relation
    represented: str
    statement: str
    signature: str
    good_faith: bool
    urls: list[str]

    @classmethod
    def of(cls, filing: Filing) -> "FilingAnswer":
        return cls.model_validate(filing.as_dict())


class ImageOfNotice(BaseModel):
    source: Literal["upload", "url", "hash"]
    sha256: str
    hashable: bool


class CopyAnswer(BaseModel):
    """A hosted copy: `identical`, `near` or `similar`, and whether the host removed it."""

    sha256: str
    stage: Literal["identical", "near", "similar"]
    distance: int | None
    similarity: float | None
    state: Literal["found", "removed", "kept"]
    confirmed_at: datetime | None


class StepAnswer(BaseModel):
    at: datetime
    action: str
    actor: str
    note: Mapping[str, Any]

    @classmethod
    def of(cls, record: AuditRecord) -> "StepAnswer":
        return cls(at=record.created_at, action=record.action, actor=record.actor, note=record.note)


class CounterAnswer(BaseModel):
    id: str
    state: Literal["open", "upheld", "dismissed"]
    created_at: datetime

    @classmethod
    def of(cls, counter: CounterNotice) -> "CounterAnswer":
        return cls.model_validate(counter, from_attributes=True)


class WholeNoticeAnswer(BaseModel):
    """A notice with everything about it. filing: null where it cannot be decrypted."""

    notice: NoticeAnswer
    filing: FilingAnswer | None
    images: list[ImageOfNotice]
    copies: list[CopyAnswer]
    counter_notices: list[CounterAnswer]
    steps: list[StepAnswer]

    @classmethod
    def of(cls, view: NoticeView) -> "WholeNoticeAnswer":
        return cls(
            notice=NoticeAnswer.of(view.notice),
            filing=FilingAnswer.of(view.filing) if view.filing else None,
            images=[
                ImageOfNotice.model_validate({"source": i.source, "sha256": i.sha256, "hashable": bool(i.pdq)})
                for i in view.images
            ],
            copies=[
                CopyAnswer(
                    sha256=image.sha256,
                    stage=copy.stage,
                    distance=copy.distance,
                    similarity=copy.similarity,
                    state=copy.state,
                    confirmed_at=copy.confirmed_at,
                )
                for copy, image in view.copies
            ],
            counter_notices=[CounterAnswer.of(counter) for counter in view.counters],
            steps=[StepAnswer.of(record) for record in view.steps],
        )


class Decision(Strict):
    reason: str = Field(min_length=1, max_length=2_000, description="Why; who filed the notice reads it.")


class Rejection(Decision):
    abusive: bool = Field(False, description="The notice misuses the procedure.")


class FoundCopy(BaseModel):
    sha256: str
    stage: Literal["identical", "near", "similar"]
    distance: int | None
    similarity: float | None

    @classmethod
    def of(cls, copy: Copy) -> "FoundCopy":
        return cls.model_validate(copy, from_attributes=True)


class AcceptedAnswer(BaseModel):
    """What the sweep found; the host is told the same by webhook."""

    notice: NoticeAnswer
    copies: list[FoundCopy]


class Confirmation(Strict):
    """What became of the copies. kept: SHA-256 of `similar` copies that are another picture → why."""

    removed: list[str] = Field(default_factory=list, max_length=10_000, description="SHA-256 of copies that are gone.")
    kept: dict[str, str] = Field(default_factory=dict, max_length=1_000)


class CounterFiling(Strict):
    """What somebody says against a takedown."""

    name: str = Field(max_length=200)
    contact: str = Field(max_length=320, description="An e-mail address.")
    statement: str = Field(max_length=5_000)
    signature: str = Field(max_length=200)
    good_faith: bool


class CounterDecision(Decision):
    upheld: bool = Field(description="Whether the counter-notice holds: then the takedown is taken back.")


class Sha256(Strict):
    sha256: str = Field(pattern=SHA256, description="Of an image that was scanned.")


class ReportAnswer(BaseModel):
    """How the time was kept. hours: from validity to the confirmed removal."""

    notices: Mapping[str, int]
    removed: int
    removed_in_time: int
    removed_in_time_share: float | None
    hours_median: float | None
    hours_p95: float | None
    hours_longest: float | None
    limit_hours: int
    overdue: int
    next_due: datetime | None

    @classmethod
    def of(cls, report: Report) -> "ReportAnswer":
        return cls.model_validate(report.as_dict())


class WebhookEvent(BaseModel):
    """Something that the host is told, as the webhook says it, and how its delivery went."""

    id: str
    type: str
    timestamp: datetime
    data: Mapping[str, Any]
    delivered_at: datetime | None
    attempts: int
    error: str

    @classmethod
    def of(cls, event: Event) -> "WebhookEvent":
        return cls(
            id=event.id,
            type=event.kind,
            timestamp=event.created_at,
            data=event.payload,
            delivered_at=event.delivered_at,
            attempts=event.attempts,
            error=event.error,
        )


class WebhookEvents(BaseModel):
    events: list[WebhookEvent]
