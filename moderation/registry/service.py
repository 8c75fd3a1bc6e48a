"""Registers models of detectors, and moves them from candidate to shadow, canary, active and retired."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from detectors.base import Detector
from detectors.runtime import Runtime
from detectors.swap import SwapDetector
from detectors.tower import load_synthetic
from moderation import audit
from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError, ModelError, NotFoundError
from moderation.registry.records import EDGES, FLAGGED, NEXT, Drift, Registered, bin_of, failed_gates, stability
from moderation.registry.repository import ModelRepository
from moderation.tables import DetectorModel, new_id, utc_now
from moderation.tables.base import DEFAULT_TENANT

KINDS: Mapping[str, Callable[[Runtime, Path], Detector]] = {"synthetic": load_synthetic, "swap": SwapDetector}
"""The detectors whose model may be another than the shipped one, and how one is made of a folder."""

FILES = ("onnx", "card.json", "calibration.json")
RECENT_DAYS, EARLIER_DAYS, ENOUGH = 7, 28, 500


class ModelRegistry:
    """The models of this installation. Every process follows the states within seconds (`registry.serving`)."""

    def __init__(self, database: Database, runtime: Runtime) -> None:
        self.database = database
        self.runtime = runtime

    def register(self, name: str, folder: Path, *, actor: str) -> Registered:
        """Take a model over, as a candidate: its graph, card and calibration are checked by loading them.

        Registered again, it stays what it is. Raises InvalidRequestError and ModelError; then nothing is registered.
        """
        if name not in KINDS:
            raise InvalidRequestError(
                f"{name[:60]!r} has no models to choose from.", hint=f"One of {', '.join(KINDS)}."
            )
        KINDS[name](self.runtime, folder)
        graph, card, calibration = ((folder / f"{name}.{ending}").read_bytes() for ending in FILES)
        digest = hashlib.sha256(graph).hexdigest()
        with self.database.write() as session:
            repository = ModelRepository(session)
            if not repository.row(name, digest):
                repository.add(
                    DetectorModel(
                        id=new_id("model"),
                        tenant_id=DEFAULT_TENANT,
                        created_at=utc_now(),
                        name=name,
                        digest=digest,
                        state="candidate",
                        share=0.0,
                        left="",
                        ordinal=repository.next_ordinal(),
                        graph=graph,
                        card=json.loads(card),
                        calibration=json.loads(calibration),
                        changed_at=utc_now(),
                    )
                )
                _record(session, actor, "registered", name, digest)
        return self.find(name, digest)

    def models(self, name: str = "") -> list[Registered]:
        """What is registered, the newest change first."""
        with self.database.read() as session:
            return ModelRepository(session).models(name)

    def find(self, name: str, digest: str) -> Registered:
        """Raises NotFoundError, and InvalidRequestError where the digest's beginning fits several."""
        found = [model for model in self.models(name) if model.digest.startswith(digest)]
        _only(found, name, digest)
        return found[0]

    def promote(self, name: str, digest: str, *, actor: str, share: float = 0.05) -> Registered:
        """One step on: candidate → shadow → canary → active. What was in that place is retired.

        share: of images that a canary measures. Raises ConflictError when the evaluation on its card does not pass the gates, or there
        is no further step.
        """
        if not 0 < share <= 0.5:
            raise InvalidRequestError(f"A canary cannot measure {share} of the images.", hint="Above 0, at most 0.5.")
        with self.database.write() as session:
            repository = ModelRepository(session)
            row = _only(repository.row(name, digest), name, digest)
            if row.state not in NEXT:
                raise ConflictError(f"{name}@{row.digest[:12]} is {row.state}.", hint="Register another, or roll back.")
            if problems := failed_gates(name, row.card):
                raise ConflictError(
                    f"{name}@{row.digest[:12]} does not pass: {'; '.join(problems)}.",
                    hint="Train and evaluate another.",
                )
            state = NEXT[row.state]
            for other in repository.in_state(name, state):
                self._move(session, other, "retired", actor)
            row.share = share
            self._move(session, row, state, actor)
        return self.find(name, row.digest)

    def retire(self, name: str, digest: str, *, actor: str) -> Registered:
        """Take a model out of use, whatever it is; the shipped one serves where none is active."""
        with self.database.write() as session:
            row = _only(ModelRepository(session).row(name, digest), name, digest)
            if row.state != "retired":
                self._move(session, row, "retired", actor)
        return self.find(name, row.digest)

    def roll_back(self, name: str, *, actor: str) -> str:
        """Make the model active again that was before, or the shipped one; its identity. At once in every process.

        Raises ConflictError where no registered model is active.
        """
        with self.database.write() as session:
            repository = ModelRepository(session)
            active = repository.in_state(name, "active")
            if not active:
                raise ConflictError(f"No registered model of {name} is active: the shipped one is served.")
            before = next((row for row in repository.in_state(name, "retired") if row.left == "active"), None)
            self._move(session, active[0], "retired", actor)
            active[0].left = "rollback"
            if before is None:
                return "the shipped model"
            self._move(session, before, "active", actor)
            return f"{name}@{before.digest[:12]}"

    @staticmethod
    def _move(session: Session, row: DetectorModel, state: str, actor: str) -> None:
        row.left = row.state if state == "retired" else ""
        row.share = row.share if state == "canary" else 0.0
        row.state, row.changed_at = state, utc_now()
        row.ordinal = ModelRepository(session).next_ordinal()
        session.flush()
        _record(session, actor, state, row.name, row.digest)

    def activations(self) -> dict[str, int]:
        """Of each detector whose active model was ever changed, a number that grows with each such change."""
        with self.database.read() as session:
            return ModelRepository(session).activations()

    def files(self, name: str, digest: str) -> dict[str, bytes]:
        """A model's files by name, as a detector reads them from a folder."""
        with self.database.read() as session:
            row = _only(ModelRepository(session).row(name, digest), name, digest)
        card, calibration = (json.dumps(values, indent=1).encode() for values in (row.card, row.calibration))
        return dict(zip((f"{name}.{ending}" for ending in FILES), (row.graph, card, calibration), strict=True))

    def load(self, name: str, digest: str) -> Detector:
        """A registered model as a detector. Raises ModelError."""
        with tempfile.TemporaryDirectory() as folder:
            for file, content in self.files(name, digest).items():
                (Path(folder) / file).write_bytes(content)
            try:
                return KINDS[name](self.runtime, Path(folder))
            except OSError as error:
                raise ModelError(f"{name}@{digest[:12]} cannot be loaded: {error}") from error

    def drift(self, name: str, today: date | None = None) -> list[Drift]:
        """Of each model that said anything of late: its last week beside the four weeks before."""
        today = today or utc_now().date()
        recent, start = today - timedelta(days=RECENT_DAYS - 1), today - timedelta(days=RECENT_DAYS + EARLIER_DAYS - 1)
        found = []
        with self.database.read() as session:
            repository = ModelRepository(session)
            for model in repository.seen(name):
                days = repository.days(name, model, start)
                now = _summed(day.histogram for day in days if day.day >= recent)
                before = _summed(day.histogram for day in days if day.day < recent)
                if sum(now):
                    found.append(_drift(model, now, before))
        return found

    def disagreement(self, name: str, days: int = RECENT_DAYS) -> dict[str, dict[str, int]]:
        """Of each shadow: on how many images it ran, and who flagged them."""
        since = utc_now().date() - timedelta(days=days - 1)
        with self.database.read() as session:
            repository = ModelRepository(session)
            rows = {model: repository.days(name, model, since) for model in repository.seen(name)}
        names = ("shadowed", "both", "only_active", "only_shadow")
        sums = {model: {key: sum(getattr(day, key) for day in of) for key in names} for model, of in rows.items()}
        return {model: values for model, values in sums.items() if values["shadowed"]}


def _drift(model: str, now: list[int], before: list[int]) -> Drift:
    last = bin_of(FLAGGED)
    flagged, earlier = (sum(counts[: last + 1]) / max(1, sum(counts)) for counts in (now, before))
    enough = min(sum(now), sum(before)) >= ENOUGH
    return Drift(model, sum(now), sum(before), flagged, earlier, stability(now, before) if enough else None)


def _summed(histograms: Any) -> list[int]:
    return [sum(column) for column in zip([0] * (len(EDGES) + 1), *histograms, strict=True)]


def _only(found: Any, name: str, digest: str) -> Any:
    if not found or not digest:
        raise NotFoundError(f"No model {name}@{digest[:12]} is registered.", hint="See `palisade models registered`.")
    if len(found) > 1:
        raise InvalidRequestError(f"{len(found)} models of {name} begin with {digest}.", hint="Write more digits.")
    return found[0]


def _record(session: Session, actor: str, what: str, name: str, digest: str) -> None:
    audit.record(session, DEFAULT_TENANT, actor, f"model.{what}", f"{name}@{digest[:12]}")
