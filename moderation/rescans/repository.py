"""SQL of re-scans: plans, their shards, and the postings that they judge."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from moderation.database import clock
from moderation.policy import Policy
from moderation.rescans.records import PlanSpec, Posting, Progress
from moderation.tables import (
    BankEntry,
    BankState,
    Measurement,
    PolicySeen,
    RescanFailure,
    RescanPlan,
    RescanShard,
    Scan,
    StoredImage,
    Tenant,
    new_id,
)
from moderation.tables.base import id_at, moment_of

SHARD = 20_000
"""Most scans of one shard, where they are judged from what is stored."""

MOST_VALUES = 500
"""Values of one `in`."""


class RescanRepository:
    """Reads and writes within one transaction. Plans are a tenant's; workers serve those of all tenants."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.postgres = session.get_bind().dialect.name == "postgresql"

    def now(self) -> datetime:
        """The database's clock: the same for all workers."""
        return clock(self.session)

    # plans

    def plan(self, tenant: str, plan_id: str, *, lock: bool = False) -> RescanPlan | None:
        query = sa.select(RescanPlan).where(RescanPlan.tenant_id == tenant, RescanPlan.id == plan_id)
        return self.session.scalar(query.with_for_update() if lock else query)

    def plans(self, tenant: str, *, after: str = "", limit: int = 100) -> Sequence[RescanPlan]:
        """A tenant's plans, the newest first."""
        query = sa.select(RescanPlan).where(RescanPlan.tenant_id == tenant)
        if after:
            query = query.where(RescanPlan.id < after)
        return self.session.scalars(query.order_by(RescanPlan.id.desc()).limit(limit)).all()

    def running(self) -> Sequence[RescanPlan]:
        """The running plans of all tenants, the oldest first."""
        query = sa.select(RescanPlan).where(RescanPlan.state == "running")
        return self.session.scalars(query.order_by(RescanPlan.id)).all()

    def running_like(self, plan: RescanPlan) -> Sequence[RescanPlan]:
        """Other running or paused plans of the tenant on the same subject, locked."""
        query = sa.select(RescanPlan).where(
            RescanPlan.tenant_id == plan.tenant_id,
            RescanPlan.state.in_(("running", "paused")),
            RescanPlan.id != plan.id,
        )
        subject = PlanSpec.from_dict(plan.spec).subject
        others = self.session.scalars(query.with_for_update())
        return [other for other in others if PlanSpec.from_dict(other.spec).subject == subject]

    def due(self, now: datetime) -> Sequence[RescanPlan]:
        """Scheduled plans whose next run is due, locked."""
        query = sa.select(RescanPlan).where(RescanPlan.state == "scheduled", RescanPlan.next_at <= now)
        return self.session.scalars(query.order_by(RescanPlan.id).with_for_update(skip_locked=True)).all()

    def has_open_run(self, schedule_id: str) -> bool:
        query = sa.select(RescanPlan.id).where(
            RescanPlan.schedule_id == schedule_id, RescanPlan.state.in_(("running", "paused", "stopped"))
        )
        return self.session.scalar(query.limit(1)) is not None

    def lock_plan(self, plan_id: str) -> RescanPlan:
        query = sa.select(RescanPlan).where(RescanPlan.id == plan_id).with_for_update()
        return self.session.scalars(query.execution_options(populate_existing=True)).one()

    def state(self, plan_id: str) -> str:
        """A plan's state as it is now."""
        return self.session.execute(sa.select(RescanPlan.state).where(RescanPlan.id == plan_id)).scalar_one()

    def is_uncut(self, plan: RescanPlan) -> bool:
        """Whether scans lie ahead of the frontier."""
        query = sa.select(Scan.id).where(
            Scan.tenant_id == plan.tenant_id, Scan.id > plan.frontier, Scan.id <= plan.last
        )
        return self.session.scalar(query.limit(1)) is not None

    def pace(self, plan_id: str, images: int, rate: float) -> float:
        """Reserve the time of so many images; gives seconds until it begins."""
        plan, now = self.lock_plan(plan_id), self.now()
        begins = max(now, min(plan.paced_until or now, now + timedelta(minutes=1)))  # a clock that jumped back
        plan.paced_until = begins + timedelta(seconds=images / rate)
        return (begins - now).total_seconds()

    def progress(self, plan: RescanPlan) -> Progress:
        sums = (RescanShard.done, RescanShard.changed, RescanShard.gone, RescanShard.seconds)
        counts = sa.select(sa.func.count(), *map(sa.func.sum, sums)).where(RescanShard.plan_id == plan.id)
        done, changed, gone, seconds = [value or 0 for value in self.session.execute(counts).one()[1:]]
        held = sa.select(sa.func.count()).where(
            RescanShard.plan_id == plan.id, RescanShard.state == "open", RescanShard.leased_until > self.now()
        )
        failed = sa.select(sa.func.count(RescanFailure.next_at), sa.func.count()).where(
            RescanFailure.plan_id == plan.id
        )
        waiting, failures = self.session.execute(failed).one()
        return Progress(
            plan.total,
            int(done) + plan.done,
            int(changed) + plan.changed,
            int(gone),
            waiting,
            failures - waiting,
            self.session.scalar(held) or 0,
            round((int(done) + int(gone)) / seconds, 1) if seconds else 0.0,
        )

    def lock_tenant(self, tenant: str) -> None:
        """Let no other process make marked plans of the tenant, until the transaction ends; scans go on."""
        self.session.execute(sa.select(Tenant.id).where(Tenant.id == tenant).with_for_update(key_share=True))

    def is_planned(self, tenant: str, mark: str) -> bool:
        """Whether the newest plan whose mark is the same up to its last colon has this very mark, be it open or ended."""
        kind = mark.rpartition(":")[0] + ":"
        query = sa.select(RescanPlan.schedule_id).where(
            RescanPlan.tenant_id == tenant, RescanPlan.schedule_id.startswith(kind, autoescape=True)
        )
        return self.session.scalar(query.order_by(RescanPlan.id.desc()).limit(1)) == mark

    def hosting(self) -> list[str]:
        """The tenants that host anything."""
        there = sa.exists().where(Scan.tenant_id == Tenant.id)
        return list(self.session.scalars(sa.select(Tenant.id).where(there).order_by(Tenant.id)))

    def is_changed(self, policy: Policy) -> bool:
        """Whether another text of a policy was seen before, of no higher version."""
        seen = self.session.get(PolicySeen, policy.name)
        return seen is not None and seen.digest != policy.digest and seen.version <= policy.version

    def saw(self, policy: Policy) -> None:
        """Note what a policy is, unless a newer version was seen."""
        insert = postgresql.insert if self.postgres else sqlite.insert
        row = {"version": policy.version, "digest": policy.digest, "changed_at": self.now()}
        statement = insert(PolicySeen).values(name=policy.name, **row)
        older = PolicySeen.version <= policy.version
        self.session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row, where=older))

    # shards

    def free_shard(self, plan_id: str, now: datetime, lease: timedelta) -> RescanShard | None:
        """A shard that nobody works on, locked. A lease that ends far too late is from a clock that jumped: it is none."""
        free = sa.or_(
            RescanShard.leased_until.is_(None),
            RescanShard.leased_until <= now,
            RescanShard.leased_until > now + 2 * lease,
        )
        query = sa.select(RescanShard).where(RescanShard.plan_id == plan_id, RescanShard.state == "open", free)
        return self.session.scalar(query.order_by(RescanShard.id).limit(1).with_for_update(skip_locked=True))

    def cut(self, plan_id: str, size: int) -> RescanShard | None:
        """The next shard, from the frontier on; None where everything is cut."""
        plan = self.lock_plan(plan_id)
        ahead = (
            sa.select(Scan.id)
            .where(Scan.tenant_id == plan.tenant_id, Scan.id > plan.frontier, Scan.id <= plan.last)
            .order_by(Scan.id)
            .limit(size)
            .subquery()
        )
        until = self.session.scalar(sa.select(sa.func.max(ahead.c.id)))
        if plan.state != "running" or until is None:
            return None
        shard = RescanShard(
            id=new_id("shard"),
            tenant_id=plan.tenant_id,
            plan_id=plan.id,
            state="open",
            cursor=plan.frontier,
            until=until,
            worker="",
            fence=0,
            done=0,
            changed=0,
            gone=0,
            seconds=0.0,
        )
        self.session.add(shard)
        plan.frontier = until
        return shard

    def has_open_shard(self, plan_id: str) -> bool:
        query = sa.select(RescanShard.id).where(RescanShard.plan_id == plan_id, RescanShard.state == "open")
        return self.session.scalar(query.limit(1)) is not None

    def move(self, shard_id: str, fence: int, values: dict[str, Any]) -> bool:
        """Change a shard, unless another worker has claimed it since; gives whether it was changed."""
        statement = sa.update(RescanShard).where(
            RescanShard.id == shard_id, RescanShard.fence == fence, RescanShard.state == "open"
        )
        result = self.session.execute(statement.values(values).execution_options(synchronize_session=False))
        return bool(result.rowcount)  # type: ignore[attr-defined]

    # failures

    def failures(self, plan_id: str, *, after: str = "", limit: int = 100) -> Sequence[RescanFailure]:
        query = sa.select(RescanFailure).where(RescanFailure.plan_id == plan_id, RescanFailure.id > after)
        return self.session.scalars(query.order_by(RescanFailure.id).limit(limit)).all()

    def take_failures(self, plan_id: str, now: datetime, lease: timedelta, limit: int) -> Sequence[RescanFailure]:
        """Failures that are due, each held by whoever takes them for the length of a lease."""
        query = sa.select(RescanFailure).where(RescanFailure.plan_id == plan_id, RescanFailure.next_at <= now)
        taken = self.session.scalars(
            query.order_by(RescanFailure.next_at).limit(limit).with_for_update(skip_locked=True)
        ).all()
        for failure in taken:
            failure.next_at, failure.attempts = now + lease, failure.attempts + 1
        return taken

    def held_failures(self, taken: Sequence[RescanFailure]) -> dict[str, RescanFailure]:
        """Those of the taken failures that nobody else has taken since, by scan, locked."""
        attempts = {failure.id: failure.attempts for failure in taken}
        query = sa.select(RescanFailure).where(RescanFailure.id.in_(list(attempts))).with_for_update()
        return {f.scan_id: f for f in self.session.scalars(query) if f.attempts == attempts[f.id]}

    def has_waiting_failure(self, plan_id: str) -> bool:
        query = sa.select(RescanFailure.id).where(RescanFailure.plan_id == plan_id, RescanFailure.next_at.is_not(None))
        return self.session.scalar(query.limit(1)) is not None

    # what is judged

    def newest_scan(self, tenant: str) -> str:
        query = sa.select(Scan.id).where(Scan.tenant_id == tenant).order_by(Scan.id.desc()).limit(1)
        return self.session.scalar(query) or ""

    def spread(self, tenant: str, last: str, parts: int) -> list[str]:
        """Ids between which about equal spans of time lie, from before the first scan on: ids begin with their moment."""
        first = self.session.scalar(sa.select(sa.func.min(Scan.id)).where(Scan.tenant_id == tenant))
        if not first or not last:
            return []
        low, high = moment_of(first), moment_of(last)
        return sorted({"", *(id_at(low + (high - low) * part // parts) for part in range(1, parts))})

    def newest_entry(self, tenant: str) -> int:
        return self.session.scalar(sa.select(sa.func.max(BankEntry.id)).where(BankEntry.tenant_id == tenant)) or 0

    def known_external_ids(self, tenant: str, external_ids: Sequence[str]) -> set[str]:
        """Those of these ids under which an image was scanned."""
        query = sa.select(Scan.external_id).where(Scan.tenant_id == tenant, Scan.external_id.in_(external_ids))
        return set(self.session.scalars(query.distinct()))

    def bank_states(self) -> list[tuple[str, int]]:
        """Of each tenant with banks, the sequence of changes."""
        rows = self.session.execute(sa.select(BankState.tenant_id, BankState.sequence).order_by(BankState.tenant_id))
        return [(row.tenant_id, row.sequence) for row in rows]

    def lock_banks(self, tenant: str) -> None:
        """Let no other process plan for the tenant's banks, until the transaction ends."""
        self.session.execute(sa.select(BankState.sequence).where(BankState.tenant_id == tenant).with_for_update())

    def compared_entry(self, tenant: str, mark: str) -> int:
        """The last bank entry that plans of a mark compared, or will."""
        query = sa.select(RescanPlan.spec).where(RescanPlan.tenant_id == tenant, RescanPlan.schedule_id == mark)
        spec = self.session.scalar(query.order_by(RescanPlan.id.desc()).limit(1))
        return int(spec["until_entry"]) if spec else 0

    def entries_since(self, tenant: str, entry: int) -> int:
        """How many entries of banks are newer than one."""
        query = sa.select(sa.func.count()).where(BankEntry.tenant_id == tenant, BankEntry.id > entry)
        return self.session.scalar(query) or 0

    def count(self, tenant: str, spec: PlanSpec, last: str) -> int:
        """Postings in a plan's scope, all of them where it takes a sample."""
        query = sa.select(sa.func.count()).select_from(Scan).where(*scope(tenant, spec, "", last, last))
        return self.session.scalar(query) or 0

    def page(self, columns: Sequence[Any], plan: RescanPlan, *, after: str, until: str, limit: int) -> list[Any]:
        """Rows of postings in a plan's scope, by scan: `columns` of scans, images and measurements."""
        spec = PlanSpec.from_dict(plan.spec)
        query = _joined(columns).where(*scope(plan.tenant_id, spec, after, until, plan.last))
        return list(self.session.execute(query.order_by(Scan.id).limit(limit)))

    def by_ids(self, columns: Sequence[Any], tenant: str, scan_ids: Sequence[str]) -> list[Any]:
        """Rows of postings by the id of their scan; those that are gone are left out."""
        rows: list[Any] = []
        for at in range(0, len(scan_ids), MOST_VALUES):
            wanted = Scan.id.in_(scan_ids[at : at + MOST_VALUES])
            rows += self.session.execute(_joined(columns).where(Scan.tenant_id == tenant, wanted).order_by(Scan.id))
        return rows

    def embeddings(self, tenant: str, image_ids: Collection[str]) -> dict[str, tuple[bytes, str]]:
        """Of those images that are embedded: the packed vectors, and which model made them."""
        found: dict[str, tuple[bytes, str]] = {}
        wanted, columns = sorted(image_ids), (StoredImage.id, StoredImage.embedding, StoredImage.embedding_model)
        for at in range(0, len(wanted), MOST_VALUES):
            query = sa.select(*columns).where(
                StoredImage.tenant_id == tenant,
                StoredImage.id.in_(wanted[at : at + MOST_VALUES]),
                StoredImage.embedding.is_not(None),
            )
            found |= {image_id: (packed or b"", model or "") for image_id, packed, model in self.session.execute(query)}
        return found

    def measured(self, image_id: str, models: str, plan: str) -> str | None:
        """Findings of an image under these models, JSON as text; None where it was not measured by them."""
        query = sa.select(self.text(Measurement.findings)).where(
            Measurement.image_id == image_id, Measurement.models == models, Measurement.plan == plan
        )
        return self.session.scalar(query)

    def postings(self, tenant: str, scan_ids: Sequence[str]) -> list[Posting]:
        """Whole postings by the id of their scan; those that are gone are left out."""
        return [Posting(*row) for row in self.by_ids(self.whole, tenant, scan_ids)]

    @property
    def whole(self) -> list[Any]:
        """The columns of a `Posting`."""
        scan = (Scan.id, Scan.image_id, Scan.action, Scan.policy, Scan.external_id, Scan.uploader, Scan.surface)
        image = (StoredImage.width, StoredImage.height, StoredImage.frames, StoredImage.size, StoredImage.format)
        texts = (self.text(Scan.verdict), self.text(Scan.lookups), self.text(Measurement.findings))
        measurement = (Measurement.id, Measurement.models, Measurement.plan)
        return [*scan, Scan.locale, *texts, *measurement, StoredImage.sha256, *image, StoredImage.probes]

    def text(self, column: Any) -> sa.ColumnElement[str]:
        """A JSON column as the text that it is stored as: it is read by a quicker parser."""
        return sa.cast(column, sa.Text) if self.postgres else sa.type_coerce(column, sa.Text)


def _joined(columns: Sequence[Any]) -> sa.Select[Any]:
    query = sa.select(*columns).select_from(Scan).join(StoredImage, StoredImage.id == Scan.image_id)
    return query.join(Measurement, Measurement.id == Scan.measurement_id)


def scope(tenant: str, spec: PlanSpec, after: str, until: str, last: str) -> list[sa.ColumnElement[bool]]:
    """Conditions of the scans in a plan's scope: the newest of each posting up to `last`, as far as the plan asks for it."""
    newer = aliased(Scan)
    superseded = sa.exists().where(
        newer.image_id == Scan.image_id,
        newer.id > Scan.id,
        newer.id <= last,
        newer.external_id == Scan.external_id,
        newer.surface == Scan.surface,
    )
    conditions = [Scan.tenant_id == tenant, Scan.id > after, Scan.id <= until, ~superseded]
    conditions += [Scan.created_at >= spec.since] if spec.since else []
    conditions += [Scan.surface == spec.surface] if spec.surface else []
    conditions += [Scan.action == spec.action] if spec.action else []
    return conditions
