"""Back-tests of drafts on what was scanned. On both databases."""

from datetime import timedelta

import pytest

from detectors.base import Finding
from detectors.registry import DETECTORS
from moderation.database import Database
from moderation.errors import InvalidRequestError, PolicyError
from moderation.policy import Vocabulary
from moderation.reviews.backtest import BacktestService
from moderation.tables import DEFAULT_TENANT, utc_now
from tests.moderation.reviews.conftest import MakeScan, explicit

DRAFT = """
name: draft
version: 1
description: A draft that blocks what is surely explicit.
keep: none
on_error: allow
on_skipped: allow
rules:
  - name: surely-explicit
    when: nsfw.fpr <= 0.0001
    action: block
    reason: Explicit.
examples:
  - name: explicit is blocked
    findings: {nsfw: {fpr: 0.00005}}
    action: block
    rules: [surely-explicit]
"""

DAY = timedelta(days=1)


@pytest.fixture
def backtests(database: Database) -> BacktestService:
    return BacktestService(database, Vocabulary.of(DETECTORS))


def test_a_draft_is_judged_on_what_was_measured(make_scan: MakeScan, backtests: BacktestService) -> None:
    sure, _ = make_scan("sure", explicit(fpr=0.00005, score=0.99))
    likely, _ = make_scan("likely", explicit(fpr=0.001))
    make_scan("plain", explicit(fpr=0.9, score=0.1))
    make_scan("unmeasured", Finding("nsfw", "nsfw", status="failed", reason="no model"))

    result = backtests.run(DEFAULT_TENANT, DRAFT, utc_now() - DAY, utc_now() + DAY).as_dict()
    assert (result["scans"], result["policy"], result["unmeasured"], result["truncated"]) == (4, "draft", 1, False)
    assert {"from": sure.action, "to": "block", "scans": 1} in result["counts"]
    assert {"from": likely.action, "to": "allow", "scans": 1} in result["counts"]
    assert {"from": "allow", "to": "allow", "scans": 1} in result["counts"]
    assert (result["changed"], result["stricter"], result["milder"]) == (3, 1, 2)
    sample = next(sample for sample in result["samples"] if sample["to"] == "block")
    assert (sample["scan"], sample["rules_after"]) == (sure.id, ["surely-explicit"])
    assert result["rules"] == {"surely-explicit": 1}


def test_only_the_period_counts_and_not_more_than_asked(make_scan: MakeScan, backtests: BacktestService) -> None:
    for name in "abc":
        make_scan(name)

    past = backtests.run(DEFAULT_TENANT, DRAFT, utc_now() - 2 * DAY, utc_now() - DAY)
    assert past.scans == 0
    some = backtests.run(DEFAULT_TENANT, DRAFT, utc_now() - DAY, utc_now() + DAY, most=2)
    assert (some.scans, some.truncated) == (2, True)


def test_a_broken_draft_or_period_is_refused(backtests: BacktestService) -> None:
    with pytest.raises(PolicyError, match="draft"):
        backtests.run(DEFAULT_TENANT, DRAFT.replace("nsfw.fpr", "nsfw.fp"), utc_now() - DAY, utc_now())
    with pytest.raises(InvalidRequestError, match="before it begins"):
        backtests.run(DEFAULT_TENANT, DRAFT, utc_now(), utc_now() - DAY)
