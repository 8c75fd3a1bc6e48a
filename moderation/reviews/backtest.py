"""Tries a draft policy on what was scanned: which verdicts would be others."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from detectors.base import Finding
from moderation.database import Database
from moderation.errors import InvalidRequestError
from moderation.policy import Policy, Vocabulary
from moderation.policy.loader import load_policy
from moderation.policy.verdict import ACTIONS, RANK
from moderation.scans.service import stored_facts
from moderation.tables import Scan

PAGE = 500
SAMPLES = 12
"""Scans that are named for each change."""

MOST_SCANS = 100_000

Change = tuple[str, str]


@dataclass(frozen=True)
class Sample:
    """A scan whose verdict would be another, with the rules behind both, and the first rule's reason of each."""

    scan: str
    sha256: str
    rules_before: tuple[str, ...]
    rules_after: tuple[str, ...]
    why_before: str = ""
    why_after: str = ""


@dataclass
class Backtest:
    """scans: that were judged again. counts: by action before and after, those that stay the same too. samples: of each change.

    stricter, milder: how many would be. truncated: whether the period held more scans than are judged at once.
    rules: how often each of the draft's rules fired. unmeasured: scans on which a rule of the draft could not be decided.
    """

    policy: str
    scans: int = 0
    counts: Counter[Change] = field(default_factory=Counter)
    samples: dict[Change, list[Sample]] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)
    unmeasured: int = 0
    truncated: bool = False

    @property
    def changed(self) -> int:
        return sum(count for (before, after), count in self.counts.items() if before != after)

    @property
    def stricter(self) -> int:
        return sum(count for (before, after), count in self.counts.items() if _rank(after) > _rank(before))

    @property
    def milder(self) -> int:
        return sum(count for (before, after), count in self.counts.items() if _rank(after) < _rank(before))

    def as_dict(self) -> dict[str, Any]:
        """JSON values: a list of changes in the order of actions."""
        order = sorted(self.counts, key=lambda change: (_rank(change[0]), _rank(change[1])))
        return {
            "policy": self.policy,
            "scans": self.scans,
            "changed": self.changed,
            "stricter": self.stricter,
            "milder": self.milder,
            "unmeasured": self.unmeasured,
            "truncated": self.truncated,
            "rules": dict(sorted(self.rules.items())),
            "counts": [{"from": change[0], "to": change[1], "scans": self.counts[change]} for change in order],
            "samples": [
                {
                    "from": change[0],
                    "to": change[1],
                    "scan": sample.scan,
                    "sha256": sample.sha256,
                    "rules_before": list(sample.rules_before),
                    "rules_after": list(sample.rules_after),
                }
                for change in order
                for sample in self.samples.get(change, [])
            ],
        }


class BacktestService:
    """Judges stored findings under a draft. Nothing is measured, and nothing is changed."""

    def __init__(self, database: Database, vocabulary: Vocabulary) -> None:
        self.database = database
        self.vocabulary = vocabulary

    def run(self, tenant: str, draft: str, since: datetime, until: datetime, *, most: int = MOST_SCANS) -> Backtest:
        """A draft (the YAML of a policy) on the scans of a period. Raises PolicyError, InvalidRequestError.

        A cascade may have left measurements out that the draft asks for: such scans are counted as `unmeasured`.
        """
        if since >= until:
            raise InvalidRequestError("The period ends before it begins.", hint="Give an earlier `since`.")
        policy = load_policy(draft, file="draft", vocabulary=self.vocabulary)
        result = Backtest(policy.name)
        for scan in self._scans(tenant, since, until, most + 1):
            if result.scans == most:
                result.truncated = True
                break
            judge(result, policy, scan)
        return result

    def _scans(self, tenant: str, since: datetime, until: datetime, most: int) -> Iterator[Scan]:
        after, left = "", most
        while left:
            query = sa.select(Scan).where(
                Scan.tenant_id == tenant, Scan.created_at >= since, Scan.created_at < until, Scan.id > after
            )
            with self.database.read() as session:
                page = session.scalars(query.order_by(Scan.id).limit(min(PAGE, left))).all()
            if not page:
                return
            yield from page
            after, left = page[-1].id, left - len(page)


def judge(result: Backtest, policy: Policy, scan: Scan) -> None:
    """Judge a scan under the draft, and count what that makes of it."""
    findings = [Finding.from_dict(values) for values in scan.findings]
    context = {name: getattr(scan, name) for name in ("external_id", "uploader", "surface", "locale")}
    verdict = policy.decide(findings, context, stored_facts(scan.image))
    change = (scan.action, verdict.action)
    result.scans += 1
    result.counts[change] += 1
    result.rules.update(reason.rule for reason in verdict.reasons)
    result.unmeasured += bool(verdict.undecided)
    samples = result.samples.setdefault(change, []) if scan.action != verdict.action else None
    if samples is not None and len(samples) < SAMPLES:
        after = tuple(reason.rule for reason in verdict.reasons)
        whys = (
            _why([reason["reason"] for reason in scan.verdict["reasons"]]),
            _why([r.reason for r in verdict.reasons]),
        )
        samples.append(Sample(scan.id, scan.image.sha256, _rules(scan.verdict), after, *whys))


def _rules(verdict: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(reason["rule"] for reason in verdict["reasons"])


def _why(reasons: Sequence[str]) -> str:
    return reasons[0] if reasons else ""


def _rank(action: str) -> int:
    return RANK.get(action, len(ACTIONS))  # type: ignore[call-overload, no-any-return]
