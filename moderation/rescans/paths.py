"""The cheapest path that is exact: what of each posting has to be looked at for a plan, and what need not."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy.orm import Session

from moderation.rescans.commit import Judged
from moderation.rescans.judging import Anew, Change, Failed, Judge
from moderation.rescans.records import PlanSpec, Posting
from moderation.rescans.refresh import refreshed
from moderation.rescans.repository import SHARD, RescanRepository
from moderation.tables import RescanPlan


class Path(Protocol):
    """Works pages of a plan.

    size: postings of a page. shard: most scans of a shard, some minutes' work. lease_seconds: more than a page takes.
    """

    size: int
    shard: int
    lease_seconds: float

    def read(self, session: Session, after: str, until: str, limit: int) -> Sequence[Any]:
        """The next postings of the plan's scope: the id of its scan is the first column of each."""

    def judge(self, rows: Sequence[Any]) -> Judged:
        """What becomes of them. Outside of any transaction."""

    def judge_whole(self, postings: Sequence[Posting]) -> Judged:
        """The same of whole postings: those that failed before."""


class PolicyPath:
    """Judges stored findings anew."""

    size = 2_000
    shard = SHARD
    lease_seconds = 60.0

    def __init__(self, plan: RescanPlan, judge: Judge) -> None:
        self.plan = plan
        self.spec = PlanSpec.from_dict(plan.spec)
        self._judge = judge

    def read(self, session: Session, after: str, until: str, limit: int) -> Sequence[Posting]:
        repository = RescanRepository(session)
        rows = repository.page(repository.whole, self.plan, after=after, until=until, limit=limit)
        return [Posting(*row) for row in rows]

    def judge(self, rows: Sequence[Posting]) -> Judged:
        return self.judge_whole(rows)

    def judge_whole(self, postings: Sequence[Posting]) -> Judged:
        return judged(self._judge, self.plan.tenant_id, postings, self.spec)


def judged(
    judge: Judge, tenant: str, postings: Sequence[Posting], spec: PlanSpec, anew: Mapping[str, Anew] | None = None
) -> Judged:
    """Whole postings, judged by the heads in service. anew: what of them was measured for it, by scan."""
    known = refreshed(judge, tenant, postings, spec, anew or {})
    outcomes = judge.judge(tenant, postings, policy=spec.policy, anew=known)
    return Judged(
        len(postings),
        [outcome for outcome in outcomes if isinstance(outcome, Change)],
        [outcome for outcome in outcomes if isinstance(outcome, Failed)],
        known,
    )
