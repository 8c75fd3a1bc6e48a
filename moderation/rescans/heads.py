"""A new head on stored embeddings: thousands of images at once, and only those whose verdict may change are looked at whole."""

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json
from sqlalchemy.orm import Session

from detectors.base import Finding
from detectors.heads import DIMENSIONS, EmbeddingHead
from moderation.errors import ModerationError
from moderation.policy.grouping import Grouping
from moderation.rescans.commit import Judged
from moderation.rescans.judging import Anew, Failed, Judge, derived_models
from moderation.rescans.paths import Path, judged
from moderation.rescans.records import PlanSpec
from moderation.rescans.repository import SHARD, Posting, RescanRepository
from moderation.tables import Measurement, RescanPlan, Scan, StoredImage

DERIVED = frozenset(("present", "count", "score", "fpr"))
"""What a policy reads of a label that its score and its `fpr` say."""

DECODER = json.JSONDecoder()

FLOATS = 2 * DIMENSIONS
"""Bytes of an embedding."""


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
        findings = repository.text(Measurement.findings)
        columns = (
            Scan.id,
            Scan.policy,
            Scan.policy_digest,
            findings,
            StoredImage.embedding,
            StoredImage.embedding_model,
        )
        return [Embedded(*row) for row in repository.page(columns, self.plan, after=after, until=until, limit=limit)]

    def judge(self, rows: Sequence[Embedded]) -> Judged:
        reads = self.heads[0].reads
        scored = [row for row in rows if row.embedding and row.model == reads]
        lacking = [row.scan_id for row in rows if not (row.embedding and row.model == reads)]
        suspects = self._suspects(scored) if scored else []
        whole = self._judge_suspects(suspects)
        rest = self._lacking(lacking)
        return Judged(
            len(rows),
            [*whole.changes, *rest.changes],
            [*whole.failures, *rest.failures],
            {**whole.anew, **rest.anew},
        )

    def judge_whole(self, postings: Sequence[Posting]) -> Judged:
        with self._judge.lookup.matcher.database.read() as session:
            rows = self._rows(session, [posting.scan_id for posting in postings])
        return self.judge(rows)

    def _rows(self, session: Session, scan_ids: Sequence[str]) -> list[Embedded]:
        repository = RescanRepository(session)
        findings = repository.text(Measurement.findings)
        columns = (
            Scan.id,
            Scan.policy,
            Scan.policy_digest,
            findings,
            StoredImage.embedding,
            StoredImage.embedding_model,
        )
        return [Embedded(*row) for row in repository.by_ids(columns, self.plan.tenant_id, scan_ids)]

    def _suspects(self, rows: Sequence[Embedded]) -> list[tuple[Embedded, list[Finding]]]:
        """Postings whose verdict may change, with what the heads find."""
        worst = [self._worst(head, rows) for head in self.heads]
        readers: dict[tuple[str, str], list[_Reader] | None] = {}
        suspects = []
        for i, row in enumerate(rows):
            key = (row.policy, row.policy_digest)
            if key not in readers:
                readers[key] = self._readers(row, worst)
            of_policy = readers[key]
            if of_policy is None or not all(reader.same(row.findings, i) for reader in of_policy):
                suspects.append((row, [w.finding(row, i) for w in worst]))
        return suspects

    def _readers(self, row: Embedded, worst: "Sequence[_Worst]") -> "list[_Reader] | None":
        """How its policy reads each head; None where it reads more than scores, or is not the one that judged it."""
        try:
            policy = self._judge.policy(self.spec.policy or row.policy)
        except ModerationError:
            return None  # judged whole, which says what is wrong with it
        if policy.digest != row.policy_digest:
            return None
        grouping = self._judge.grouping(policy)
        readers = [_Reader.of(grouping, scores) for scores in worst]
        return None if None in readers else [reader for reader in readers if reader]

    @staticmethod
    def _worst(head: EmbeddingHead, rows: Sequence[Embedded]) -> "_Worst":
        packed = [row.embedding or b"" for row in rows]
        vectors = np.frombuffer(b"".join(packed), np.float16).reshape(-1, DIMENSIONS)
        scores = head.scores(vectors)
        ends = np.cumsum([len(blob) // FLOATS for blob in packed])
        if len(scores) == len(rows):
            best = np.arange(len(rows))
        else:
            starts = [0, *ends[:-1]]
            best = np.array(
                [start + int(np.argmax(scores[start:end])) for start, end in zip(starts, ends, strict=True)]
            )
        chosen = scores[best]
        first = np.concatenate([[0], ends[:-1]])
        return _Worst(head, chosen, head.fprs(chosen), best - first)

    def _judge_suspects(self, suspects: Sequence[tuple[Embedded, list[Finding]]]) -> Judged:
        found = {row.scan_id: fresh for row, fresh in suspects}
        with self._judge.lookup.matcher.database.read() as session:
            postings = RescanRepository(session).postings(self.plan.tenant_id, list(found))
        anew = {posting.scan_id: self._anew(posting, found[posting.scan_id]) for posting in postings}
        return judged(self._judge, self.plan.tenant_id, postings, self.spec, anew)

    def _anew(self, posting: Posting, fresh: Sequence[Finding]) -> Anew:
        names = {head.name: f"{head.version} {head.model}" for head in self.heads}
        kept = [Finding.from_dict(f) for f in from_json(posting.findings) if f["detector"] not in names]
        return Anew(posting.image_id, (*kept, *fresh), derived_models(posting.models, names), posting.plan)

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


class _Worst(NamedTuple):
    """Of each image the score of its worst frame, its `fpr`, and which frame that is."""

    head: EmbeddingHead
    score: NDArray[np.float64]
    fpr: NDArray[np.float64]
    frame: NDArray[np.int64]

    def finding(self, row: Embedded, i: int) -> Finding:
        """The head's finding of an image; the frames of an animation are numbered as its stored hashes are."""
        frames = [f["frame"] for f in from_json(row.findings) if f["label"] == "pdq" and f["detector"] == "signals"]
        place = int(self.frame[i])
        return self.head.found(float(self.score[i]), float(self.fpr[i]), frames[place] if place < len(frames) else None)


class _Reader(NamedTuple):
    """How a policy reads the label of a head: only by its score and `fpr`. new: what it sees of the new ones, image by image.

    start: how the head's finding begins where JSON is stored as it was written.
    """

    grouping: Grouping
    detector: str
    label: str
    members: tuple[str, ...]
    new: Sequence[tuple[Hashable, ...]]
    start: str

    @classmethod
    def of(cls, grouping: Grouping, worst: _Worst) -> "_Reader | None":
        name, label = worst.head.name, worst.head.labels[0].name
        read = [member for variable, member in grouping.chains if variable == label]
        if not DERIVED.issuperset(read):
            return None
        members = tuple(member for member in ("score", "fpr") if member in read)
        values = {"score": worst.score.tolist(), "fpr": worst.fpr.tolist()}
        sides = [[grouping.side(label, member, value) for value in values[member]] for member in members]
        start = f'{{"detector": "{name}", "label": "{label}", '
        return cls(grouping, name, label, members, list(zip(*sides, strict=True)), start)

    def same(self, findings: str, i: int) -> bool:
        """Whether the policy cannot tell the head's new finding of an image from the stored one."""
        old = self._stored(findings)
        if old is None or old["status"] != "ok" or old["score"] is None or old["fpr"] is None:
            return False
        if not self.members:
            return True
        return self.new[i] == tuple([self.grouping.side(self.label, member, old[member]) for member in self.members])

    def _stored(self, findings: str) -> Mapping[str, Any] | None:
        """The head's stored finding. Cut out of the text where it can be: no text in JSON holds a bare quotation mark."""
        at = findings.find(self.start)
        if at >= 0:
            found: Mapping[str, Any] = DECODER.raw_decode(findings, at)[0]
            return found
        whole = from_json(findings)
        return next((f for f in whole if f["label"] == self.label and f["detector"] == self.detector), None)
