"""What scans look like on the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from moderation.policy import Action
from moderation.tables import ReviewCase, Scan, StoredImage


class ErrorBody(BaseModel):
    """An error: `code` for programs, `message` and `hint` for people."""

    code: str = Field(examples=["too_many_pixels"])
    message: str
    hint: str


class ErrorAnswer(BaseModel):
    error: ErrorBody


class ImageFacts(BaseModel):
    """The file itself. `kept`: whether the host's policy had it kept, encrypted."""

    sha256: str
    format: str = Field(examples=["JPEG"])
    width: int
    height: int
    frames: int
    bytes: int
    kept: bool

    @classmethod
    def of(cls, image: StoredImage) -> "ImageFacts":
        return cls(
            sha256=image.sha256,
            format=image.format,
            width=image.width,
            height=image.height,
            frames=image.frames,
            bytes=image.size,
            kept=image.kept_at is not None,
        )


class Region(BaseModel):
    """A box, as fractions of the upright image's sides."""

    x: float
    y: float
    width: float
    height: float


class Finding(BaseModel):
    """One measurement. `fpr`: share of benign images that score at least as high."""

    detector: str
    label: str
    status: Literal["ok", "skipped", "failed"]
    score: float | None
    fpr: float | None
    region: Region | None
    frame: int | None
    evidence: Mapping[str, Any]
    model: str | None
    version: str
    reason: str | None


class PolicyRef(BaseModel):
    name: str = Field(examples=["mainstream"])
    version: int
    digest: str


class Verdict(BaseModel):
    """What to do with the image, and why. `undecided`: rules that a missing measurement left open."""

    model_config = ConfigDict(extra="allow")

    action: Action
    reasons: list[Mapping[str, Any]]
    undecided: list[Mapping[str, Any]]
    policy: PolicyRef


class Context(BaseModel):
    external_id: str
    uploader: str
    surface: str
    locale: str

    @classmethod
    def of(cls, scan: Scan) -> "Context":
        return cls(external_id=scan.external_id, uploader=scan.uploader, surface=scan.surface, locale=scan.locale)


class CaseRef(BaseModel):
    """The case in which people decide on the image; several scans of it, and near copies, share one."""

    id: str = Field(examples=["case_01kax1pz7rc5w1m3s0qv9yd2ht"])
    queue: str = Field(examples=["explicit"])
    state: Literal["open", "second", "decided", "closed"]

    @classmethod
    def of(cls, case: ReviewCase) -> "CaseRef":
        return cls.model_validate({"id": case.id, "queue": case.queue, "state": case.state})


class ScanAnswer(BaseModel):
    """A scan: the verdict, and everything behind it."""

    id: str = Field(examples=["scan_01kax1pz7rc5w1m3s0qv9yd2ht"])
    created_at: datetime
    sha256: str
    image: ImageFacts
    context: Context
    verdict: Verdict
    findings: list[Finding]
    timings: Mapping[str, float] = Field(description="Milliseconds of each part that ran when the image was measured.")
    warnings: list[str]
    reused: bool = Field(description="Whether the findings are of an earlier scan of the same bytes and models.")
    case: CaseRef | None = Field(
        description="Where people decide on it; null where nobody has to. Cases of known child abuse are not named."
    )

    @classmethod
    def of(cls, scan: Scan, case: ReviewCase | None) -> "ScanAnswer":
        return cls(
            id=scan.id,
            created_at=scan.created_at,
            sha256=scan.image.sha256,
            image=ImageFacts.of(scan.image),
            context=Context.of(scan),
            verdict=Verdict(**scan.verdict),
            findings=[Finding(**values) for values in scan.findings],
            timings=scan.measurement.timings,
            warnings=scan.measurement.warnings,
            reused=scan.reused,
            case=CaseRef.of(case) if case else None,
        )


class BatchItem(BaseModel):
    """One image of a batch: its scan, or why there is none."""

    index: int
    name: str | None
    scan: ScanAnswer | None = None
    error: ErrorBody | None = None


class BatchAnswer(BaseModel):
    items: list[BatchItem]


class ScanSummary(BaseModel):
    id: str
    created_at: datetime
    action: Action
    policy: PolicyRef
    context: Context

    @classmethod
    def of(cls, scan: Scan) -> "ScanSummary":
        return cls(
            id=scan.id,
            created_at=scan.created_at,
            action=scan.action,
            policy=PolicyRef(name=scan.policy, version=scan.policy_version, digest=scan.policy_digest),
            context=Context.of(scan),
        )


class ImageAnswer(BaseModel):
    """An image that was scanned, with its newest scans, the newest first."""

    image: ImageFacts
    scans: list[ScanSummary]


class HeatCell(BaseModel):
    """A square of an image, read as `synthetic` reads a whole one."""

    region: Region
    score: float = Field(description="The probability that the square was generated, where half are.")
    fpr: float = Field(description="Share of real pictures that score at least as high.")


class HeatMap(BaseModel):
    """Which parts of an image speak for generation. Cells overlap; they go row by row."""

    width: int = Field(description="Pixels across, of the upright frame.")
    height: int
    cells: list[HeatCell]
