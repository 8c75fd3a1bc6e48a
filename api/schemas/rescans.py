"""What re-scans look like on the wire."""

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

from api.schemas.banks import Strict
from moderation.policy import ACTIONS
from moderation.rescans.records import (
    PATH_NAMES,
    STATE_NAMES,
    WITH,
    WITH_NAMES,
    DryRun,
    PlanSpec,
    PlanView,
    failure_as_dict,
)
from moderation.tables import RescanFailure

Using = Literal[WITH_NAMES]  # type: ignore[valid-type]
State = Literal[STATE_NAMES]  # type: ignore[valid-type]
PathName = Literal[PATH_NAMES]  # type: ignore[valid-type]
Action = Literal["", *ACTIONS]  # type: ignore[valid-type]


class NewRescan(Strict):
    """What is judged again, and with what."""

    using: Using = Field(description="; ".join(f"{name}: {what}" for name, what in WITH.items()) + ".")
    detectors: list[str] = Field([], max_length=20, description="Those that measure anew, for `head` and `model`.")
    since: AwareDatetime | None = Field(None, description="Only what was scanned since then.")
    surface: str = Field("", max_length=100, description="Only images of this surface.")
    action: Action = Field("", description="Only images whose verdict is this.")
    sample: float = Field(1.0, gt=0, le=1, description="Share of the images, drawn by chance.")
    policy: str = Field("", max_length=64, description="Judge by this policy; '' for the one that each was judged by.")
    since_entry: int = Field(0, ge=0, le=1 << 62, description="Number of the last bank entry that is not new.")
    source: str = Field(
        "",
        max_length=500,
        pattern="^(kept|https?://.*)?$",
        description="Where images are: `kept`, or a URL with `{external_id}` or `{sha256}`; '' for the operator's setting.",
    )
    rate: float = Field(0.0, ge=0, le=1e6, description="Most images a second; 0 for no limit.")
    hours: str = Field(
        "", max_length=5, pattern="^([0-9]{1,2}-[0-9]{1,2})?$", description="Hours of the day, UTC: `22-6`."
    )
    max_changed: int = Field(
        0, ge=0, le=1 << 31, description="Stop before more verdicts than this change; 0: no limit."
    )
    cron: str = Field("", max_length=100, description="Five fields, UTC, to do it again and again.")

    def spec(self) -> PlanSpec:
        """Raises InvalidRequestError."""
        return PlanSpec(**{**self.model_dump(), "detectors": tuple(self.detectors)})


class NewCeiling(Strict):
    """How a stopped re-scan goes on."""

    max_changed: int | None = Field(None, ge=0, le=1 << 31, description="A new ceiling; absent: as it was.")


class ProgressAnswer(BaseModel):
    """How far a re-scan is. per_s: postings a second of one worker; seconds_left: with the workers of now."""

    total: int
    done: int
    changed: int
    gone: int = Field(description="Deleted meanwhile.")
    waiting: int = Field(description="Failed, and tried again later.")
    failed: int = Field(description="Given up, and listed.")
    left: int
    workers: int
    per_s: float
    seconds_left: float | None


class RescanAnswer(BaseModel):
    """A re-scan. path: along which it goes; why: why that one; basis: the models and policies that it was made for, by name."""

    id: str = Field(examples=["rescan_01kax1pz7rc5w1m3s0qv9yd2ht"])
    state: State
    spec: dict[str, Any]
    path: PathName
    why: str
    note: str
    basis: dict[str, dict[str, str]]
    schedule_id: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    next_at: datetime | None
    progress: ProgressAnswer

    @classmethod
    def of(cls, view: PlanView) -> "RescanAnswer":
        return cls.model_validate(view.as_dict())


class RescansAnswer(BaseModel):
    rescans: list[RescanAnswer]


class DryRunAnswer(BaseModel):
    """What a re-scan would do, by a sample that was judged. seconds: of one worker, for all images."""

    path: PathName
    why: str
    images: int
    seconds: float
    sampled: int
    changed: int
    failed: int
    expected_changes: int
    changes: list[dict[str, Any]]

    @classmethod
    def of(cls, run: DryRun) -> "DryRunAnswer":
        return cls.model_validate(run.as_dict())


class FailureAnswer(BaseModel):
    """An image that could not be judged. next_at: when it is tried again, absent where it was given up."""

    id: str
    scan: str
    code: str
    message: str
    attempts: int
    next_at: datetime | None

    @classmethod
    def of(cls, failure: RescanFailure) -> "FailureAnswer":
        return cls.model_validate({"id": failure.id, **failure_as_dict(failure)})


class FailuresAnswer(BaseModel):
    failures: list[FailureAnswer]
