"""Decisions: four eyes, blind samples, golden cases, undo, and what the host is told. On both databases."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from moderation.database import Database
from moderation.errors import ConflictError, ForbiddenError, InvalidRequestError
from moderation.reviews.deciding import DecisionService
from moderation.reviews.figures import FiguresService
from moderation.reviews.intake import sampled
from moderation.reviews.records import Choice, ReviewRules, effect_of
from moderation.reviews.service import ReviewService
from moderation.reviews.training import TrainingService
from moderation.roles import Person
from moderation.storage import ImageStore
from moderation.tables import DEFAULT_TENANT, Decision, Event, ReviewCase, utc_now
from tests.moderation.reviews.conftest import ANNA, BEN, CARA, LEAD, SENIOR, MakeScan, explicit, likeness, listed

UPHOLD = Choice("uphold", clause="likeness 2.1")
OVERTURN = Choice("overturn", reason="Somebody else.")
LATER = timedelta(hours=1)

Decide = Callable[..., Decision]


@pytest.fixture
def decide(queue: ReviewService, desk: DecisionService) -> Decide:
    """Takes a case and decides on it."""

    def act(who: Person, case: ReviewCase | None, choice: Choice, **when: Any) -> Decision:
        assert case is not None
        return desk.decide(who, case.id, queue.take(who, case.id, **when).case.token, choice, **when)

    return act


def events(database: Database) -> list[tuple[str, dict[str, Any]]]:
    with database.read() as session:
        rows = session.scalars(sa.select(Event).order_by(Event.id)).all()
    return [(event.kind, event.payload) for event in rows]


@pytest.mark.parametrize(
    ("outcome", "clause", "reason", "why"),
    [
        ("delete", "x", "x", "not an outcome"),
        ("uphold", " ", "x", "needs a clause"),
        ("overturn", "x", "", "needs a reason"),
        ("uphold", "x" * 201, "", "at most 200"),
        ("overturn", "", "x" * 2_001, "at most 2,000"),
        ("overturn", "", "a\0b", "NUL"),
    ],
)
def test_an_unfit_decision_is_refused(outcome: str, clause: str, reason: str, why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why):
        Choice(outcome, clause, reason)


@pytest.mark.parametrize(
    ("outcome", "actions", "effect"),
    [
        ("uphold", ["hold"], "block"),
        ("uphold", ["restrict"], "restrict"),
        ("uphold", ["restrict", "hold"], "block"),
        ("overturn", ["block"], "allow"),
        ("restrict", ["hold"], "restrict"),
        ("block", ["restrict"], "block"),
        ("escalate", ["hold"], ""),
    ],
)
def test_what_an_outcome_means_for_the_image(outcome: str, actions: list[str], effect: str) -> None:
    assert effect_of(outcome, actions) == effect


def test_a_block_on_likeness_takes_two_people_each_by_themselves(
    make_scan: MakeScan, queue: ReviewService, decide: Decide
) -> None:
    _, case = make_scan("a", explicit(), likeness())
    assert case is not None
    decide(ANNA, case, UPHOLD)

    waiting = queue.show(BEN, case.id)
    assert waiting.case.state == "second"
    assert waiting.decisions == []  # unseen by whoever decides next
    assert queue.claim(ANNA) is None
    with pytest.raises(ForbiddenError, match="decided on this case before"):
        queue.take(ANNA, case.id)
    decide(BEN, case, Choice("block", clause="likeness 2.1"))
    done = queue.show(BEN, case.id)
    assert (done.case.state, done.case.effect, len(done.decisions)) == ("decided", "block", 2)


def test_overturning_a_likeness_takes_one(make_scan: MakeScan, queue: ReviewService, decide: Decide) -> None:
    _, case = make_scan("a", explicit(), likeness())
    decide(ANNA, case, OVERTURN)

    assert case is not None
    assert queue.show(ANNA, case.id).case.state == "decided"


def test_where_two_disagree_a_senior_ends_it(make_scan: MakeScan, queue: ReviewService, decide: Decide) -> None:
    _, case = make_scan("a", explicit(), likeness())
    assert case is not None
    decide(ANNA, case, UPHOLD)
    decide(BEN, case, OVERTURN)

    disputed = queue.show(SENIOR, case.id)
    assert (disputed.case.state, disputed.case.tier, disputed.case.disputed) == ("open", "senior", True)
    assert queue.claim(CARA) is None
    decide(SENIOR, case, UPHOLD)
    assert queue.show(SENIOR, case.id).case.effect == "block"


def test_a_sample_of_cases_is_decided_twice_always_the_same_ones() -> None:
    ids = [f"case_{number}" for number in range(2_000)]

    chosen = [name for name in ids if sampled(name, 0.1)]
    assert 150 < len(chosen) < 250
    assert chosen == [name for name in ids if sampled(name, 0.1)]
    assert not any(sampled(name, 0.0) for name in ids)
    assert all(sampled(name, 1.0) for name in ids)


def test_undo_gives_the_case_back_and_the_host_never_hears(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService, database: Database, decide: Decide
) -> None:
    _, case = make_scan("a")
    assert case is not None
    decide(ANNA, case, UPHOLD)
    assert desk.release() == 0
    with pytest.raises(ConflictError, match="not yours"):
        desk.undo(BEN, case.id)

    again = desk.undo(ANNA, case.id)
    assert (again.state, again.holder, again.token, again.outcome) == ("open", "anna", 2, None)
    assert desk.release(now=utc_now() + LATER) == 0
    assert events(database) == []
    desk.decide(ANNA, case.id, 2, OVERTURN)
    assert desk.release(now=utc_now() + LATER) == 1
    ((kind, said),) = events(database)
    assert (kind, said["outcome"], said["action"], said["images"][0]["was"]) == (
        "case.decided",
        "overturn",
        "allow",
        "restrict",
    )


def test_undo_ends_with_its_window_and_with_the_next_persons_look(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService, decide: Decide
) -> None:
    _, alone = make_scan("a")
    _, shared = make_scan("b", explicit(), likeness())
    assert alone is not None
    assert shared is not None
    decide(ANNA, alone, UPHOLD)
    with pytest.raises(ConflictError, match="for 15 seconds"):
        desk.undo(ANNA, alone.id, now=utc_now() + timedelta(seconds=16))

    decide(ANNA, shared, UPHOLD)
    queue.take(BEN, shared.id)
    with pytest.raises(ConflictError, match="Another person looks"):
        desk.undo(ANNA, shared.id)


def test_undoing_the_second_decision_leaves_the_first(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService, decide: Decide
) -> None:
    _, case = make_scan("a", explicit(), likeness())
    assert case is not None
    decide(ANNA, case, UPHOLD)
    decide(BEN, case, OVERTURN)

    back = desk.undo(BEN, case.id)
    assert (back.state, back.tier, back.disputed, back.holder) == ("second", "reviewer", False, "ben")
    desk.decide(BEN, case.id, back.token, UPHOLD)
    assert queue.show(ANNA, case.id).case.state == "decided"


def test_one_decision_is_told_for_every_copy_and_not_who_made_it(
    make_scan: MakeScan, desk: DecisionService, database: Database, decide: Decide
) -> None:
    base = bytes(range(32))
    make_scan("a", explicit(), pdq=base, external_id="one")
    _, case = make_scan("b", explicit(), pdq=base, external_id="two")
    decide(ANNA, case, Choice("block", clause="4.2", reason="Explicit."))
    desk.release(now=utc_now() + LATER)

    ((_, said),) = events(database)
    assert [image["external_ids"] for image in said["images"]] == [["one"], ["two"]]
    assert (said["action"], said["clause"], said["reason"]) == ("block", "4.2", "Explicit.")
    assert "anna" not in str(said)


def test_a_closed_case_is_opened_again_by_seniors_and_the_host_is_told(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService, database: Database, decide: Decide
) -> None:
    _, case = make_scan("a")
    assert case is not None
    decide(ANNA, case, UPHOLD)
    with pytest.raises(ConflictError, match="is decided"):
        queue.reopen(SENIOR, case.id, "Wrong.")
    desk.release(now=utc_now() + LATER)

    with pytest.raises(ForbiddenError):
        queue.reopen(ANNA, case.id, "Wrong.")
    queue.reopen(SENIOR, case.id, "A mistake of ours.")
    decide(SENIOR, case, OVERTURN)
    desk.release(now=utc_now() + LATER)
    assert [kind for kind, _ in events(database)] == ["case.decided", "case.reopened", "case.decided"]


def test_golden_cases_score_each_reviewer_and_change_nothing(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService, database: Database, decide: Decide
) -> None:
    scan, case = make_scan("a")
    decide(ANNA, case, UPHOLD)
    desk.release(now=utc_now() + LATER)
    for who, answer in ((ANNA, "uphold"), (LEAD, "escalate")):
        with pytest.raises((ForbiddenError, InvalidRequestError)):
            queue.add_golden(who, scan.id, answer, "Known.")
    golden = queue.add_golden(LEAD, scan.id, "overturn", "A painting, as three people agreed.")

    decide(ANNA, golden, OVERTURN)
    decide(BEN, golden, UPHOLD)
    assert queue.claim(ANNA) is None
    assert desk.release(now=utc_now() + LATER) == 0
    assert [kind for kind, _ in events(database)] == ["case.decided"]
    figures = FiguresService(database).figures(DEFAULT_TENANT, utc_now() - LATER, utc_now() + LATER)
    scores = {who.reviewer: (who.golden, who.golden_right) for who in figures.reviewers}
    assert scores == {"anna": (1, 1), "ben": (1, 0)}
    assert figures.queues == []  # a golden case is nobody's work
    queue.end_golden(LEAD, golden.id)
    assert queue.claim(CARA) is None


def test_only_what_the_host_let_be_used_trains_detectors(
    make_scan: MakeScan, desk: DecisionService, database: Database, decide: Decide
) -> None:
    _, kept = make_scan("kept", consent=False)
    _, used = make_scan("used", consent=True)
    _, grave = make_scan("grave", listed("child_abuse"), consent=True)
    decide(ANNA, kept, UPHOLD)
    decide(ANNA, used, OVERTURN)
    decide(SENIOR, grave, UPHOLD)
    training = TrainingService(database, ImageStore("memory://", None))
    assert list(training.lessons(DEFAULT_TENANT)) == []
    desk.release(now=utc_now() + LATER)

    row = next(training.lessons(DEFAULT_TENANT)).as_dict()
    assert len(list(training.lessons(DEFAULT_TENANT))) == 1
    assert used is not None
    assert (row["case"], row["effect"], row["labels"], row["consent"]) == (used.id, "allow", ["nsfw"], True)


def test_figures_say_what_waits_and_how_well_detectors_did(
    make_scan: MakeScan, database: Database, decide: Decide, rules: ReviewRules
) -> None:
    _, right = make_scan("right")
    _, wrong = make_scan("wrong")
    make_scan("waiting")
    decide(ANNA, right, UPHOLD)
    decide(ANNA, wrong, OVERTURN)

    late = utc_now() + timedelta(hours=rules.hours[1] + 1)
    figures = FiguresService(database).figures(DEFAULT_TENANT, utc_now() - LATER, utc_now() + LATER, now=late)
    (waiting,) = figures.queues
    assert (waiting.queue, waiting.open, waiting.overdue, waiting.ages) == ("explicit", 1, 1, (0, 0, 0, 1, 0))
    assert (figures.decided, figures.overturned, figures.overturn_rate) == (2, 1, 0.5)
    assert [(found.label, found.cases, found.precision) for found in figures.precision] == [("nsfw", 2, 0.5)]
    assert sum(figures.per_day.values()) == 2
    assert figures.as_dict()["reviewers"][0]["reviewer"] == "anna"
    with pytest.raises(InvalidRequestError, match="before it begins"):
        FiguresService(database).figures(DEFAULT_TENANT, late, late)


def test_sampled_cases_wait_for_a_second_person(database: Database, make_scan: MakeScan, rules: ReviewRules) -> None:
    always = replace(rules, sample=1.0)
    queue, desk = ReviewService(database, always), DecisionService(database, always)
    _, case = make_scan("a")
    assert case is not None
    with database.write() as session:
        session.execute(sa.update(ReviewCase).values(eyes=2 if sampled(case.id, always.sample) else 1))

    for who, token in ((ANNA, 1), (BEN, 2)):
        queue.take(who, case.id)
        desk.decide(who, case.id, token, OVERTURN)
    assert queue.show(SENIOR, case.id).case.state == "decided"
    agreed = FiguresService(database).figures(DEFAULT_TENANT, utc_now() - LATER, utc_now() + LATER)
    assert agreed.agreement_by_queue["explicit"].cases == 1
    assert agreed.agreement_by_reviewer["ben"].observed == 1.0
