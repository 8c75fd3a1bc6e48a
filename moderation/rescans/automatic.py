"""Plans the comparison of what is hosted with entries that banks gained, where the operator allows it."""

import time
from collections.abc import Callable

from moderation.rescans.records import PlanSpec
from moderation.rescans.repository import RescanRepository
from moderation.rescans.service import RescanService

SETTLE = 60.0
"""Seconds for which a bank must be left alone, so that a long list is compared once."""

MARK = "banks"
"""`RescanPlan.schedule_id` of plans that are made here."""


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
        """Plan what is due; gives how many plans. The first time, all entries that are there are compared."""
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
