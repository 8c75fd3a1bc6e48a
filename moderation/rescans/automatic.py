"""Plans re-scans by itself, where the operator allows it: after banks grew, after models were promoted, after policies changed."""

import hashlib
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from moderation.errors import ModerationError
from moderation.policy import Policy
from moderation.registry.service import ModelRegistry
from moderation.rescans.records import PlanSpec
from moderation.rescans.repository import RescanRepository
from moderation.rescans.service import RescanService

log = structlog.get_logger(__name__)

SETTLE = 60.0
"""Seconds for which what changed must be left alone: a long list is compared once, and every process follows the registry by then."""

MARK = "banks"
"""`RescanPlan.schedule_id` of plans that are made here."""


class Watch(Protocol):
    """Something that plans re-scans. Several processes may watch the same: one of them plans."""

    def plan(self) -> int:
        """Plan what is due; gives how many plans."""


class BankWatch:
    """Notices that banks changed. Several processes may watch: one of them plans.

    clock: seconds, for tests.
    """

    def __init__(self, rescans: RescanService, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rescans = rescans
        self.clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._planned: dict[str, int] = {}

    def plan(self) -> int:
        """Plan what is due. The first time, all entries that are there are compared."""
        with self.rescans.database.read() as session:
            states = RescanRepository(session).bank_states()
        planned = 0
        for tenant, sequence in states:
            known, since = self._seen.get(tenant, (-1, 0.0))
            if known != sequence:
                self._seen[tenant] = (sequence, self.clock())
            elif self.clock() - since >= SETTLE and self._planned.get(tenant) != sequence:
                planned += self._plan(tenant)
                self._planned[tenant] = sequence
        return planned

    def _plan(self, tenant: str) -> bool:
        with self.rescans.database.read() as session:
            repository = RescanRepository(session)
            newest, compared = repository.newest_entry(tenant), repository.compared_entry(tenant, MARK)
        if newest <= compared:
            return False
        spec = PlanSpec("banks", since_entry=compared, until_entry=newest)
        return self.rescans.plan_once(tenant, spec, mark=MARK) is not None


class ModelWatch:
    """Notices that other models were made the active ones: promoted, rolled back, or retired. clock: seconds, for tests."""

    def __init__(
        self, rescans: RescanService, registry: ModelRegistry, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rescans = rescans
        self.registry = registry
        self.clock = clock
        self._seen: dict[str, tuple[int, float]] = {}
        self._planned: dict[str, int] = {}

    def plan(self) -> int:
        """Plan what is due. The first time, models that were promoted before are planned for, unless that was done."""
        planned = 0
        for name, ordinal in self.registry.activations().items():
            known, since = self._seen.get(name, (-1, 0.0))
            if known != ordinal:
                self._seen[name] = (ordinal, self.clock())
            elif self.clock() - since >= SETTLE and self._planned.get(name) != ordinal:
                planned += self._plan(name, ordinal)
                self._planned[name] = ordinal
        return planned

    def _plan(self, name: str, ordinal: int) -> int:
        try:
            return len(self.rescans.plan_marked(PlanSpec("head", detectors=(name,)), mark=f"model:{name}:{ordinal}"))
        except ModerationError as error:
            log.error("no re-scan after a model changed", detector=name, reason=error.message, hint=error.hint)
            return 0


class PolicyWatch:
    """Notices, once in the life of a process, that its policies are others than those of the processes before.

    Once, since a process reads a policy once; and a while after its start, when the others have been restarted too. One that has
    not been takes no part in the plan (`rescans.basis`).
    """

    def __init__(self, rescans: RescanService, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.rescans = rescans
        self.clock = clock
        self._due = clock() + SETTLE

    def plan(self) -> int:
        """Plan what is due: one plan for each policy that changed. The first time, nothing changed."""
        if self.clock() < self._due:
            return 0
        planned = sum(self._follow(policy) for policy in self.rescans.paths.policies())
        self._due = float("inf")
        return planned

    def _follow(self, policy: Policy) -> int:
        """Noted only once it is planned for, so that nothing is lost where a process ends between."""
        with self.rescans.database.read() as session:
            changed = RescanRepository(session).is_changed(policy)
        planned = self.rescans.plan_marked(PlanSpec("policy"), mark=policy_mark(policy)) if changed else []
        with self.rescans.database.write() as session:
            RescanRepository(session).saw(policy)
        return len(planned)


def policy_mark(policy: Policy) -> str:
    """Of plans that judge by this text of a policy: at most 32 characters."""
    name, digest = (hashlib.sha256(text.encode()).hexdigest() for text in (policy.name, policy.digest))
    return f"policy:{name[:8]}:{digest[:16]}"
