"""The interface of every detector, and what it yields: findings.

A new detector is one module with a `Detector` subclass, one line in `registry.py` and one test class that
inherits `tests.contract.DetectorContract`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from detectors.image import Frame, Image
from detectors.runtime import Runtime

Status = Literal["ok", "skipped", "failed"]
FieldType = Literal["bool", "int", "float", "string", "list"]

EMPTY: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Region:
    """A box in an upright image, as fractions of its sides: all four in [0, 1], origin top left."""

    x: float
    y: float
    width: float
    height: float

    def as_dict(self) -> dict[str, float]:
        return {
            "x": round(self.x, 5),
            "y": round(self.y, 5),
            "width": round(self.width, 5),
            "height": round(self.height, 5),
        }


@dataclass(frozen=True, slots=True)
class Finding:
    """One measurement of one image by one detector.

    score: how strongly the label holds, in [0, 1]; None where the label is a fact and not a measurement.
    fpr: share of the detector's calibration negatives that score at least as high, in (0, 1]; None where the
        label is not calibrated. Policies threshold on it, so that a new model does not move them.
    evidence: JSON values that explain the finding to a person; the fields that policies may use are declared
        in the label's `fields`.
    model: `name@digest` of the weights that measured, None for a method without weights.
    reason: why the detector did not measure, for `skipped` and `failed`.
    """

    detector: str
    label: str
    status: Status = "ok"
    score: float | None = None
    fpr: float | None = None
    region: Region | None = None
    frame: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    version: str = "1"
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON values, the same on every door."""
        return {
            "detector": self.detector,
            "label": self.label,
            "status": self.status,
            "score": None if self.score is None else round(self.score, 6),
            "fpr": None if self.fpr is None else float(f"{self.fpr:.4g}"),
            "region": self.region.as_dict() if self.region else None,
            "frame": self.frame,
            "evidence": dict(self.evidence),
            "model": self.model,
            "version": self.version,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Finding":
        """The inverse of `as_dict`, for findings that were stored."""
        region = values["region"]
        return cls(**{**values, "region": Region(**region) if region else None})


@dataclass(frozen=True, slots=True)
class Field:
    """A piece of evidence that policies may use. `absent` is its value where nothing was found.

    choices: all values that a string may have, where they are few; a policy that asks for another is refused.
    """

    type: FieldType
    help: str
    choices: tuple[str, ...] = ()

    @property
    def absent(self) -> Any:
        return {"bool": False, "int": 0, "float": 0.0, "string": "", "list": []}[self.type]


@dataclass(frozen=True, slots=True)
class Label:
    """What a detector can find: the vocabulary of policies and the documentation of findings.

    scored: findings carry a `score`; calibrated: they carry an `fpr` too.
    """

    name: str
    help: str
    scored: bool = False
    calibrated: bool = False
    fields: Mapping[str, Field] = field(default_factory=dict)


class Detector(ABC):
    """Measures images; decides nothing.

    name: of the detector, unique. version: of its method; change it when its findings would change.
    labels: everything it can find. Every `detect` yields at least one finding for each image: one or more
        with status `ok`, or one `skipped` or `failed` finding for each label, with a reason. A label without
        a finding was looked for and not found.
    cost_ms: about how long one image takes on one core; the scanner runs cheap detectors first.
    weights: names in the catalogue that it loads. The constructor raises ModelError when one is missing or
        its checksum differs.
    provides, needs: names in `Image.features` that it leaves for, or expects from, other detectors.
    looks_up: whether it only looks other detectors' findings up in lists, through `look_up`: then that is done anew each
        time that stored findings are judged.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    labels: ClassVar[tuple[Label, ...]]
    cost_ms: ClassVar[float]
    weights: ClassVar[tuple[str, ...]] = ()
    provides: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    looks_up: ClassVar[bool] = False

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @abstractmethod
    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        """Measure each image: one list of findings per image, in order. Deterministic."""

    def state(self, tenant: str) -> str:  # noqa: ARG002 - for detectors that look things up
        """Version of what this detector looks up for a tenant (a bank, a gallery), '' for none.

        Findings are measured again when it changes.
        """
        return ""

    def look_up(self, findings: Sequence[Finding], tenant: str) -> list[Finding]:
        """What `detect` finds of an image, given other detectors' findings of it, for a tenant's present lists."""
        raise NotImplementedError(f"{self.name} measures images ({len(findings)} findings, tenant {tenant})")

    @property
    def model(self) -> str | None:
        """`name@digest` of the weights that score, for `Finding.model`."""
        return self.runtime.identity(self.weights[0]) if self.weights else None

    def finding(
        self,
        label: str,
        score: float | None = None,
        *,
        fpr: float | None = None,
        region: Region | None = None,
        frame: int | None = None,
        evidence: Mapping[str, Any] = EMPTY,
        model: str | None = None,
    ) -> Finding:
        """A finding of this detector with status `ok`. `model` defaults to the detector's own."""
        return Finding(
            self.name,
            label,
            "ok",
            score,
            fpr,
            region,
            frame,
            evidence,
            model or self.model,
            self.version,
        )

    @classmethod
    def did_not_measure(cls, status: Literal["skipped", "failed"], reason: str) -> list[Finding]:
        """One finding for each label, saying why this detector yields nothing for an image."""
        return [Finding(cls.name, label.name, status, version=cls.version, reason=reason) for label in cls.labels]


class FrameDetector(Detector):
    """A detector of pixels: measures every sampled frame, keeps the worst of each label.

    Animated images get the findings of the frame that scored highest for each label, with its number.
    """

    @abstractmethod
    def measure(self, frames: Sequence[Frame]) -> list[list[Finding]]:
        """Measure each frame: one list of findings per frame, in order."""

    def detect(self, images: Sequence[Image]) -> list[list[Finding]]:
        measured = iter(self.measure([frame for image in images for frame in image.frames]))
        return [self._worst([(frame, next(measured)) for frame in image.frames]) for image in images]

    def _worst(self, by_frame: Sequence[tuple[Frame, list[Finding]]]) -> list[Finding]:
        if len(by_frame) == 1:
            return by_frame[0][1]
        worst: list[Finding] = []
        for label in self.labels:
            candidates = [
                (frame, [finding for finding in findings if finding.label == label.name])
                for frame, findings in by_frame
            ]
            frame, chosen = max(candidates, key=lambda pair: max((f.score or 0.0 for f in pair[1]), default=-1.0))
            worst += [replace(finding, frame=frame.index) for finding in chosen]
        return worst
