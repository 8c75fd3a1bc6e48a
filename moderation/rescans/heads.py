"""A new head on stored embeddings: thousands of images at once, and only those whose verdict may change are looked at whole."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from detectors.heads import EmbeddingHead
from moderation.errors import ModerationError
from moderation.rescans.commit import Judged
from moderation.rescans.judging import Failed, Judge
from moderation.rescans.paths import Path, judged
from moderation.rescans.records import PlanSpec, Posting
from moderation.rescans.repository import SHARD, RescanRepository
from moderation.rescans.scoring import Reader, Scored, stored
from moderation.tables import Measurement, RescanPlan, Scan, StoredImage


class Embedded(NamedTuple):
    """A posting, as far as a head needs it. findings: JSON as text."""

    scan_id: str
    policy: str
    policy_digest: str
    findings: str
    embedding: bytes | None
    model: str | None


class HeadPath:
    """Scores stored embeddings. Where the policy cannot tell a new score from the old one, nothing more is looked at.

    other: takes postings whose embedding is missing or of another model, None where nothing can.
    """

    size = 5_000
    shard = SHARD
    lease_seconds = 60.0

    def __init__(self, plan: RescanPlan, judge: Judge, heads: Sequence[EmbeddingHead], other: Path | None) -> None:
        self.plan = plan
        self.spec = PlanSpec.from_dict(plan.spec)
        self._judge = judge
        self.heads = heads
        self.other = other

    def read(self, session: Session, after: str, until: str, limit: int) -> Sequence[Embedded]:
        repository = RescanRepository(session)
        columns = self._columns(repository)
        return [Embedded(*row) for row in repository.page(columns, self.plan, after=after, until=until, limit=limit)]

    @staticmethod
    def _columns(repository: RescanRepository) -> list[Any]:
        findings = repository.text(Measurement.findings)
        image = (StoredImage.embedding, StoredImage.embedding_model)
        return [Scan.id, Scan.policy, Scan.policy_digest, findings, *image]

    def judge(self, rows: Sequence[Embedded]) -> Judged:
        reads = self.heads[0].reads
        scored = [row for row in rows if row.embedding and row.model == reads]
        lacking = [row.scan_id for row in rows if not (row.embedding and row.model == reads)]
        whole = self._judge_whole(self._suspects(scored)) if scored else Judged(0)
        rest = self._lacking(lacking) if lacking else Judged(0)
        return Judged(
            len(rows),
            [*whole.changes, *rest.changes],
            [*whole.failures, *rest.failures],
            {**whole.anew, **rest.anew},
        )

    def judge_whole(self, postings: Sequence[Posting]) -> Judged:
        with self._judge.lookup.matcher.database.read() as session:
            repository = RescanRepository(session)
            scan_ids = [posting.scan_id for posting in postings]
            rows = repository.by_ids(self._columns(repository), self.plan.tenant_id, scan_ids)
        return self.judge([Embedded(*row) for row in rows])

    def _suspects(self, rows: Sequence[Embedded]) -> list[str]:
        """Scans of postings whose verdict may change."""
        scores = [Scored.of(head, [row.embedding or b"" for row in rows]) for head in self.heads]
        readers: dict[tuple[str, str], list[tuple[EmbeddingHead, Reader]] | None] = {}
        suspects = []
        for i, row in enumerate(rows):
            key = (row.policy, row.policy_digest)
            if key not in readers:
                readers[key] = self._readers(row, scores)
            of_policy = readers[key]
            if of_policy is None or not all(reader.same(stored(head, row.findings), i) for head, reader in of_policy):
                suspects.append(row.scan_id)
        return suspects

    def _readers(self, row: Embedded, scores: Sequence[Scored]) -> list[tuple[EmbeddingHead, Reader]] | None:
        """How its policy reads each head; None where it reads more than scores, or is not the one that judged it."""
        try:
            policy = self._judge.policy(self.spec.policy or row.policy)
        except ModerationError:
            return None  # judged whole, which says what is wrong with it
        if policy.digest != row.policy_digest:
            return None
        grouping = self._judge.grouping(policy)
        readers = [(scored.head, reader) for scored in scores if (reader := Reader.of(grouping, scored))]
        return readers if len(readers) == len(scores) else None

    def _judge_whole(self, scan_ids: Sequence[str]) -> Judged:
        """These postings, by what the heads find."""
        with self._judge.lookup.matcher.database.read() as session:
            postings = RescanRepository(session).postings(self.plan.tenant_id, scan_ids)
        return judged(self._judge, self.plan.tenant_id, postings, self.spec)

    def _lacking(self, scan_ids: Sequence[str]) -> Judged:
        """Postings without an embedding that the heads read."""
        if self.other is None:
            message = (
                f"Its embedding is not of {self.heads[0].reads}. Give the plan a source, so that images can be read."
            )
            return Judged(len(scan_ids), (), [Failed(scan_id, "no_embedding", message) for scan_id in scan_ids])
        with self._judge.lookup.matcher.database.read() as session:
            postings = RescanRepository(session).postings(self.plan.tenant_id, scan_ids)
        return self.other.judge_whole(postings)
