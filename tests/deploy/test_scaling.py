"""The figures of deploy/scaling.md are those that its arithmetic gives."""

import pytest

from tests.deploy.conftest import DEPLOY
from tests.load.scaling import Prices, derived, measured, rounded, row, serial, speedup, table

PAGE = (DEPLOY / "scaling.md").read_text()


def test_the_page_has_the_table_that_is_derived() -> None:
    assert [line for line in table(measured(), Prices()) if line not in PAGE] == []


def test_the_page_says_what_uploads_and_workers_take() -> None:
    figures = derived(measured(), Prices())

    assert f"{figures['uploads']['cores_mean']} cores on average" in PAGE
    assert f"{figures['uploads']['cores_peak']:.0f} cores for a peak" in PAGE
    for two, others in figures["workers"].items():
        assert f"| {two} | {' | '.join(str(count) for count in others)} |" in PAGE
    for name, gigabytes in figures["gb_of_a_shard_at_100m_hashes"].items():
        assert f"{gigabytes:g} GB" in PAGE, name
    for size in figures["sizes"][1:]:
        assert f"{rounded(size['sweep_hours'])} h and {rounded(size['sweep_gb'])} GB" in PAGE


def test_prices_are_yours() -> None:
    once, twice = (row(1_000_000, 2, measured(), Prices(each, 0.1)) for each in (0.04, 0.08))

    assert twice["scan_dollars"] == pytest.approx(2 * once["scan_dollars"])


def test_workers_that_wait_for_each_other_are_never_more_than_one_over_their_share() -> None:
    assert serial(2.0) == 0
    assert speedup(64, 2.0) == 64
    assert serial(1.8) == pytest.approx(1 / 9)
    assert speedup(2, 1.8) == pytest.approx(1.8)
    assert speedup(10_000, 1.8) < 9
