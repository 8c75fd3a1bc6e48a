"""Which model measures an image, which run beside it, and what they say: followed in every process."""

import hashlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from detectors.base import Detector, Finding
from moderation.errors import ModerationError, StorageError
from moderation.registry.records import FLAGGED, Day, Registered, bin_of
from moderation.registry.repository import ModelRepository
from moderation.registry.service import KINDS, ModelRegistry
from moderation.tables import utc_now

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 5.0

WRITE_SECONDS = 30.0
"""How long a process counts before it writes down what models said; a process that ends loses as much."""
SERVED = ("shadow", "canary", "active")


@dataclass(frozen=True)
class _Shelf:
    """The models in use at one moment. by_state: of each detector. asked: when the database was."""

    version: int = -1
    asked: float = -math.inf
    by_state: Mapping[tuple[str, str], Detector] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)


class ServedModels:
    """Follows the registry. Safe to share between threads; a shelf is swapped whole.

    A model that cannot be loaded here is logged, and what was served before it goes on.
    """

    def __init__(self, registry: ModelRegistry, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = registry
        self.clock = clock
        self._shelf = _Shelf()
        self._loaded: dict[str, Detector] = {}
        self._loading = threading.Lock()
        self._days: dict[tuple[str, str], Day] = {}
        self._counting = threading.Lock()
        self._written = clock()

    def choose(self, name: str, sha256: str) -> Detector | None:
        """The registered model that measures an image; None for the shipped one. The same image always meets the same."""
        shelf = self._current()
        canary = shelf.by_state.get((name, "canary"))
        if canary is not None and part(name, sha256) < shelf.shares.get(name, 0.0):
            return canary
        return shelf.by_state.get((name, "active"))

    def shadow(self, name: str) -> Detector | None:
        """The model that runs beside the one that measures; nothing follows from what it says."""
        return self._current().by_state.get((name, "shadow"))

    def state(self, name: str) -> str:
        """Changes when other findings of a detector are to be expected."""
        shelf = self._current()
        models = [
            shelf.by_state[name, state].model or "" for state in ("canary", "active") if (name, state) in shelf.by_state
        ]
        return "/".join([*models, f"{shelf.shares.get(name, 0.0):g}"]) if models else ""

    def note(self, name: str, findings: Sequence[Finding], shadowed: Sequence[Finding] | None) -> None:
        """Count what was measured of one image, and what a shadow said of it."""
        fpr = _lowest(findings)
        if name not in KINDS or fpr is None:
            return
        self._count(name, fpr, findings, shadowed)
        if self.clock() - self._written >= WRITE_SECONDS:
            self._written = self.clock()
            try:
                self.write_down()
            except ModerationError as error:
                log.error("what models said is not written down yet", reason=error.message)

    def _count(self, name: str, fpr: float, findings: Sequence[Finding], shadowed: Sequence[Finding] | None) -> None:
        with self._counting:
            day = self._day(name, next(f.model or "" for f in findings if f.fpr is not None))
            day.histogram[bin_of(fpr)] += 1
            other = _lowest(shadowed or ())
            if shadowed is None or other is None:
                return
            beside = self._day(name, next(f.model or "" for f in shadowed if f.fpr is not None))
            beside.histogram[bin_of(other)] += 1
            beside.shadowed += 1
            beside.both += fpr <= FLAGGED and other <= FLAGGED
            beside.only_active += fpr <= FLAGGED < other
            beside.only_shadow += other <= FLAGGED < fpr

    def _day(self, name: str, model: str) -> Day:
        today = utc_now().date()
        key = (model, today.isoformat())
        if key not in self._days:
            self._days[key] = Day(name, model, today)
        return self._days[key]

    def write_down(self) -> int:
        """Write what was counted to the database; how many rows. What cannot be written is counted on: raises StorageError."""
        with self._counting:
            days, self._days = self._days, {}
        if not days:
            return 0
        try:
            with self.registry.database.write() as session:
                ModelRepository(session).note(list(days.values()))
        except Exception as error:
            with self._counting:
                for key, day in days.items():
                    self._days[key] = _sum(day, self._days.get(key))
            raise StorageError(f"What models said cannot be written: {type(error).__name__}.") from error
        return len(days)

    def _current(self) -> _Shelf:
        if self.clock() - self._shelf.asked < REFRESH_SECONDS:
            return self._shelf
        with self._loading:
            if self.clock() - self._shelf.asked >= REFRESH_SECONDS:
                self._shelf = self._read(self._shelf)
            return self._shelf

    def _read(self, known: _Shelf) -> _Shelf:
        asked = self.clock()
        with self.registry.database.read() as session:
            repository = ModelRepository(session)
            version = repository.version()
            if version == known.version:
                return replace(known, asked=asked)
            models = [model for model in repository.models() if model.state in SERVED]
        shelf: dict[tuple[str, str], Detector] = {
            (model.name, model.state): loaded for model in models if (loaded := self._load(model))
        }
        used = {id(detector) for detector in shelf.values()}
        self._loaded = {identity: kept for identity, kept in self._loaded.items() if id(kept) in used}
        shares = {model.name: model.share for model in models if model.state == "canary"}
        return _Shelf(version, asked, shelf, shares)

    def _load(self, model: Registered) -> Detector | None:
        if model.identity not in self._loaded:
            try:
                self._loaded[model.identity] = self.registry.load(model.name, model.digest)
            except ModerationError as error:
                log.error("registered model cannot be served", model=model.identity, reason=error.message)
                return None
        return self._loaded[model.identity]


def part(name: str, sha256: str) -> float:
    """Where an image stands, in [0, 1): the same in every process, and different for each detector."""
    return int.from_bytes(hashlib.sha256(f"{name}/{sha256}".encode()).digest()[:8], "big") / 2**64


def _lowest(findings: Sequence[Finding]) -> float | None:
    return min((finding.fpr for finding in findings if finding.fpr is not None), default=None)


def _sum(day: Day, other: Day | None) -> Day:
    if other is None:
        return day
    return Day(
        day.name,
        day.model,
        day.day,
        [a + b for a, b in zip(day.histogram, other.histogram, strict=True)],
        day.shadowed + other.shadowed,
        day.both + other.both,
        day.only_active + other.only_active,
        day.only_shadow + other.only_shadow,
    )
