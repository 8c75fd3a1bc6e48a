"""The queue: cases open with the scan, one person each, nothing lost. On both databases."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from moderation.database import Database
from moderation.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from moderation.reviews.deciding import DecisionService
from moderation.reviews.priority import explained, rank_of
from moderation.reviews.records import Choice, LateDecisionError, ReviewRules
from moderation.reviews.service import ReviewService
from moderation.roles import Person, Role
from moderation.tables import AuditRecord, CaseImage, ReviewCase, utc_now
from tests.moderation.reviews.conftest import (
    ANNA,
    BEN,
    LEAD,
    OTHER_SENIOR,
    SENIOR,
    MakeScan,
    explicit,
    likeness,
    listed,
    person,
)

UPHOLD = Choice("uphold", clause="4.2 explicit")
OVERTURN = Choice("overturn", reason="A painting.")
LATER = timedelta(hours=1)


def test_a_held_scan_opens_a_case_and_an_allowed_one_does_not(make_scan: MakeScan) -> None:
    _, held = make_scan("held", explicit())
    _, passed = make_scan("passed", explicit(fpr=0.9, score=0.1))

    assert held is not None
    assert (held.queue, held.harm, held.severity, held.state) == ("explicit", "adult", 2, "open")
    assert passed is None


def test_the_same_file_joins_the_waiting_case(make_scan: MakeScan, database: Database) -> None:
    _, first = make_scan("a")
    _, again = make_scan("a", reach=900)

    assert first is not None
    assert again is not None
    assert again.id == first.id
    assert again.reach == 900
    with database.read() as session:
        (image,) = session.scalars(sa.select(CaseImage))
    assert image.times == 2


@pytest.mark.parametrize(("bits", "joins"), [(31, True), (32, False)])
def test_a_near_duplicate_joins_within_31_bits(make_scan: MakeScan, bits: int, joins: bool) -> None:
    base = bytes(range(32))
    near = (int.from_bytes(base) ^ ((1 << bits) - 1)).to_bytes(32)
    _, first = make_scan("a", explicit(), pdq=base)
    _, second = make_scan("b", explicit(), pdq=near)

    assert first is not None
    assert second is not None
    assert (second.id == first.id) is joins


def test_a_graver_copy_raises_the_case_and_takes_it_from_reviewers(make_scan: MakeScan, queue: ReviewService) -> None:
    base = bytes(range(32))
    make_scan("a", explicit(), pdq=base)
    _, case = make_scan("b", listed("child_abuse"), pdq=base)

    assert case is not None
    assert (case.harm, case.tier, case.severity) == ("child_abuse", "senior", 5)
    assert queue.claim(ANNA) is None
    claim = queue.claim(SENIOR)
    assert claim is not None
    assert claim.case.id == case.id


def test_a_case_that_becomes_graver_while_it_is_held_is_the_seniors_and_the_decision_is_kept(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService
) -> None:
    base = bytes(range(32))
    make_scan("a", explicit(), pdq=base)
    claim = queue.claim(ANNA)
    assert claim is not None
    make_scan("b", listed("child_abuse"), pdq=base)

    with pytest.raises(LateDecisionError):
        desk.decide(ANNA, claim.case.id, 1, OVERTURN)
    with pytest.raises(ForbiddenError):
        queue.show(ANNA, claim.case.id)
    taken = queue.claim(SENIOR)
    assert taken is not None
    assert (taken.case.id, taken.case.state) == (claim.case.id, "open")


def test_cases_are_given_by_priority_and_each_says_why(make_scan: MakeScan, queue: ReviewService) -> None:
    make_scan("mild", explicit())
    _, wide = make_scan("wide", explicit(), reach=1_000_000)
    _, grave = make_scan("grave", explicit(), likeness())

    assert grave is not None
    assert wide is not None
    order = [claim.case.id for _ in range(2) if (claim := queue.claim(ANNA))]
    assert order == [grave.id, wide.id]
    factors = explained(grave, utc_now())
    assert [factor.factor for factor in factors] == ["due", "severity", "reach", "uncertainty", "policy"]
    total = sum(factor.points for factor in factors)
    assert total == pytest.approx(utc_now().timestamp() / 3600 - rank_of(grave), abs=0.02)


def test_a_case_is_held_by_one_and_free_again_when_the_lease_is_over(make_scan: MakeScan, queue: ReviewService) -> None:
    make_scan("a")
    first = queue.claim(ANNA)
    assert first is not None

    assert queue.claim(BEN) is None
    with pytest.raises(ConflictError, match="Another person holds"):
        queue.take(BEN, first.case.id)
    second = queue.claim(BEN, now=utc_now() + LATER)
    assert second is not None
    assert second.case.token == first.case.token + 1


def test_a_lease_is_renewed_by_its_holder_only_and_not_when_over(make_scan: MakeScan, queue: ReviewService) -> None:
    make_scan("a")
    claim = queue.claim(ANNA)
    assert claim is not None

    soon = utc_now() + timedelta(minutes=4)
    assert queue.renew(ANNA, claim.case.id, 1, now=soon).lease_until == soon + timedelta(minutes=5)
    for who, token, moment in ((BEN, 1, soon), (ANNA, 2, soon), (ANNA, 1, soon + LATER)):
        with pytest.raises(ConflictError, match="lease"):
            queue.renew(who, claim.case.id, token, now=moment)


def test_a_late_decision_is_refused_kept_and_offered_again(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService
) -> None:
    make_scan("a")
    mine = queue.claim(ANNA)
    assert mine is not None
    later = utc_now() + LATER
    theirs = queue.claim(BEN, now=later)
    assert theirs is not None

    with pytest.raises(LateDecisionError) as refusal:
        desk.decide(ANNA, mine.case.id, mine.case.token, UPHOLD, now=later)
    kept = refusal.value.decision
    assert (kept.state, kept.outcome, kept.clause) == ("late", "uphold", "4.2 explicit")
    view = queue.show(BEN, mine.case.id)
    assert [offer.id for offer in view.offers] == [kept.id]
    made = desk.adopt(BEN, mine.case.id, theirs.case.token, kept.id, now=later)
    assert (made.reviewer, made.outcome, made.state) == ("ben", "uphold", "counted")


def test_a_decision_under_a_lapsed_lease_is_late_though_nobody_else_claimed(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService
) -> None:
    make_scan("a")
    claim = queue.claim(ANNA)
    assert claim is not None

    later = utc_now() + LATER
    with pytest.raises(LateDecisionError):
        desk.decide(ANNA, claim.case.id, 1, UPHOLD, now=later)
    again = queue.claim(ANNA, now=later)
    assert again is not None
    assert [offer.outcome for offer in again.offers] == ["uphold"]


def test_a_decision_sent_twice_counts_once_and_another_is_refused(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService
) -> None:
    make_scan("a")
    claim = queue.claim(ANNA)
    assert claim is not None

    first = desk.decide(ANNA, claim.case.id, 1, UPHOLD)
    assert desk.decide(ANNA, claim.case.id, 1, UPHOLD).id == first.id
    with pytest.raises(ConflictError, match="otherwise"):
        desk.decide(ANNA, claim.case.id, 1, OVERTURN)


def test_somebody_who_does_not_hold_the_case_decides_nothing(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService
) -> None:
    make_scan("a")
    claim = queue.claim(ANNA)
    assert claim is not None

    with pytest.raises(LateDecisionError):
        desk.decide(BEN, claim.case.id, 1, OVERTURN)
    with pytest.raises(ConflictError, match="never claimed"):
        desk.decide(BEN, claim.case.id, 7, OVERTURN)
    desk.decide(ANNA, claim.case.id, 1, UPHOLD)
    assert queue.show(ANNA, claim.case.id).case.outcome == "uphold"


def test_a_skipped_case_goes_to_others_and_comes_back_later(make_scan: MakeScan, queue: ReviewService) -> None:
    make_scan("a")
    claim = queue.claim(ANNA)
    assert claim is not None
    with pytest.raises(InvalidRequestError, match="reason"):
        queue.skip(ANNA, claim.case.id, 1, " ")

    queue.skip(ANNA, claim.case.id, 1, "Not today.")
    assert queue.claim(ANNA) is None
    assert queue.claim(BEN) is not None
    assert queue.claim(ANNA, now=utc_now() + timedelta(hours=2)) is not None


def test_a_reassigned_case_is_one_persons_and_the_old_holder_is_late(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService
) -> None:
    make_scan("a")
    claim = queue.claim(ANNA)
    assert claim is not None
    with pytest.raises(ForbiddenError):
        queue.reassign(ANNA, claim.case.id, BEN, "please")

    queue.reassign(LEAD, claim.case.id, BEN, "Ben knows this surface.")
    with pytest.raises(LateDecisionError):
        desk.decide(ANNA, claim.case.id, 1, UPHOLD)
    assert queue.claim(ANNA) is None
    assert queue.claim(BEN) is not None


def test_an_escalated_case_is_for_seniors(make_scan: MakeScan, queue: ReviewService, desk: DecisionService) -> None:
    make_scan("a")
    claim = queue.claim(ANNA)
    assert claim is not None
    desk.decide(ANNA, claim.case.id, 1, Choice("escalate", reason="I am not sure."))

    assert queue.claim(BEN) is None
    assert queue.cases(BEN) == []
    with pytest.raises(ForbiddenError):
        queue.take(BEN, claim.case.id)
    taken = queue.claim(SENIOR)
    assert taken is not None
    with pytest.raises(ConflictError, match="seniors already"):
        desk.decide(SENIOR, claim.case.id, 2, Choice("escalate", reason="Nor am I."))
    desk.decide(SENIOR, claim.case.id, 2, OVERTURN)


def test_people_work_their_own_queues_and_roles(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService
) -> None:
    _, case = make_scan("a")
    assert case is not None
    elsewhere = person("eve", queues=frozenset({"likeness"}))
    auditor = person("otto", Role.AUDITOR)

    assert queue.claim(elsewhere) is None
    with pytest.raises(ForbiddenError, match="does not work"):
        queue.claim(elsewhere, "explicit")
    with pytest.raises(InvalidRequestError, match="no queue 'spam'"):
        queue.claim(ANNA, "spam")
    with pytest.raises(ForbiddenError):
        queue.take(elsewhere, case.id)
    for who in (auditor, LEAD):
        with pytest.raises(ForbiddenError, match="roles"):
            queue.claim(who)
        with pytest.raises(ForbiddenError):
            desk.decide(who, case.id, 1, UPHOLD)
    with pytest.raises(NotFoundError):
        queue.take(ANNA, "case_none")


def test_nobody_hoards(make_scan: MakeScan, queue: ReviewService) -> None:
    for name in "abcd":
        make_scan(name)

    assert len({claim.case.id for _ in range(3) if (claim := queue.claim(ANNA))}) == 3
    with pytest.raises(ConflictError, match="holds 3 cases"):
        queue.claim(ANNA)


def test_a_case_whose_image_was_deleted_can_still_be_ended(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService, database: Database
) -> None:
    scan, case = make_scan("a")
    assert case is not None
    with database.write() as session:
        for statement in ("delete from scans", "delete from measurements", "delete from images"):
            session.execute(sa.text(statement))

    claim = queue.claim(ANNA)
    assert claim is not None
    (image,) = claim.images
    assert (image.image_id, image.scan_id, image.sha256) == (None, None, scan.image.sha256)
    desk.decide(ANNA, case.id, 1, OVERTURN)
    assert desk.release(now=utc_now() + LATER) == 1


def test_known_child_abuse_is_for_seniors_each_by_themselves(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService
) -> None:
    _, case = make_scan("a", listed("child_abuse"))
    assert case is not None
    assert case.queue == "child-abuse"
    with pytest.raises(ForbiddenError):
        queue.show(ANNA, case.id)
    with pytest.raises(ForbiddenError):
        queue.show(LEAD, case.id)
    assert [found.id for found in queue.cases(LEAD)] == []
    assert [found.id for found in queue.cases(SENIOR)] == [case.id]

    queue.take(SENIOR, case.id)
    desk.decide(SENIOR, case.id, 1, UPHOLD)
    assert queue.show(SENIOR, case.id).case.state == "second"
    queue.take(OTHER_SENIOR, case.id)
    desk.decide(OTHER_SENIOR, case.id, 2, UPHOLD)
    assert queue.show(SENIOR, case.id).case.state == "decided"


def test_every_act_is_on_the_trail(
    make_scan: MakeScan, queue: ReviewService, desk: DecisionService, database: Database
) -> None:
    make_scan("a")
    claim = queue.claim(ANNA)
    assert claim is not None
    desk.decide(ANNA, claim.case.id, 1, UPHOLD)

    with database.read() as session:
        actions = session.scalars(sa.select(AuditRecord.action).order_by(AuditRecord.id)).all()
        assert session.scalar(sa.select(ReviewCase.rank)) is None
    assert actions == ["case.opened", "case.claimed", "case.decided"]


def test_a_list_is_read_on_in_the_order_of_the_queue(make_scan: MakeScan, queue: ReviewService) -> None:
    for number in range(5):
        make_scan(str(number), reach=10**number)

    whole = [case.id for case in queue.cases(ANNA)]
    first = [case.id for case in queue.cases(ANNA, limit=2)]
    rest = [case.id for case in queue.cases(ANNA, after=first[-1])]
    assert first + rest == whole
    assert len(whole) == 5


def test_many_claim_at_once_and_nobody_gets_the_same(
    make_scan: MakeScan, database: Database, rules: ReviewRules
) -> None:
    for number in range(24):
        make_scan(str(number))
    people = [person(f"p{number}") for number in range(12)]

    def claim_two(who: Person) -> list[str]:
        queue = ReviewService(database, rules)
        return [claim.case.id for _ in range(2) if (claim := queue.claim(who))]

    with ThreadPoolExecutor(12) as pool:
        given = [case_id for claimed in pool.map(claim_two, people) for case_id in claimed]
    assert len(given) == len(set(given)) == 24


def test_the_same_image_sent_many_times_at_once_is_one_case(make_scan: MakeScan, database: Database) -> None:
    with ThreadPoolExecutor(6) as pool:
        cases = [case for _, case in pool.map(lambda _: make_scan("a", pdq=bytes(range(32))), range(12))]

    assert len({case.id for case in cases if case}) == 1
    with database.read() as session:
        assert session.scalar(sa.select(CaseImage.times)) == 12
