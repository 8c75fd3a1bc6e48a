"""Writes what became of a page: new verdicts, events, failures and how far the shard is, in one transaction or not at all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from moderation import audit, events
from moderation.banks.matcher import matched_entries
from moderation.banks.service import note_matches
from moderation.rescans.judging import Anew, Change, Failed
from moderation.rescans.records import PlanSpec
from moderation.rescans.repository import MOST_VALUES, RescanRepository
from moderation.reviews.intake import Intake
from moderation.tables import Measurement, RescanFailure, RescanPlan, Scan, StoredImage, new_id, utc_now

PER_EVENT = 500
"""Changed verdicts that one event names."""

BACKOFF = (30, 300, 1_800, 7_200)
"""Seconds until a failed posting is tried again; after the last one it is given up, and listed."""


@dataclass(frozen=True)
class Judged:
    """What became of a page of postings. scanned: how many it had. anew: by scan, what was measured anew."""

    scanned: int
    changes: Sequence[Change] = ()
    failures: Sequence[Failed] = ()
    anew: Mapping[str, Anew] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """How many postings were judged, had another action, and were gone; stopped: whether the ceiling kept it from being written."""

    done: int = 0
    changed: int = 0
    gone: int = 0
    stopped: bool = False


class PageWriter:
    """Writes the effects of pages within a transaction of the caller's. intake: opens cases of changed verdicts that need one."""

    def __init__(self, session: Session, plan: RescanPlan, spec: PlanSpec, intake: Intake | None = None) -> None:
        self.session = session
        self.intake = intake
        self.repository = RescanRepository(session)
        self.plan = plan
        self.spec = spec
        self.tenant = plan.tenant_id
        self.insert = postgresql.insert if self.repository.postgres else sqlite.insert

    def write(self, judged: Judged, changed_before: int) -> Written:
        """Everything but the shard's own row. changed_before: changed actions of the plan so far, where it has a ceiling."""
        there = self._there([change.posting.image_id for change in judged.changes])
        newer = self._newer([change.posting.scan_id for change in judged.changes])
        changes = [c for c in judged.changes if c.posting.image_id in there and c.posting.scan_id not in newer]
        acts = sum(change.acts for change in changes)
        if self.spec.max_changed and changed_before + acts > self.spec.max_changed:
            return Written(stopped=True)
        gone = sum(change.posting.image_id not in there for change in judged.changes)
        measurements = self._measurements(judged.anew, {change.posting.scan_id for change in changes})
        if changes:
            self._scans(
                changes,
                {
                    scan_id: measurements[fresh.key]
                    for scan_id, fresh in judged.anew.items()
                    if fresh.key in measurements
                },
            )
        self._failures(judged.failures)
        return Written(judged.scanned - len(judged.failures) - gone, acts, gone)

    def _there(self, image_ids: Sequence[str]) -> set[str]:
        """Those images that are there, held until the transaction ends."""
        found: set[str] = set()
        for at in range(0, len(image_ids), MOST_VALUES):
            query = sa.select(StoredImage.id).where(StoredImage.id.in_(image_ids[at : at + MOST_VALUES]))
            found |= set(self.session.scalars(query.with_for_update(read=True, key_share=True)))
        return found

    def _newer(self, scan_ids: Sequence[str]) -> set[str]:
        """Those scans whose posting was scanned again since the plan was made: that verdict stands."""
        newer = aliased(Scan)
        found: set[str] = set()
        for at in range(0, len(scan_ids), MOST_VALUES):
            query = (
                sa.select(Scan.id)
                .join(newer, sa.and_(newer.image_id == Scan.image_id, newer.id > Scan.id))
                .where(newer.external_id == Scan.external_id, newer.surface == Scan.surface)
            )
            found |= set(self.session.scalars(query.where(Scan.id.in_(scan_ids[at : at + MOST_VALUES]))))
        return found

    def _scans(self, changes: Sequence[Change], measurements: Mapping[str, str]) -> None:
        """measurements: ids of new ones, by the scan that they replace the measurement of."""
        now, ids = utc_now(), [new_id("scan") for _ in changes]
        said = self._said([change.posting.scan_id for change in changes])
        rows = []
        for scan_id, change in zip(ids, changes, strict=True):
            measurement = measurements.get(change.posting.scan_id, change.posting.measurement_id)
            reach, consent = said[change.posting.scan_id]
            row = {"id": scan_id, "created_at": now, "tenant_id": self.tenant, "reach": reach, "consent": consent}
            rows.append({**row, **_scan(change, measurement)})
        self.session.execute(sa.insert(Scan), rows)
        for scan_id, change in zip(ids, changes, strict=True):
            if matched_entries(change.lookups):
                note_matches(self.session, self.tenant, change.posting.image_id, scan_id, change.lookups)
        acting = [(scan_id, change) for scan_id, change in zip(ids, changes, strict=True) if change.acts]
        self._tell([{**change.as_dict(), "scan": scan_id} for scan_id, change in acting])
        if self.intake:
            for scan in self._stored([scan_id for scan_id, _ in acting]):
                self.intake.take(self.session, self.tenant, scan)

    def _stored(self, scan_ids: Sequence[str]) -> Iterator[Scan]:
        """These scans, in order of their ids."""
        for at in range(0, len(scan_ids), MOST_VALUES):
            query = sa.select(Scan).where(Scan.id.in_(scan_ids[at : at + MOST_VALUES])).order_by(Scan.id)
            yield from self.session.scalars(query).all()

    def _said(self, scan_ids: Sequence[str]) -> dict[str, tuple[int, bool]]:
        """What the host said of scans' reach and consent, which goes on to hold."""
        found: dict[str, tuple[int, bool]] = {}
        for at in range(0, len(scan_ids), MOST_VALUES):
            query = sa.select(Scan.id, Scan.reach, Scan.consent).where(Scan.id.in_(scan_ids[at : at + MOST_VALUES]))
            found |= {scan_id: (reach, consent) for scan_id, reach, consent in self.session.execute(query)}
        return found

    def _tell(self, changes: Sequence[dict[str, Any]]) -> None:
        for at in range(0, len(changes), PER_EVENT):
            told = {"plan": self.plan.id, "changes": list(changes[at : at + PER_EVENT])}
            events.add(self.session, self.tenant, "verdict.changed", told)

    def _measurements(self, anew: Mapping[str, Anew], changed: set[str]) -> dict[tuple[str, str, str], str]:
        """Keep what was measured anew, over any that was there under the same digest; gives ids by `Anew.key`.

        What comes of stored values alone can be had again, and is kept only where a verdict rests on it.
        """
        wanted = {fresh.key: fresh for scan_id, fresh in anew.items() if fresh.keep or scan_id in changed}
        there = self._there([image_id for image_id, _, _ in wanted])
        kept = [fresh for fresh in wanted.values() if fresh.image_id in there]
        if not kept:
            return {}
        statement = self.insert(Measurement.__table__)  # type: ignore[arg-type]
        statement = statement.on_conflict_do_update(
            index_elements=["image_id", "models", "plan"], set_={"findings": statement.excluded.findings}
        )
        self.session.connection().execute(statement, [self._measurement(fresh) for fresh in kept])
        for fresh in kept:
            if fresh.image:
                filled = sa.update(StoredImage).where(StoredImage.id == fresh.image_id).values(dict(fresh.image))
                self.session.execute(filled.execution_options(synchronize_session=False))
        return self._ids(kept)

    def _measurement(self, fresh: Anew) -> dict[str, Any]:
        return {
            "id": new_id("msr"),
            "created_at": utc_now(),
            "tenant_id": self.tenant,
            "image_id": fresh.image_id,
            "models": fresh.models,
            "plan": fresh.plan,
            "findings": [finding.as_dict() for finding in fresh.findings],
            "timings": {},
            "warnings": [],
        }

    def _ids(self, kept: Sequence[Anew]) -> dict[tuple[str, str, str], str]:
        """Ids of measurements, by `Anew.key`: new ones, or those that were there."""
        ids: dict[tuple[str, str, str], str] = {}
        columns = (Measurement.image_id, Measurement.models, Measurement.plan, Measurement.id)
        for at in range(0, len(kept), MOST_VALUES):
            part = [fresh.image_id for fresh in kept[at : at + MOST_VALUES]]
            for image_id, models, plan, number in self.session.execute(
                sa.select(*columns).where(Measurement.image_id.in_(part))
            ):
                ids[image_id, models, plan] = number
        return ids

    def _failures(self, failures: Sequence[Failed]) -> None:
        if not failures:
            return
        now = self.repository.now()
        rows = [
            {
                "id": new_id("rfail"),
                "tenant_id": self.tenant,
                "created_at": now,
                "plan_id": self.plan.id,
                "scan_id": failure.scan_id,
                "code": failure.code[:40],
                "message": failure.message[:1_000],
                "attempts": 1,
                "next_at": again(failure, 1, now),
            }
            for failure in failures
        ]
        self.session.execute(sa.insert(RescanFailure), rows)


def _scan(change: Change, measurement: str) -> dict[str, Any]:
    verdict = change.verdict
    return {
        "image_id": change.posting.image_id,
        "measurement_id": measurement,
        "reused": True,
        "action": verdict.action,
        "policy": verdict.policy_name,
        "policy_version": verdict.policy_version,
        "policy_digest": verdict.policy_digest,
        "verdict": verdict.as_dict(),
        "lookups": [finding.as_dict() for finding in change.lookups],
        **change.posting.context,
    }


def again(failure: Failed, attempts: int, now: datetime) -> datetime | None:
    """When a failed posting is tried again after so many attempts, None for never."""
    if not failure.again or attempts > len(BACKOFF):
        return None
    return now + timedelta(seconds=BACKOFF[attempts - 1])


def stop(session: Session, plan: RescanPlan, spec: PlanSpec) -> None:
    """End a plan at its ceiling, until a person looks."""
    plan.state = "stopped"
    plan.note = f"More than {spec.max_changed:,} verdicts would change."
    audit.record(session, plan.tenant_id, "palisade", "rescan.stopped", plan.id, max_changed=spec.max_changed)
    events.add(session, plan.tenant_id, "rescan.stopped", {"plan": plan.id, "max_changed": spec.max_changed})
