"""Heads in service, where what is stored was found by others: postings are judged by the heads of now, whatever a plan is for.

A plan for a new head writes only postings whose verdict it changes, so that the others keep the older head's finding. Whoever
judges those again, under another policy or by new entries of lists, scores the stored embedding first.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from pydantic_core import from_json

from detectors.base import Finding
from detectors.heads import EmbeddingHead
from moderation.errors import ModelError, ModerationError
from moderation.policy import Policy
from moderation.rescans.judging import Anew, Judge, derived_models
from moderation.rescans.records import PlanSpec, Posting
from moderation.rescans.repository import RescanRepository
from moderation.rescans.scoring import Reader, Scored, stored
from moderation.scanner import Scanner

log = structlog.get_logger(__name__)

Embedding = tuple[bytes, str]
"""Packed vectors, and `name@digest` of the model that made them."""


class Stale(NamedTuple):
    """A posting whose finding of a head is another model's, or missing. old: that finding."""

    posting: Posting
    policy: Policy
    old: Mapping[str, Any] | None


def refreshed(
    judge: Judge, tenant: str, postings: Sequence[Posting], spec: PlanSpec, anew: Mapping[str, Anew]
) -> dict[str, Anew]:
    """What is known anew of postings, by scan, with what heads in service find where their policy can tell the difference.

    spec: heads that it names score anew whatever is stored. anew: what was measured already. An image whose embedding is
    missing, or of another backbone, keeps what is stored.
    """
    known = dict(anew)
    heads = heads_of(judge.scanner)
    policies = _policies(judge, postings, spec.policy) if heads else {}
    for head in heads:
        stale = _stale(head, postings, policies, known, named=head.name in spec.detectors)
        embeddings = _embeddings(judge, tenant, stale, known) if stale else {}
        readable = [one for one in stale if embeddings.get(one.posting.scan_id, (b"", ""))[1] == head.reads]
        if readable:
            _score(judge, head, readable, embeddings, known)
    return known


def heads_of(scanner: Scanner) -> list[EmbeddingHead]:
    """The heads that can be loaded."""
    found = []
    for cls in scanner.classes:
        if issubclass(cls, EmbeddingHead):
            try:
                found.append(scanner.detector(cls.name))
            except ModelError as error:
                log.warning("head not loaded", head=cls.name, reason=error.message)
    return [head for head in found if isinstance(head, EmbeddingHead)]


def _policies(judge: Judge, postings: Sequence[Posting], name: str) -> dict[str, Policy]:
    """By scan. One that cannot be loaded is left out: judging says what is wrong with it."""
    loaded: dict[str, Policy | None] = {}
    for posting in postings:
        wanted = name or posting.policy
        if wanted not in loaded:
            try:
                loaded[wanted] = judge.policy(wanted)
            except ModerationError:
                loaded[wanted] = None
    chosen = {posting.scan_id: loaded[name or posting.policy] for posting in postings}
    return {scan_id: policy for scan_id, policy in chosen.items() if policy}


def _stale(
    head: EmbeddingHead,
    postings: Sequence[Posting],
    policies: Mapping[str, Policy],
    known: Mapping[str, Anew],
    *,
    named: bool,
) -> list[Stale]:
    """Only what a head measured names its model."""
    stale, mark = [], f'"model": {json.dumps(head.model)}'
    distinct = {policy.digest: policy for policy in policies.values()}
    reads = {digest for digest, policy in distinct.items() if head.name in policy.needs}
    for posting in postings:
        policy = policies.get(posting.scan_id)
        if policy is None or policy.digest not in reads:
            continue
        anew = known.get(posting.scan_id)
        if anew is None and (named or mark not in posting.findings):
            stale.append(Stale(posting, policy, stored(head, posting.findings)))
        elif anew is not None and not any(f.detector == head.name and f.model == head.model for f in anew.findings):
            old = next((f.as_dict() for f in anew.findings if f.detector == head.name), None)
            stale.append(Stale(posting, policy, old))
    return stale


def _embeddings(judge: Judge, tenant: str, stale: Sequence[Stale], known: Mapping[str, Anew]) -> dict[str, Embedding]:
    """Of the images of these postings that were embedded, by scan: as they are embedded anew, or as it is stored."""
    with judge.lookup.matcher.database.read() as session:
        kept = RescanRepository(session).embeddings(tenant, {one.posting.image_id for one in stale})
    found: dict[str, Embedding] = {}
    for one in stale:
        fresh = known.get(one.posting.scan_id)
        image = (fresh.image if fresh else None) or {}
        embedding = (image.get("embedding"), image.get("embedding_model"))
        packed, model = embedding if all(embedding) else kept.get(one.posting.image_id, (None, None))
        if packed and model:
            found[one.posting.scan_id] = packed, model
    return found


def _score(
    judge: Judge,
    head: EmbeddingHead,
    stale: Sequence[Stale],
    embeddings: Mapping[str, Embedding],
    known: dict[str, Anew],
) -> None:
    """Put what the head finds into `known`, where a policy can tell it from what is stored."""
    scored = Scored.of(head, [embeddings[one.posting.scan_id][0] for one in stale])
    readers: dict[str, Reader | None] = {}
    for i, (posting, policy, old) in enumerate(stale):
        if policy.digest not in readers:
            readers[policy.digest] = Reader.of(judge.grouping(policy), scored)
        reader = readers[policy.digest]
        if reader is None or not reader.same(old, i):
            known[posting.scan_id] = _with(head, scored, i, posting, known.get(posting.scan_id))


def _with(head: EmbeddingHead, scored: Scored, i: int, posting: Posting, anew: Anew | None) -> Anew:
    """All that is known of a posting's image, the head's finding the new one."""
    findings = [f.as_dict() for f in anew.findings] if anew else from_json(posting.findings)
    others = tuple(Finding.from_dict(values) for values in findings if values["detector"] != head.name)
    models = derived_models(anew.models if anew else posting.models, {head.name: f"{head.version} {head.model}"})
    plan, image, keep = (anew.plan, anew.image, anew.keep) if anew else (posting.plan, None, False)
    return Anew(posting.image_id, (*others, scored.finding(i, findings)), models, plan, image, keep)
