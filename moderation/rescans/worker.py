"""Works plans: claims a shard, judges it page by page, writes each page with all its effects in one transaction."""

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from moderation import audit, events
from moderation.database import Database
from moderation.rescans.commit import Judged, PageWriter, Written, again, stop
from moderation.rescans.paths import Path
from moderation.rescans.records import PlanSpec
from moderation.rescans.repository import RescanRepository
from moderation.reviews.intake import Intake
from moderation.tables import RescanFailure, RescanPlan, RescanShard

log = structlog.get_logger(__name__)

PARTS = 32
"""Shards that a plan has at least, as far as pages are not cut for it: so many workers find work in it."""

LONGEST_PAUSE = 5.0
"""Seconds that a worker sleeps at once to keep a plan's rate."""


@dataclass(frozen=True)
class Claim:
    """A shard that this worker may work on for as long as its fence is the latest."""

    plan: RescanPlan
    shard_id: str
    fence: int
    cursor: str
    until: str


@dataclass(frozen=True)
class PageDone:
    """A page that was judged. cursor: the last scan of it. took: seconds. ended, over: whether it is the shard's last, or the
    worker's time is up."""

    judged: Judged
    cursor: str
    took: float
    ended: bool
    over: bool


class Worker:
    """Works on the plans of all tenants. Several processes may, side by side.

    path_of: the path of a plan. takes: whether this process may work on it. shard: scans of one, None for what suits the plan. lease: seconds that a claim holds, None for
    what the path says.
    """

    def __init__(
        self,
        database: Database,
        path_of: Callable[[RescanPlan], Path],
        *,
        takes: Callable[[RescanPlan], bool] = lambda _: True,
        shard: int | None = None,
        lease: float | None = None,
        intake: Intake | None = None,
    ) -> None:
        self.database = database
        self.intake = intake
        self.path_of = path_of
        self.takes = takes
        self.shard = shard
        self.lease = lease
        self._paths: dict[str, Path] = {}

    def advance(self, name: str, *, seconds: float | None = None, plan_id: str = "") -> bool:
        """Claim a shard and work through it, for about so many seconds; gives whether there was work.

        plan_id: only of this plan. What is interrupted is taken up by the next claim where the last whole page ended.
        """
        ends = None if seconds is None else time.monotonic() + seconds
        with self.database.read() as session:
            plans = RescanRepository(session).running()
        mine = (plan for plan in plans if plan_id in ("", plan.id) and self.takes(plan))
        return any(self._advance(plan, name, ends) for plan in mine)

    def _advance(self, plan: RescanPlan, name: str, ends: float | None) -> bool:
        path = self._paths.get(plan.id)
        if path is None:
            self._paths = {plan.id: self.path_of(plan)}
            path = self._paths[plan.id]
        lease = timedelta(seconds=self.lease or path.lease_seconds)
        claim = self._claim(plan, name, lease)
        if claim:
            self._work(claim, path, lease, ends)
            return True
        return self._retry(plan, path, lease) or self._finish(plan)

    def _claim(self, plan: RescanPlan, name: str, lease: timedelta) -> Claim | None:
        size = self.shard or shard_size(plan.total, self._paths[plan.id])
        with self.database.write() as session:
            repository = RescanRepository(session)
            now = repository.now()
            if not PlanSpec.from_dict(plan.spec).open_at(now):
                return None
            shard = repository.free_shard(plan.id, now, lease) or repository.cut(plan.id, size)
            if shard is None:
                return None
            shard.fence += 1
            shard.worker, shard.leased_until = name[:100], now + lease
        return Claim(plan, shard.id, shard.fence, shard.cursor, shard.until)

    def _work(self, claim: Claim, path: Path, lease: timedelta, ends: float | None) -> None:
        spec, cursor = PlanSpec.from_dict(claim.plan.spec), claim.cursor
        limit = min(path.size, max(1, int(spec.rate * LONGEST_PAUSE))) if spec.rate else path.size
        while True:
            started = time.monotonic()
            with self.database.read() as session:
                rows = path.read(session, cursor, claim.until, limit)
            wanted = sampled(rows, claim.plan.id, spec.sample)
            paused = self._keep_pace(claim, spec, len(wanted), ends)
            if paused is None:
                self._release(claim)
                return
            judged = path.judge(wanted) if wanted else Judged(0)
            page = PageDone(
                judged,
                claim.until if len(rows) < limit else rows[-1][0],
                time.monotonic() - started - paused,
                ended=len(rows) < limit,
                over=ends is not None and time.monotonic() >= ends,
            )
            cursor = page.cursor
            if not self._write(claim, spec, page, lease) or page.ended or page.over:
                return

    def _keep_pace(self, claim: Claim, spec: PlanSpec, images: int, ends: float | None) -> float | None:
        """Wait as the plan's rate asks; gives how long, None where that is longer than this worker may take."""
        if not spec.rate or not images:
            return 0.0
        with self.database.write() as session:
            wait = RescanRepository(session).pace(claim.plan.id, images, spec.rate)
        if ends is not None and time.monotonic() + wait > ends:
            wait = max(0.0, ends - time.monotonic())
            if wait > LONGEST_PAUSE:
                return None
        time.sleep(wait)
        return wait

    def _release(self, claim: Claim) -> None:
        with self.database.write() as session:
            RescanRepository(session).move(claim.shard_id, claim.fence, {"leased_until": None})

    def _write(self, claim: Claim, spec: PlanSpec, page: PageDone, lease: timedelta) -> bool:
        """Write a page with all its effects; gives whether to go on with the shard."""
        with self.database.write() as session:
            repository = RescanRepository(session)
            plan = repository.lock_plan(claim.plan.id) if spec.max_changed else claim.plan
            before = repository.progress(plan).changed if spec.max_changed else 0
            state = repository.state(claim.plan.id)
            now = repository.now()
            held = {"leased_until": None if page.ended or page.over or state != "running" else now + lease}
            if state == "cancelled" or not repository.move(claim.shard_id, claim.fence, held):
                return False
            written = PageWriter(session, plan, spec, self.intake).write(page.judged, before)
            if written.stopped:
                stop(session, repository.lock_plan(plan.id), spec)
                repository.move(claim.shard_id, claim.fence, {"leased_until": None})
                return False
            repository.move(claim.shard_id, claim.fence, _counted(written, page))
        return state == "running" and spec.open_at(now)

    def _retry(self, plan: RescanPlan, path: Path, lease: timedelta) -> bool:
        """Try failed postings again that are due."""
        with self.database.write() as session:
            repository = RescanRepository(session)
            if repository.state(plan.id) != "running":
                return False
            taken = {f.scan_id: f for f in repository.take_failures(plan.id, repository.now(), lease, path.size)}
        if not taken:
            return False
        with self.database.read() as session:
            postings = RescanRepository(session).postings(plan.tenant_id, sorted(taken))
        judged = path.judge_whole(postings)
        with self.database.write() as session:
            self._write_retried(RescanRepository(session), plan, taken, judged)
        return True

    def _write_retried(
        self, repository: RescanRepository, plan: RescanPlan, taken: dict[str, RescanFailure], judged: Judged
    ) -> None:
        """The failures that are still held by this worker are gone, or wait for their next try."""
        plan, spec = repository.lock_plan(plan.id), PlanSpec.from_dict(plan.spec)
        held = repository.held_failures(list(taken.values()))
        failed = {failure.scan_id: failure for failure in judged.failures if failure.scan_id in held}
        mine = Judged(
            len(held) - len(failed),
            [change for change in judged.changes if change.posting.scan_id in held],
            [],
            {scan_id: fresh for scan_id, fresh in judged.anew.items() if scan_id in held},
        )
        written = PageWriter(repository.session, plan, spec, self.intake).write(mine, repository.progress(plan).changed)
        if written.stopped:
            stop(repository.session, plan, spec)
            return
        for scan_id, failure in held.items():
            if scan_id in failed:
                failure.code, failure.message = failed[scan_id].code, failed[scan_id].message
                failure.next_at = again(failed[scan_id], failure.attempts, repository.now())
            else:
                repository.session.delete(failure)
        plan.done, plan.changed = plan.done + written.done, plan.changed + written.changed

    def _finish(self, plan: RescanPlan) -> bool:
        """Nothing was left to take: is the plan done? It was no work in any case."""
        with self.database.write() as session:
            repository = RescanRepository(session)
            plan = repository.lock_plan(plan.id)
            open_still = repository.has_open_shard(plan.id) or repository.has_waiting_failure(plan.id)
            if plan.state != "running" or open_still or repository.is_uncut(plan):
                return False
            plan.state, plan.ended_at = "done", repository.now()
            told = {"plan": plan.id, **repository.progress(plan).as_dict()}
            events.add(session, plan.tenant_id, "rescan.done", told)
            audit.record(session, plan.tenant_id, "palisade", "rescan.done", plan.id)
        log.info("re-scan done", **told)
        return False


def shard_size(total: int, path: Path) -> int:
    """Scans of a shard of a plan of so many postings: whole pages."""
    pages = -(-total // (PARTS * path.size))
    return min(path.shard, max(1, pages) * path.size)


def _counted(written: Written, page: PageDone) -> dict[str, Any]:
    """A shard's row after one page more."""
    shard = RescanShard
    return {
        "cursor": page.cursor,
        "state": "done" if page.ended else "open",
        "done": shard.done + written.done,
        "changed": shard.changed + written.changed,
        "gone": shard.gone + written.gone,
        "seconds": shard.seconds + page.took,
    }


def sampled(rows: Sequence[Any], plan_id: str, share: float) -> Sequence[Any]:
    """The rows that a plan's sample takes: the same ones each time."""
    if share >= 1:
        return rows
    return [row for row in rows if zlib.crc32(f"{plan_id}/{row[0]}".encode()) < share * (1 << 32)]
