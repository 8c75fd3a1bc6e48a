"""Plans re-scans, follows them, and says beforehand what they would do."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.orm import Session

from moderation import audit, events
from moderation.database import Database
from moderation.errors import ConflictError, NotFoundError
from moderation.rescans.basis import difference
from moderation.rescans.paths import Path
from moderation.rescans.records import OPEN, DryRun, PlanSpec, PlanView
from moderation.rescans.repository import RescanRepository
from moderation.rescans.routing import Paths, Route
from moderation.rescans.worker import Worker, sampled
from moderation.reviews.intake import Intake
from moderation.tables import RescanFailure, RescanPlan, new_id, utc_now

log = structlog.get_logger(__name__)

SAMPLE = 500
"""Postings that a dry run judges, from several places of what is hosted."""

SHOWN = 20
"""Changes that a dry run shows."""


class RescanService:
    """Re-scans of tenants. `advance` is what a worker calls again and again, in any number of processes.

    ceiling: changed actions after which a plan that nobody asked for stops, 0 for none.
    """

    def __init__(
        self,
        database: Database,
        paths: Paths,
        *,
        shard: int | None = None,
        lease: float | None = None,
        intake: Intake | None = None,
        ceiling: int = 0,
    ) -> None:
        self.database = database
        self.ceiling = ceiling
        self.paths = paths
        self._left: set[str] = set()
        self.worker = Worker(database, paths.of, takes=self.takes, shard=shard, lease=lease, intake=intake)

    def takes(self, plan: RescanPlan) -> bool:
        """Whether this process may work on a plan. One that was made for other models or policies is left to others."""
        lacking = self.paths.lacks(plan)
        if lacking and plan.id not in self._left:
            log.warning("re-scan left to other processes", plan=plan.id, made_for=lacking)
        self._left |= {plan.id} if lacking else set()
        return not lacking

    def plan(self, tenant: str, spec: PlanSpec, *, actor: str) -> RescanPlan:
        """Plan a re-scan: it runs from now on, or whenever its schedule says. Raises InvalidRequestError, NotFoundError."""
        route = self.paths.route(spec, tenant)
        with self.database.write() as session:
            return self._add(session, self._new(session, tenant, spec, None), route, actor)

    def plan_once(self, tenant: str, spec: PlanSpec, *, mark: str) -> RescanPlan | None:
        """Plan for new entries of banks, unless another process did; None then. mark: by which such plans are known."""
        spec = replace(spec, max_changed=self.ceiling)
        route = self.paths.route(spec, tenant)
        with self.database.write() as session:
            repository = RescanRepository(session)
            repository.lock_banks(tenant)
            if repository.compared_entry(tenant, mark) >= spec.until_entry:
                return None
            return self._add(session, self._new(session, tenant, spec, mark), route, "palisade")

    def plan_marked(self, spec: PlanSpec, *, mark: str) -> list[RescanPlan]:
        """Plan for every tenant that hosts anything, unless another process did under the same mark. Raises as `plan`."""
        spec = replace(spec, max_changed=self.ceiling)
        with self.database.read() as session:
            tenants = RescanRepository(session).hosting()
        planned = []
        for tenant in tenants:
            route = self.paths.route(spec, tenant)
            with self.database.write() as session:
                repository = RescanRepository(session)
                repository.lock_tenant(tenant)
                if not repository.is_planned(tenant, mark):
                    planned.append(self._add(session, self._new(session, tenant, spec, mark), route, "palisade"))
        return planned

    def _add(self, session: Session, plan: RescanPlan, route: Route, actor: str) -> RescanPlan:
        """Plans of the same that were made for other models or policies end: nobody would work on them any more."""
        plan.path, plan.why = route.path, route.why
        plan.basis = self.paths.basis(PlanSpec.from_dict(plan.spec))
        for older in RescanRepository(session).running_like(plan):
            if older.basis and difference(older.basis, plan.basis):
                older.note = f"{plan.id} does the same with other models or policies."
                _enter(session, older, "cancelled", actor)
        session.add(plan)
        note = {"using": plan.spec["using"], "path": route.path, "images": plan.total}
        audit.record(session, plan.tenant_id, actor, "rescan.planned", plan.id, **note)
        return plan

    @staticmethod
    def _new(session: Session, tenant: str, spec: PlanSpec, schedule_id: str | None) -> RescanPlan:
        repository = RescanRepository(session)
        last = "" if spec.cron else repository.newest_scan(tenant)
        now = utc_now()
        return RescanPlan(
            id=new_id("rescan"),
            tenant_id=tenant,
            created_at=now,
            state="scheduled" if spec.cron else "running",
            spec=spec.as_dict(),
            last=last,
            frontier="",
            total=round(repository.count(tenant, spec, last) * spec.sample) if last else 0,
            done=0,
            changed=0,
            note="",
            next_at=spec.next_run(now) if spec.cron else None,
            schedule_id=schedule_id,
            started_at=None if spec.cron else now,
        )

    def advance(self, worker: str, *, seconds: float | None = None, plan_id: str = "") -> bool:
        """Work on a shard of a running plan of any tenant; gives whether there was work. See `Worker.advance`."""
        return self.worker.advance(worker, seconds=seconds, plan_id=plan_id)

    def work(self, worker: str, *, seconds: float) -> int:
        """Plan what is due by schedules, then work for about so many seconds; gives how many shards were worked on."""
        ends, shards = time.monotonic() + seconds, self.due()
        while (left := ends - time.monotonic()) > 0 and self.advance(worker, seconds=left):
            shards += 1
        return shards

    def has_work(self) -> bool:
        """Whether a plan of any tenant runs that this process may work on."""
        with self.database.read() as session:
            return any(self.takes(plan) for plan in RescanRepository(session).running())

    def due(self, *, now: datetime | None = None) -> int:
        """Plan the runs that schedules ask for; gives how many. A run that is still open is not planned over."""
        planned = 0
        with self.database.write() as session:
            repository = RescanRepository(session)
            now = now or repository.now()
            for schedule in repository.due(now):
                spec = PlanSpec.from_dict(schedule.spec)
                schedule.next_at = spec.next_run(now)
                if repository.has_open_run(schedule.id):
                    continue
                plan = self._new(session, schedule.tenant_id, spec.once, schedule.id)
                self._add(session, plan, Route(schedule.path, schedule.why), "palisade")
                planned += 1
        return planned

    def find(self, tenant: str, plan_id: str) -> PlanView:
        """Raises NotFoundError."""
        with self.database.read() as session:
            repository = RescanRepository(session)
            plan = found(repository.plan(tenant, plan_id), plan_id)
            return self._view(repository, plan)

    def plans(self, tenant: str, *, after: str = "", limit: int = 100) -> list[PlanView]:
        """The newest first."""
        with self.database.read() as session:
            repository = RescanRepository(session)
            plans = repository.plans(tenant, after=after, limit=limit)
            return [self._view(repository, plan) for plan in plans]

    def _view(self, repository: RescanRepository, plan: RescanPlan) -> PlanView:
        lacking = self.paths.lacks(plan) if plan.state == "running" else ""
        return PlanView(plan, repository.progress(plan), lacking)

    def failures(self, tenant: str, plan_id: str, *, after: str = "", limit: int = 100) -> Sequence[RescanFailure]:
        """Postings that could not be judged, those that are tried again among them. Raises NotFoundError."""
        with self.database.read() as session:
            repository = RescanRepository(session)
            found(repository.plan(tenant, plan_id), plan_id)
            return repository.failures(plan_id, after=after, limit=limit)

    def pause(self, tenant: str, plan_id: str, *, actor: str) -> RescanPlan:
        """Workers end the page they are at. Raises NotFoundError, ConflictError."""
        return self._change(tenant, plan_id, ("running",), "paused", actor=actor)

    def resume(self, tenant: str, plan_id: str, *, actor: str, max_changed: int | None = None) -> RescanPlan:
        """Go on where it was; max_changed: a new ceiling. Raises NotFoundError, ConflictError, InvalidRequestError."""

        def raised(plan: RescanPlan) -> None:
            plan.note = ""
            if max_changed is not None:
                spec = replace(PlanSpec.from_dict(plan.spec), max_changed=max_changed)
                plan.spec = spec.as_dict()

        return self._change(tenant, plan_id, ("paused", "stopped"), "running", actor=actor, also=raised)

    def cancel(self, tenant: str, plan_id: str, *, actor: str) -> RescanPlan:
        """End it for good; what was judged stays judged. Raises NotFoundError, ConflictError."""

        return self._change(tenant, plan_id, OPEN, "cancelled", actor=actor)

    def _change(
        self,
        tenant: str,
        plan_id: str,
        states: Sequence[str],
        state: str,
        *,
        actor: str,
        also: Callable[[RescanPlan], Any] = lambda _: None,
    ) -> RescanPlan:
        with self.database.write() as session:
            plan = found(RescanRepository(session).plan(tenant, plan_id, lock=True), plan_id)
            if plan.state not in states:
                raise ConflictError(
                    f"The re-scan {plan_id} is {plan.state}.", hint=f"This takes one that is {' or '.join(states)}."
                )
            also(plan)
            _enter(session, plan, state, actor)
        return plan

    def dry_run(self, tenant: str, spec: PlanSpec, *, sample: int = SAMPLE) -> DryRun:
        """Judge a sample, say what the plan would cost and change, and write nothing. Raises as `plan` does."""
        route = self.paths.route(spec, tenant)
        with self.database.read() as session:
            plan = self._new(session, tenant, spec.once, None)
            plan.path = route.path
        path = self.paths.of(plan)
        rows: list[Any] = []
        started = time.perf_counter()
        for start, end, limit in self._stretches(plan, path, sample):
            with self.database.read() as session:
                rows += path.read(session, start, end, limit)
        rows = list(sampled(rows, plan.id, spec.sample))
        judged = path.judge(rows) if rows else None
        each = (time.perf_counter() - started) / max(1, len(rows))
        acting = [change for change in judged.changes if change.acts] if judged else []
        return DryRun(
            route.path,
            route.why,
            plan.total,
            round(each * plan.total, 3),
            len(rows),
            len(acting),
            len(judged.failures) if judged else 0,
            tuple(change.as_dict() for change in acting[:SHOWN]),
        )

    def _stretches(self, plan: RescanPlan, path: Path, sample: int) -> list[tuple[str, str, int]]:
        """Stretches of scans that a sample is read from: at most ten, spread over the time in which they were made."""
        with self.database.read() as session:
            starts = RescanRepository(session).spread(plan.tenant_id, plan.last, 10)
        each = min(path.size, max(1, sample // max(1, len(starts))))
        ends = [*starts[1:], plan.last] if starts else []
        return [(start, end, each) for start, end in zip(starts, ends, strict=True)]


def _enter(session: Session, plan: RescanPlan, state: str, actor: str) -> None:
    """Bring a plan into another state, and say so."""
    plan.state = state
    if state == "cancelled":
        plan.ended_at, plan.next_at = utc_now(), None
    audit.record(session, plan.tenant_id, actor, f"rescan.{state}", plan.id)
    events.add(session, plan.tenant_id, f"rescan.{state}", {"plan": plan.id})


def found(plan: RescanPlan | None, plan_id: str) -> RescanPlan:
    """Raises NotFoundError."""
    if plan is None:
        raise NotFoundError(f"There is no re-scan {plan_id[:40]!r}.", hint="See `palisade rescans list`.")
    return plan
