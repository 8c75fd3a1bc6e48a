"""New entries of banks against stored hashes: only images that one of them may match are looked at whole."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.orm import Session

from moderation.banks.index import Hashes
from moderation.banks.matcher import DIGESTS
from moderation.rescans.commit import Judged
from moderation.rescans.joining import within
from moderation.rescans.judging import Judge
from moderation.rescans.lookup import RADII
from moderation.rescans.paths import judged
from moderation.rescans.probes import Page, pack
from moderation.rescans.records import PlanSpec, Posting
from moderation.rescans.repository import SHARD, RescanRepository
from moderation.tables import BankEntry, Measurement, RescanPlan, Scan, StoredImage

MOST_ENTRIES = 200_000
"""New entries that are compared one by one; beyond, stored findings are looked up in the indexes."""


class Hashed(NamedTuple):
    """A posting, as far as lists need it. findings: JSON as text, where its probes were not packed when it was scanned."""

    scan_id: str
    sha256: str
    probes: bytes | None
    findings: str | None


class NewEntries:
    """Entries of a tenant's banks that are newer than one: what images may be near any of them."""

    def __init__(self, digests: Mapping[str, frozenset[bytes]], hashes: Mapping[str, Hashes]) -> None:
        self.digests = digests
        self.hashes = hashes

    @classmethod
    def read(cls, session: Session, tenant: str, spec: PlanSpec) -> "NewEntries":
        query = sa.select(BankEntry.kind, BankEntry.value).where(
            BankEntry.tenant_id == tenant, BankEntry.id > spec.since_entry
        )
        if spec.until_entry:
            query = query.where(BankEntry.id <= spec.until_entry)
        values: dict[str, list[bytes]] = {kind: [] for kind in (*DIGESTS, *RADII)}
        for kind, value in session.execute(query.order_by(BankEntry.id)):
            values[kind].append(value)
        sizes = {"pdq": 32, "phash": 8}
        return cls(
            {kind: frozenset(values[kind]) for kind in DIGESTS},
            {kind: np.frombuffer(b"".join(values[kind]), np.uint8).reshape(-1, sizes[kind]) for kind in RADII},
        )

    def near(self, page: Page) -> list[int]:
        """Numbers of the images of a page that may match: all that do, and few others."""
        found = {
            image
            for kind, known in self.digests.items()
            if known
            for image, value in enumerate(page.digests(kind))
            if value in known
        }
        for kind, radius in RADII.items():
            hashes, owners = page.hashes(kind)
            if len(hashes) and len(self.hashes[kind]):
                found |= set(owners[within(hashes, self.hashes[kind], radius)].tolist())
        return sorted(found)


class BankPath:
    """Compares stored hashes with new entries, and judges anew what may match one."""

    size = 20_000
    shard = SHARD
    lease_seconds = 60.0

    def __init__(self, plan: RescanPlan, judge: Judge, entries: NewEntries) -> None:
        self.plan = plan
        self.spec = PlanSpec.from_dict(plan.spec)
        self._judge = judge
        self.entries = entries

    def read(self, session: Session, after: str, until: str, limit: int) -> Sequence[Hashed]:
        repository = RescanRepository(session)
        unpacked = sa.case((StoredImage.probes.is_(None), repository.text(Measurement.findings)))
        columns = (Scan.id, StoredImage.sha256, StoredImage.probes, unpacked)
        return [Hashed(*row) for row in repository.page(columns, self.plan, after=after, until=until, limit=limit)]

    def judge(self, rows: Sequence[Hashed]) -> Judged:
        packed = [row.probes or (pack(from_json(row.findings)) if row.findings else None) for row in rows]
        near = self.entries.near(Page.of([row.sha256 for row in rows], packed))
        with self._judge.lookup.matcher.database.read() as session:
            postings = RescanRepository(session).postings(self.plan.tenant_id, [rows[i].scan_id for i in near])
        whole = self.judge_whole(postings)
        return Judged(len(rows), whole.changes, whole.failures, whole.anew)

    def judge_whole(self, postings: Sequence[Posting]) -> Judged:
        return judged(self._judge, self.plan.tenant_id, postings, self.spec)
