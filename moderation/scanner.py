"""Measures an image with the detectors that a policy needs, and judges it."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from celery.exceptions import SoftTimeLimitExceeded

from detectors.base import Detector, Finding
from detectors.image import Image
from detectors.registry import DETECTORS
from detectors.runtime import Runtime
from moderation import tracing
from moderation.errors import ModelError, ModerationError
from moderation.policy import Policy
from moderation.turns import Pause, Turns

log = structlog.get_logger(__name__)

Context = Mapping[str, str]

WHOLE = "full"
"""The plan of a measurement by every detector."""

UNREAD = "no rule of the policy reads it"
DECIDED = "the verdict cannot change any more"
SPARED = (UNREAD, DECIDED)
"""Why a detector is left out of a scan."""


def _go_on() -> None:
    """The pause of an upload: none."""


@dataclass(frozen=True)
class Measured:
    """What the detectors found in one image.

    findings: of every registered detector, in the order they ran; those that did not run are `skipped` or `failed`
    with a reason. timings: milliseconds of each detector that ran.
    """

    findings: tuple[Finding, ...]
    timings: Mapping[str, float]

    @property
    def is_whole(self) -> bool:
        """Whether no detector was left out, so that any policy can be judged on the findings."""
        return not any(finding.reason in SPARED for finding in self.findings)


class Models(Protocol):
    """Which models measure: see `registry.serving.ServedModels`."""

    def choose(self, name: str, sha256: str) -> Detector | None: ...

    def shadow(self, name: str) -> Detector | None: ...

    def state(self, name: str) -> str: ...

    def note(self, name: str, findings: Sequence[Finding], shadowed: Sequence[Finding] | None) -> None: ...


class Scanner:
    """Holds the detectors and runs them. Safe to share between threads.

    A detector whose weights are missing is not built; a scan that needs it raises ModelError rather than go without.

    concurrency: scans that run at once; `waiting` more wait their turn, and further ones are refused, so that memory
        stays bounded.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        concurrency: int = 2,
        waiting: int = 32,
        detectors: Sequence[type[Detector]] = DETECTORS,
    ) -> None:
        self.runtime = runtime
        self.classes = detectors
        self._built: dict[str, Detector] = {}
        self._missing: dict[str, ModelError] = {}
        self.concurrency = concurrency
        self.turns = Turns(concurrency, waiting)
        self._building = threading.Lock()
        self._served: Models | None = None

    @property
    def lists(self) -> frozenset[str]:
        """The detectors that look lists up, and measure nothing."""
        return frozenset(cls.name for cls in self.classes if cls.looks_up)

    def serve(self, models: Models) -> None:
        """Measure with the models that these say, from now on, where they say one."""
        self._served = models

    def build(self) -> None:
        """Load every detector whose weights are present. Called again, it tries those that were missing."""
        for cls in self.classes:
            self._build(cls)

    def _build(self, cls: type[Detector]) -> None:
        with self._building:
            if cls.name in self._built:
                return
            try:
                self._built[cls.name] = cls(self.runtime)
                self._missing.pop(cls.name, None)
            except ModelError as error:
                self._missing[cls.name] = error

    def detector(self, name: str) -> Detector:
        """A detector by name, loaded. Raises ModelError when its weights are missing."""
        cls = next(cls for cls in self.classes if cls.name == name)
        if name not in self._built:
            self._build(cls)
        if name not in self._built:
            raise self._missing[name]
        return self._built[name]

    def needed(self, policy: Policy) -> list[type[Detector]]:
        """The detectors that scans under a policy use, with those whose features they read, in running order."""
        if policy.cascade == "full":
            return list(self.classes)
        wanted = set(policy.needs)
        for cls in reversed(self.classes):
            if cls.name in wanted:
                wanted |= {other.name for other in self.classes if set(other.provides) & set(cls.needs)}
        return [cls for cls in self.classes if cls.name in wanted]

    def check(self, policy: Policy) -> None:
        """Raises ModelError when a model that the policy needs is missing."""
        for cls in self.needed(policy):
            self.detector(cls.name)

    def models(self, tenant: str) -> str:
        """Digest of all detectors, their versions, weights and lists: findings under the same digest are comparable.

        Take it before measuring, so that findings are never kept under lists that are newer than they.
        """
        described = [
            [cls.name, cls.version, [self.runtime.identity(name) for name in cls.weights], self.state(cls, tenant)]
            for cls in self.classes
        ]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def identity(self, cls: type[Detector]) -> str:
        """What a detector measures with, lists aside: its version, its weights and its registered models."""
        registered = self._served.state(cls.name) if self._served else ""
        return " ".join([cls.version, *map(self.runtime.identity, cls.weights), registered]).rstrip()

    def state(self, cls: type[Detector], tenant: str) -> str:
        """Changes when a detector finds other things though its version and weights are the same: lists, registered models."""
        built = self._built.get(cls.name)
        served = self._served.state(cls.name) if self._served else ""
        return (built.state(tenant) if built else "") + served

    @staticmethod
    def plan(policy: Policy, context: Context) -> str:
        """`WHOLE` where every detector runs; else a digest of what decides which ones do."""
        if policy.cascade == "full" and not any(rule.final for rule in policy.rules):
            return WHOLE
        return hashlib.sha256(json.dumps([policy.digest, dict(sorted(context.items()))]).encode()).hexdigest()

    @property
    def waiting_places(self) -> int:
        """How many more scans may start or wait."""
        return self.turns.places

    @contextmanager
    def turn(self, *, bulk: bool = False) -> Iterator[Pause]:
        """A scan's turn, and what to call between its steps: bulk work lets uploads pass there.

        Raises RateLimitError when too many uploads wait, and, there and at pauses, where they leave bulk work no room.
        """
        if bulk:
            with self.turns.bulk() as pause:
                yield pause
            return
        with self.turns.upload():
            yield _go_on

    def measure(
        self, image: Image, policy: Policy, context: Context, tenant: str = "default", *, pause: Pause = _go_on
    ) -> Measured:
        """Run the detectors that the policy asks for, cheap ones first. Raises ModelError before any runs."""
        self.check(policy)
        image.features["tenant"] = tenant
        cascade = _Cascade(policy, self.needed(policy), context, image_facts(image))
        timings: dict[str, float] = {}
        for detector in self.classes:
            spared = cascade.spares(detector)
            if spared:
                cascade.findings += detector.did_not_measure("skipped", spared)
                continue
            pause()
            started = time.perf_counter()
            with tracing.span(f"detector {detector.name}"):
                cascade.findings += self._measured(detector.name, image)
            cascade.ran.add(detector.name)
            timings[detector.name] = round((time.perf_counter() - started) * 1000, 2)
        return Measured(tuple(cascade.findings), timings)

    def serving(self, name: str, sha256: str) -> Detector:
        """The detector that measures an image: with the registry's model for it, else with the shipped one."""
        chosen = self._served.choose(name, sha256) if self._served else None
        return chosen or self.detector(name)

    def _measured(self, name: str, image: Image) -> list[Finding]:
        """What a detector finds of an image. A shadow runs beside it, and nothing follows from what it says."""
        findings = self._run(self.serving(name, image.sha256), image)
        if self._served:
            shadow = self._served.shadow(name)
            self._served.note(name, findings, self._run(shadow, image) if shadow else None)
        return findings

    def measure_with(self, image: Image, detectors: Sequence[type[Detector]], tenant: str) -> list[Finding]:
        """The findings of these detectors, run in order, without regard to a policy. Raises ModelError before any runs."""
        names = [self.detector(cls.name).name for cls in detectors]
        image.features["tenant"] = tenant
        return [finding for name in names for finding in self._measured(name, image)]

    def look_up(self, findings: Sequence[Finding], tenant: str) -> tuple[Finding, ...]:
        """Stored findings, those of lists looked up anew. Detectors that the policy left out stay so."""
        fresh = list(findings)
        for cls in self.classes:
            stored = [finding for finding in fresh if finding.detector == cls.name]
            if not cls.looks_up or any(finding.reason in SPARED for finding in stored):
                continue
            others = [finding for finding in fresh if finding.detector != cls.name]
            fresh = others + self._look_up(self.detector(cls.name), others, tenant)
        return tuple(fresh)

    @staticmethod
    def _look_up(detector: Detector, findings: Sequence[Finding], tenant: str) -> list[Finding]:
        try:
            return detector.look_up(findings, tenant)
        except Exception as error:
            log.exception("detector failed", detector=detector.name)
            return detector.did_not_measure("failed", _reason(error))

    @staticmethod
    def _run(detector: Detector, image: Image) -> list[Finding]:
        """The detector's findings, or `failed` ones: one broken detector does not take the others' evidence away."""
        try:
            return detector.detect([image])[0]
        except SoftTimeLimitExceeded:
            raise  # a worker's time for the whole scan is over, which is no fault of the detector's
        except Exception as error:
            log.exception("detector failed", detector=detector.name, sha256=image.sha256)
            return detector.did_not_measure("failed", _reason(error))


def _reason(error: Exception) -> str:
    return error.message if isinstance(error, ModerationError) else type(error).__name__


@dataclass
class _Cascade:
    """One scan on its way: what was found, and which detectors can still matter."""

    policy: Policy
    needed: Sequence[type[Detector]]
    context: Context
    facts: Mapping[str, Any]
    findings: list[Finding] = field(default_factory=list)
    ran: set[str] = field(default_factory=set)

    def spares(self, detector: type[Detector]) -> str:
        """Why a detector need not run on this image, '' when it must."""
        if detector not in self.needed:
            return UNREAD
        found = (self.findings, self.context, self.facts, self.ran)
        if self.policy.cascade == "full" and not self.policy.stopped(*found):
            return ""
        wanted = self.policy.still_needed(*found)
        readers = {other.name for other in self.needed if set(detector.provides) & set(other.needs)}
        return "" if (readers | {detector.name}) & wanted else DECIDED


def image_facts(image: Image) -> dict[str, Any]:
    """What policies may ask of the file itself."""
    return {
        "width": image.width,
        "height": image.height,
        "frames": image.frame_count,
        "bytes": len(image.data),
        "format": image.format,
    }
