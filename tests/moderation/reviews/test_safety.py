"""What may be seen, and how much of it. On both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from moderation.database import Database
from moderation.errors import ForbiddenError, InvalidRequestError, NotFoundError, RateLimitError
from moderation.reviews.harms import HARMS
from moderation.reviews.records import ReviewRules
from moderation.reviews.safety import ReviewerSafety, safer, team_display
from moderation.reviews.service import ReviewService
from moderation.tables import AuditRecord, Reveal, utc_now
from tests.moderation.reviews.conftest import ANNA, BEN, LEAD, SENIOR, MakeScan, listed


def test_known_child_abuse_is_shown_to_nobody(make_scan: MakeScan, safety: ReviewerSafety) -> None:
    scan, case = make_scan("a", listed("child_abuse"))
    assert case is not None

    display = safety.display(SENIOR, case)
    assert not display.shown
    assert display.steps
    for who in (ANNA, LEAD):
        with pytest.raises(ForbiddenError):
            safety.display(who, case)
        with pytest.raises((NotFoundError, ForbiddenError)):
            safety.reveal(who, case.id, scan.image.sha256, "whole")
    with pytest.raises(ForbiddenError, match="not shown"):
        safety.reveal(SENIOR, case.id, scan.image.sha256, "part")


@pytest.mark.parametrize("harm", HARMS)
def test_personal_settings_are_only_ever_safer(harm: str) -> None:
    team = team_display(harm)
    looser = {"blur": 0, "grey": False, "small": False, "hover": True, "whole": True}
    tighter = {"blur": 60, "grey": True, "small": True, "hover": False, "whole": False}

    assert safer(team, looser) == team
    strict = safer(team, tighter)
    assert (strict.blur, strict.grey, strict.small, strict.hover, strict.whole) == (
        max(60, team.blur),
        True,
        True,
        False,
        False,
    )
    assert strict.shown == team.shown
    assert not strict.autoplay


def test_personal_settings_are_kept_and_enforced(make_scan: MakeScan, safety: ReviewerSafety) -> None:
    scan, case = make_scan("a")
    assert case is not None
    safety.set_display(ANNA, {"blur": 50, "whole": False})

    assert safety.display(ANNA, case).blur == 50
    assert safety.display(BEN, case).blur == 16
    with pytest.raises(ForbiddenError):
        safety.reveal(ANNA, case.id, scan.image.sha256, "whole")
    assert safety.reveal(ANNA, case.id, scan.image.sha256, "part").uncovered == 1


@pytest.mark.parametrize("chosen", [{"blur": -1}, {"blur": True}, {"blur": "9"}, {"grey": 1}, {"autoplay": True}])
def test_unfit_settings_are_refused(safety: ReviewerSafety, chosen: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError):
        safety.set_display(ANNA, chosen)


def test_every_reveal_is_logged_and_too_many_force_a_break(
    make_scan: MakeScan, database: Database, rules: ReviewRules, queue: ReviewService
) -> None:
    few = replace(rules, exposures=2)
    safety, queue = ReviewerSafety(database, few), ReviewService(database, few)
    scan, case = make_scan("a")
    assert case is not None
    for _ in range(2):
        safety.reveal(ANNA, case.id, scan.image.sha256, "part")
    with pytest.raises(RateLimitError, match="A break until") as rest:
        safety.reveal(ANNA, case.id, scan.image.sha256, "part")

    assert rest.value.retry_after == 600
    with pytest.raises(RateLimitError):
        queue.claim(ANNA)
    assert queue.claim(BEN) is not None
    exposure = safety.exposure(ANNA)
    assert (exposure.rest_why, exposure.limit) == ("break", 2)
    after = utc_now() + timedelta(minutes=11)
    assert safety.reveal(ANNA, case.id, scan.image.sha256, "part", now=after).uncovered == 1
    with database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Reveal)) == 3


def test_stopping_gives_every_case_back_at_once(
    make_scan: MakeScan, safety: ReviewerSafety, queue: ReviewService, database: Database
) -> None:
    make_scan("a")
    make_scan("b")
    held = {claim.case.id for _ in range(2) if (claim := queue.claim(ANNA))}

    until = safety.stop_now(ANNA)
    assert until > utc_now()
    given = [queue.claim(BEN) for _ in range(2)]
    assert {claim.case.id for claim in given if claim} == held
    with pytest.raises(RateLimitError):
        queue.claim(ANNA)
    with database.read() as session:
        assert "reviewer.stop" in set(session.scalars(sa.select(AuditRecord.action)))


def test_what_is_revealed_must_be_of_the_case(make_scan: MakeScan, safety: ReviewerSafety) -> None:
    _, case = make_scan("a")
    assert case is not None

    with pytest.raises(NotFoundError):
        safety.reveal(ANNA, case.id, "0" * 64, "part")
    with pytest.raises(InvalidRequestError, match="everything"):
        safety.reveal(ANNA, case.id, "0" * 64, "everything")
    with pytest.raises(ForbiddenError):
        safety.reveal(LEAD, case.id, "0" * 64, "part")
