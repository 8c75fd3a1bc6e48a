"""Measures an image with the detectors that a policy needs, and judges it."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from detectors.base import Detector, Finding
from detectors.image import Image
from detectors.registry import DETECTORS
from detectors.runtime import Runtime
from moderation import tracing
from moderation.errors import ModelError, ModerationError, RateLimitError
from moderation.policy import Policy

log = structlog.get_logger(__name__)

Context = Mapping[str, str]

WHOLE = "full"
"""The plan of a measurement by every detector."""

UNREAD = "no rule of the policy reads it"
DECIDED = "the verdict cannot change any more"
SPARED = (UNREAD, DECIDED)
"""Why a detector is left out of a scan."""


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
        self._turns = threading.BoundedSemaphore(concurrency)
        self._places = concurrency + waiting
        self._placing = threading.Lock()
        self._building = threading.Lock()

    @property
    def lists(self) -> frozenset[str]:
        """The detectors that look lists up, and measure nothing."""
        return frozenset(cls.name for cls in self.classes if cls.looks_up)

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
            [cls.name, cls.version, [self.runtime.identity(name) for name in cls.weights], self._state(cls, tenant)]
            for cls in self.classes
        ]
        return hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def _state(self, cls: type[Detector], tenant: str) -> str:
        built = self._built.get(cls.name)
        return built.state(tenant) if built else ""

    @staticmethod
    def plan(policy: Policy, context: Context) -> str:
        """`WHOLE` where every detector runs; else a digest of what decides which ones do."""
        if policy.cascade == "full" and not any(rule.final for rule in policy.rules):
            return WHOLE
        return hashlib.sha256(json.dumps([policy.digest, dict(sorted(context.items()))]).encode()).hexdigest()

    @property
    def waiting_places(self) -> int:
        """How many more scans may start or wait."""
        return self._places

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A scan's turn: as many run at once as `concurrency` allows. Raises RateLimitError when too many wait."""
        self._take_place()
        try:
            with self._turns:
                yield
        finally:
            with self._placing:
                self._places += 1

    def _take_place(self) -> None:
        with self._placing:
            if not self._places:
                raise RateLimitError(
                    "Too many scans wait their turn.",
                    retry_after=2,
                    hint="Send it again later, run more processes, or raise PALISADE_SCAN_WAITING.",
                )
            self._places -= 1

    def measure(self, image: Image, policy: Policy, context: Context, tenant: str = "default") -> Measured:
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
            started = time.perf_counter()
            with tracing.span(f"detector {detector.name}"):
                cascade.findings += self._run(self.detector(detector.name), image)
            cascade.ran.add(detector.name)
            timings[detector.name] = round((time.perf_counter() - started) * 1000, 2)
        return Measured(tuple(cascade.findings), timings)

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
