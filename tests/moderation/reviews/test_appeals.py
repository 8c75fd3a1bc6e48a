"""Appeals: somebody else decides, and the host is told what to undo. On both databases."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from moderation.database import Database
from moderation.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError, StorageError
from moderation.reviews.appeals import AppealService, Plea
from moderation.reviews.deciding import DecisionService
from moderation.reviews.records import Choice, ReviewRules
from moderation.reviews.service import ReviewService
from moderation.reviews.statements import Statements
from moderation.tables import DEFAULT_TENANT, Appeal, Event, Scan, utc_now
from tests.moderation.reviews.conftest import ANNA, BEN, CARA, MakeScan, explicit, likeness, listed

LATER = timedelta(hours=1)
BLOCK = Choice("block", clause="4.2 explicit")


@pytest.fixture
def appeals(database: Database, rules: ReviewRules, statements: Statements) -> AppealService:
    return AppealService(database, rules, statements, days=30)


@pytest.fixture
def blocked(make_scan: MakeScan, queue: ReviewService, desk: DecisionService) -> Scan:
    """A scan that Anna decided to block, of which the host was told."""
    scan, case = make_scan("a", external_id="photo-1")
    assert case is not None
    queue.take(ANNA, case.id)
    desk.decide(ANNA, case.id, 1, BLOCK)
    assert desk.release(now=utc_now() + LATER) == 1
    return scan


def told(database: Database, kind: str) -> list[dict[str, Any]]:
    with database.read() as session:
        return list(session.scalars(sa.select(Event.payload).where(Event.kind == kind)))


def file(appeals: AppealService, scan: Scan, **changed: str) -> Appeal:
    plea = Plea(**{"statement": "It is a rash, for my doctor.", "scan_id": scan.id, "locale": "en-GB", **changed})
    return appeals.file(DEFAULT_TENANT, plea, actor="key_1")


@pytest.mark.parametrize(
    ("plea", "why"),
    [
        ({"statement": " ", "scan_id": "scan_1"}, "empty"),
        ({"statement": "x" * 5_001, "scan_id": "scan_1"}, "at most 5,000"),
        ({"statement": "x"}, "names no image"),
        ({"statement": "x", "scan_id": "scan_1", "sha256": "0" * 64}, "twice"),
        ({"statement": "x", "scan_id": "scan_1", "locale": "x" * 36}, "at most 35"),
    ],
)
def test_an_unfit_appeal_is_refused(plea: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidRequestError, match=why):
        Plea(**plea)


def test_another_person_decides_and_the_host_undoes(
    blocked: Scan, appeals: AppealService, queue: ReviewService, desk: DecisionService, database: Database
) -> None:
    appeal = file(appeals, blocked)
    assert (appeal.in_force, appeal.state) == ("block", "open")

    assert queue.claim(ANNA, "appeals") is None
    with pytest.raises(ForbiddenError, match="appealed against"):
        queue.take(ANNA, appeal.case_id)
    claim = queue.claim(BEN, "appeals")
    assert claim is not None
    shown = queue.show(BEN, claim.case.id)
    assert shown.appeal is not None
    assert shown.statement == "It is a rash, for my doctor."
    assert [found["effect"] for found in shown.earlier] == ["block"]
    desk.decide(BEN, claim.case.id, claim.case.token, Choice("overturn", reason="Medical."))
    assert told(database, "verdict.overturned") == []

    desk.release(now=utc_now() + LATER)
    (said,) = told(database, "verdict.overturned")
    assert (said["undone"], said["action"], said["appeal"], said["locale"]) == ("block", "allow", appeal.id, "en-GB")
    assert said["images"][0]["external_ids"] == ["photo-1"]
    done = appeals.find(DEFAULT_TENANT, appeal.id)
    assert (done.state, done.outcome, done.effect, done.reason) == ("decided", "overturn", "allow", "Medical.")


def test_an_appeal_that_fails_changes_nothing_and_never_makes_it_worse(
    make_scan: MakeScan, appeals: AppealService, queue: ReviewService, desk: DecisionService, database: Database
) -> None:
    scan, case = make_scan("a")
    assert case is not None
    queue.take(ANNA, case.id)
    desk.decide(ANNA, case.id, 1, Choice("restrict", clause="4.1"))
    desk.release(now=utc_now() + LATER)
    appeal = file(appeals, scan)
    queue.take(BEN, appeal.case_id)
    desk.decide(BEN, appeal.case_id, 1, BLOCK)
    desk.release(now=utc_now() + LATER)

    (said,) = told(database, "appeal.decided")
    assert (said["action"], said["undone"]) == ("restrict", None)
    assert told(database, "verdict.overturned") == []


def test_an_appeal_against_a_machines_block_needs_no_earlier_case(
    make_scan: MakeScan, appeals: AppealService, queue: ReviewService
) -> None:
    scan, case = make_scan("a", listed("intimate", "block"))
    assert case is None

    appeal = file(appeals, scan)
    assert (appeal.of_case, appeal.in_force) == (None, "block")
    assert queue.claim(CARA) is not None


def test_appeals_have_their_own_deadline_and_keep_their_harm(
    make_scan: MakeScan, appeals: AppealService, queue: ReviewService, rules: ReviewRules
) -> None:
    scan, _ = make_scan("a", listed("intimate", "block"))
    appeal = file(appeals, scan)

    case = queue.show(ANNA, appeal.case_id).case
    assert (case.queue, case.harm, case.kind) == ("appeals", "known", "appeal")
    assert case.due_at - appeal.created_at == pytest.approx(timedelta(hours=rules.appeal_hours), abs=LATER)


def test_one_appeal_for_each_scan_and_none_while_it_is_decided(
    make_scan: MakeScan, appeals: AppealService, blocked: Scan
) -> None:
    file(appeals, blocked)
    with pytest.raises(ConflictError, match="already"):
        file(appeals, blocked)
    with pytest.raises(ConflictError, match="already"):
        file(appeals, blocked, scan_id="", sha256=blocked.image.sha256)

    waiting, _ = make_scan("b", explicit(), likeness())
    with pytest.raises(ConflictError, match="which is open"):
        file(appeals, waiting)
    allowed, _ = make_scan("c", explicit(fpr=0.9, score=0.1))
    with pytest.raises(InvalidRequestError, match="nothing to appeal"):
        file(appeals, allowed)
    with pytest.raises(NotFoundError):
        file(appeals, blocked, scan_id="scan_none")


SECRET = "It is a rash, for my doctor."


def stored(database: Database) -> str:
    """Everything that is in the table, as text."""
    with database.read() as session:
        rows = session.execute(sa.text("select * from appeals")).all()
    return repr(rows) + "".join(bytes(row.sealed).decode(errors="replace") for row in rows if row.sealed)


def test_what_is_said_is_encrypted_and_bound_to_its_appeal(
    blocked: Scan, appeals: AppealService, database: Database
) -> None:
    appeal = file(appeals, blocked)
    assert SECRET not in stored(database)
    assert appeals.statement(appeals.find(DEFAULT_TENANT, appeal.id)) == SECRET

    appeal.tenant_id = "other"
    assert appeals.statement(appeal) is None, "not the record that it was sealed for"
    elsewhere = AppealService(database, appeals.rules, Statements(None))
    assert elsewhere.statement(elsewhere.find(DEFAULT_TENANT, appeal.id)) is None


def test_without_a_key_nothing_is_filed(blocked: Scan, rules: ReviewRules, database: Database) -> None:
    with pytest.raises(StorageError, match="No key") as refused:
        file(AppealService(database, rules, Statements(None)), blocked)

    assert "PALISADE_TAKEDOWN_KEYS" in refused.value.hint
    assert stored(database) == "[]"


def test_statements_of_before_are_read_and_then_encrypted(
    blocked: Scan, appeals: AppealService, database: Database
) -> None:
    appeal = file(appeals, blocked)
    with database.write() as session:
        session.execute(sa.update(Appeal).values(unsealed=SECRET, sealed=None))
    assert appeals.statement(appeals.find(DEFAULT_TENANT, appeal.id)) == SECRET

    assert AppealService(database, appeals.rules, Statements(None)).tend() == 0, "nothing to encrypt it with"
    assert appeals.tend() == 1
    assert SECRET not in stored(database)
    assert appeals.statement(appeals.find(DEFAULT_TENANT, appeal.id)) == SECRET
    assert appeals.tend() == 0


def test_statements_are_deleted_in_time_and_with_their_scan(
    blocked: Scan, appeals: AppealService, queue: ReviewService, desk: DecisionService, database: Database
) -> None:
    appeal = file(appeals, blocked)
    past = utc_now() + timedelta(days=31)
    assert appeals.tend(now=past) == 0, "it is still to be decided"
    queue.take(BEN, appeal.case_id)
    desk.decide(BEN, appeal.case_id, 1, BLOCK)
    desk.release(now=utc_now() + LATER)
    assert appeals.tend() == 0
    assert AppealService(database, appeals.rules, appeals.statements).tend(now=past) == 0, "0 days: never"

    with database.write() as session:
        session.execute(sa.update(Appeal).values(scan_id=None))
    assert appeals.tend() == 1
    assert appeals.statement(appeals.find(DEFAULT_TENANT, appeal.id)) == ""
    assert queue.show(BEN, appeal.case_id).statement == ""


def test_statements_are_deleted_some_time_after_the_decision(
    blocked: Scan, appeals: AppealService, queue: ReviewService, desk: DecisionService
) -> None:
    appeal = file(appeals, blocked)
    queue.take(BEN, appeal.case_id)
    desk.decide(BEN, appeal.case_id, 1, BLOCK)
    desk.release(now=utc_now() + LATER)

    assert appeals.tend(now=utc_now() + timedelta(days=29)) == 0
    assert appeals.tend(now=utc_now() + timedelta(days=31)) == 1
    assert appeals.statement(appeals.find(DEFAULT_TENANT, appeal.id)) == ""
