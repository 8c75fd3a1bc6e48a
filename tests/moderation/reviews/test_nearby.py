"""Near copies join the case that waits: exactly, whatever other processes do meanwhile."""

import multiprocessing
import random
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from moderation.database import Database
from moderation.reviews.deciding import DecisionService
from moderation.reviews.intake import Intake
from moderation.reviews.nearby import RADIUS, Hashes, Nearby
from moderation.reviews.records import Choice, ReviewRules
from moderation.reviews.repository import NumberedHashes, ReviewRepository
from moderation.reviews.service import ReviewService
from moderation.settings import Settings
from moderation.tables import DEFAULT_TENANT, CaseImage, ReviewCase, Scan, Tenant, utc_now
from tests.moderation.reviews.conftest import SENIOR, MakeScan, explicit, scan_maker
from tests.moderation.reviews.test_deciding import LATER

UPHOLD = Choice("uphold", clause="adult 1.1")


def flipped(base: bytes, bits: int, numbers: random.Random) -> bytes:
    """A hash that differs in so many bits."""
    mask = sum(1 << place for place in numbers.sample(range(256), bits))
    return (int.from_bytes(base) ^ mask).to_bytes(32)


def apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def test_every_hash_within_the_radius_is_found_and_none_beyond() -> None:
    numbers = random.Random(1)
    wanted = [numbers.randbytes(32) for _ in range(8)]
    near = [flipped(wanted[place % 8], place % 64, numbers) for place in range(3_000)]
    rows = [NumberedHashes(place, f"case_{place:05}", pdq) for place, pdq in enumerate(near)]
    kept = Hashes()
    kept.add(rows)

    expected = {row.case_id: min(apart(row.pdq, one) for one in wanted) for row in rows}
    assert kept.within(b"".join(wanted)) == {name: bits for name, bits in expected.items() if bits <= RADIUS}


def test_all_frames_of_a_case_count_and_bits_may_differ_in_one_half_only() -> None:
    numbers = random.Random(2)
    base = numbers.randbytes(32)
    halves = [(int.from_bytes(base) ^ (2**31 - 1) << shift).to_bytes(32) for shift in (0, 112, 225)]
    kept = Hashes()
    kept.add([NumberedHashes(1, "far", numbers.randbytes(64)), NumberedHashes(2, "near", b"".join(halves))])

    assert kept.within(base) == {"near": 31}


class Play:
    """Two processes' intakes on one database, and what reading every row would say."""

    def __init__(self, database: Database, rules: ReviewRules) -> None:
        self.database = database
        self.makers = [scan_maker(database, rules), scan_maker(database, rules)]
        self.queue, self.desk = ReviewService(database, rules), DecisionService(database, rules)
        self.numbers = random.Random(3)
        self.bases = [self.numbers.randbytes(32) for _ in range(4)]
        self.made = 0

    def expected(self, pdq: bytes) -> str | None:
        with self.database.read() as session:
            query = sa.select(CaseImage.case_id, CaseImage.pdq).join(ReviewCase, ReviewCase.id == CaseImage.case_id)
            rows = session.execute(query.where(ReviewCase.rank.is_not(None))).all()
        found = sorted((apart(row.pdq, pdq), row.case_id) for row in rows)
        return found[0][1] if found and found[0][0] <= RADIUS else None

    def scan(self) -> None:
        pdq = flipped(self.numbers.choice(self.bases), self.numbers.randint(0, 24), self.numbers)
        expected, self.made = self.expected(pdq), self.made + 1
        _, case = self.numbers.choice(self.makers)(f"scan {self.made}", explicit(), pdq=pdq)
        assert case is not None
        if expected is None:
            assert case.round == 1
            assert case.reach == 1
        else:
            assert case.id == expected

    def some(self, *states: str) -> ReviewCase | None:
        with self.database.read() as session:
            query = sa.select(ReviewCase).where(ReviewCase.state.in_(states)).order_by(ReviewCase.id)
            found = session.scalars(query).all()
        return self.numbers.choice(found) if found else None

    def decide(self) -> None:
        case = self.some("open")
        if case:
            token = self.queue.take(SENIOR, case.id).case.token
            self.desk.decide(SENIOR, case.id, token, UPHOLD)

    def undo(self) -> None:
        case = self.some("decided")
        if case:
            undone = self.desk.undo(SENIOR, case.id)
            self.queue.release(SENIOR, case.id, undone.token)

    def reopen(self) -> None:
        self.desk.release(now=utc_now() + LATER)
        case = self.some("closed")
        if case:
            self.queue.reopen(SENIOR, case.id, "It was not that.")
            with self.database.write() as session:
                session.execute(sa.text("delete from case_exclusions"))


def test_two_processes_join_what_reading_every_row_would(database: Database, rules: ReviewRules) -> None:
    play = Play(database, rules)
    for _ in range(70):
        play.numbers.choice([play.scan] * 6 + [play.decide] * 2 + [play.undo, play.reopen])()

    assert play.made > 30


def test_what_was_rolled_back_is_not_remembered(database: Database, rules: ReviewRules, make_scan: MakeScan) -> None:
    numbers = random.Random(4)
    base = numbers.randbytes(32)
    scans = [make_scan(f"let through {bits}", explicit(0.9), pdq=flipped(base, bits, numbers))[0] for bits in range(3)]
    held, intake = scan_maker(database, rules), Intake(rules)
    graver = held("graver")[0].verdict
    with database.write() as session:  # what a graver verdict of a re-scan does
        session.execute(sa.update(Scan).values(verdict=graver, action="hold"))
        session.execute(sa.delete(ReviewCase))

    with pytest.raises(ZeroDivisionError), database.write() as session:
        taken = [intake.take(session, DEFAULT_TENANT, session.get_one(Scan, scan.id)) for scan in scans]
        assert len({case.id for case in taken if case}) == 1
        _ = 1 / 0
    _, other = held("other", pdq=base)
    with database.write() as session:
        case = intake.take(session, DEFAULT_TENANT, session.get_one(Scan, scans[1].id))

    assert other is not None
    assert case is not None
    assert case.id == other.id


def test_a_database_that_lost_its_last_writes_is_read_anew(
    database: Database, rules: ReviewRules, make_scan: MakeScan
) -> None:
    numbers = random.Random(5)
    base = numbers.randbytes(32)
    make_scan("first", explicit(), pdq=base)
    for further in ("second", "third"):
        make_scan(further, explicit(), pdq=numbers.randbytes(32))
    with database.write() as session:
        session.execute(sa.delete(ReviewCase))
        session.execute(sa.update(Tenant).values(case_images=0))
    _, elsewhere = scan_maker(database, rules)("elsewhere", explicit(), pdq=flipped(base, 9, numbers))

    _, case = make_scan("again", explicit(), pdq=base)

    assert case is not None
    assert elsewhere is not None
    assert case.id == elsewhere.id


def test_images_of_before_there_were_numbers_are_joined_and_read_once(
    database: Database, rules: ReviewRules, make_scan: MakeScan
) -> None:
    numbers = random.Random(6)
    base = numbers.randbytes(32)
    _, old = make_scan("old", explicit(), pdq=base)
    with database.write() as session:
        session.execute(sa.update(CaseImage).values(number=None))
        session.execute(sa.update(Tenant).values(case_images=0))
    nearby = Nearby()

    for _ in range(2):
        with database.write() as session:
            repository = ReviewRepository(session, DEFAULT_TENANT)
            found = nearby.find(repository, repository.lock_tenant(), flipped(base, 5, numbers))
            assert old is not None
            assert found == (old.id, 5)
    assert nearby.kept(DEFAULT_TENANT) == 1


def _scan_near_copies(url: str, barrier: Barrier, side: int, rounds: int) -> None:
    """What one process does: a near copy of each round's picture, at the same moment as the other process."""
    rules = ReviewRules.of(Settings(_env_file=None, review_second_share=0.0))  # type: ignore[call-arg]
    database = Database(url)
    make = scan_maker(database, rules)
    for turn in range(rounds):
        base = random.Random(turn).randbytes(32)
        barrier.wait(120)
        make(f"{turn} of {side}", explicit(), pdq=flipped(base, 10, random.Random(100 * side + turn)))
    database.close()


def test_near_copies_that_two_processes_scan_at_once_are_one_case(database: Database, database_url: str) -> None:
    rounds = 8
    context: Any = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    sides = [context.Process(target=_scan_near_copies, args=(database_url, barrier, side, rounds)) for side in (1, 2)]
    for side in sides:
        side.start()
    for side in sides:
        side.join(300)

    assert [side.exitcode for side in sides] == [0, 0]
    with database.read() as session:
        images = session.scalars(sa.select(CaseImage)).all()
    assert len(images) == 2 * rounds
    assert len({image.case_id for image in images}) == rounds
    assert sorted(image.number or 0 for image in images) == list(range(1, 2 * rounds + 1))
    assert sorted(image.stage for image in images) == ["first"] * rounds + ["near"] * rounds
