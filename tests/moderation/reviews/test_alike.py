"""What is like a case's image: what is found, what is told of it, and what is kept from whom. On both databases."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from detectors.base import Finding
from moderation.banks.indexes import BankIndexes
from moderation.banks.matcher import LocalSearch, Matcher
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.banks.repository import BankRepository
from moderation.database import Database
from moderation.errors import ForbiddenError
from moderation.reviews.alike import AlikeService
from moderation.reviews.deciding import DecisionService
from moderation.reviews.records import Choice
from moderation.reviews.repository import ReviewRepository
from moderation.reviews.service import ReviewService
from moderation.reviews.windows import HashWindows
from moderation.tables import DEFAULT_TENANT, Bank, CaseImage, StoredImage, Tenant, new_id, utc_now
from tests.moderation.reviews.conftest import ANNA, BEN, LEAD, SENIOR, MakeScan, explicit, hashes, listed

RNG = np.random.default_rng(6)
BASE = RNG.integers(0, 256, 32, dtype=np.uint8)


def bits(away: int, base: np.ndarray = BASE) -> bytes:
    """A hash so many bits away."""
    spread = np.unpackbits(base)
    spread[:away] ^= 1
    return np.packbits(spread).tobytes()


@pytest.fixture
def alike(database: Database) -> AlikeService:
    return AlikeService(database, lambda: Matcher(database, LocalSearch(BankIndexes(database))))


@pytest.fixture
def hosted(database: Database, make_scan: MakeScan) -> Any:
    """A scanned image with a hash; gives the scan and its case."""

    def make(name: str, away: int, *findings: Finding, kept: bool = True, **about: Any) -> Any:
        pdq = bits(away)
        scan, case = make_scan(name, *(findings or (explicit(),)), hashes(pdq), **about)
        with database.write() as session:
            values = {"pdq": pdq, "kept_at": utc_now() if kept else None}
            session.execute(sa.update(StoredImage).where(StoredImage.id == scan.image.id).values(**values))
        return scan, case

    return make


def images(database: Database, case_id: str) -> Any:
    with database.read() as session:
        return ReviewRepository(session, DEFAULT_TENANT).images(case_id)


def search(alike: AlikeService, case: Any, who: Any = ANNA) -> Any:
    return alike.of(who, case, images(alike.database, case.id))


def test_copies_are_told_by_distance_and_others_apart(alike: AlikeService, hosted: Any) -> None:
    _, case = hosted("mine", 0)
    hosted("near", 8, explicit(fpr=0.4, score=0.1))
    hosted("edge", 31, explicit(fpr=0.4, score=0.1))
    hosted("far", 90, explicit(fpr=0.4, score=0.1))
    found = search(alike, case)

    assert [one.distance for one in found.near] == [8, 31]
    assert [one.distance for one in found.further] == [90]
    assert [one.sha256 for one in found.near] == [hashlib.sha256(n).hexdigest() for n in (b"near", b"edge")]
    assert (found.searched, found.whole, found.hashable) == (4, True, True)
    assert found.near[0].case is None
    assert found.near[0].harm, "it is kept, so it may be shown"
    assert not found.further[0].harm, "a different picture is not shown"


def test_what_was_decided_is_told_once_it_is_closed(
    alike: AlikeService, hosted: Any, queue: ReviewService, desk: DecisionService
) -> None:
    hosted("before", 5)
    claim = queue.claim(BEN)
    assert claim
    desk.decide(BEN, claim.case.id, claim.case.token, Choice("uphold", "nudity-1"))
    desk.release(now=utc_now() + timedelta(minutes=5))
    _, case = hosted("mine", 0)
    (near,) = search(alike, case).near

    assert (near.case.outcome, near.case.effect, near.case.state) == ("uphold", "restrict", "closed")
    assert near.action == "restrict"


def test_hashes_of_cases_outlive_their_images(alike: AlikeService, hosted: Any, database: Database) -> None:
    _, old = hosted("deleted", 4)
    with database.write() as session:
        session.execute(sa.update(CaseImage).values(image_id=None, scan_id=None))
        session.execute(sa.update(StoredImage).values(pdq=None, kept_at=None))
        session.execute(
            sa.text("UPDATE cases SET state = 'closed', rank = NULL, outcome = 'overturn', effect = 'allow'")
        )
    _, case = hosted("mine", 0)
    (near,) = search(alike, case).near

    assert (near.case.id, near.distance, near.harm) == (old.id, 4, "")


def test_known_abuse_is_neither_searched_for_nor_told_of(alike: AlikeService, hosted: Any, database: Database) -> None:
    abuse, grave = hosted("abuse", 9, listed("child_abuse", "block"))
    with database.write() as session:
        session.execute(sa.text("UPDATE cases SET state = 'closed', rank = NULL"))
    _, case = hosted("mine", 0)

    assert search(alike, case).near == [], "a reviewer may not know that it is there"
    (near,) = search(alike, case, SENIOR).near
    assert (near.sha256, near.harm) == (abuse.image.sha256, "")
    for who in (ANNA, SENIOR):
        with pytest.raises(ForbiddenError):
            alike.picture(who, case, images(database, case.id), abuse.image.sha256)
    with pytest.raises(ForbiddenError, match="Nothing like this"):
        search(alike, grave, SENIOR)


def test_a_picture_of_another_queue_or_not_kept_is_not_shown(
    alike: AlikeService, hosted: Any, database: Database
) -> None:
    other, other_case = hosted("other", 3)
    gone, _ = hosted("gone", 40, explicit(fpr=0.4, score=0.1))
    with database.write() as session:
        session.execute(sa.text("UPDATE cases SET state = 'closed', rank = NULL"))
    _, case = hosted("mine", 0)
    own = images(database, case.id)
    assert alike.picture(ANNA, case, own, other.image.sha256) == "adult"

    few = replace(ANNA, queues=frozenset({"generated"}))
    with pytest.raises(ForbiddenError, match="not shown here"):
        alike.picture(few, case, own, other.image.sha256)
    assert search(alike, case, few).near[0].case is None, "nor told what was decided"
    assert search(alike, case, LEAD).near[0].case.id == other_case.id
    assert search(alike, case, LEAD).near[0].harm == "", "a lead reads, and is shown nothing"
    with pytest.raises(ForbiddenError, match="neither of this case"):
        alike.picture(ANNA, case, own, gone.image.sha256)
    with database.write() as session:
        session.execute(sa.update(StoredImage).values(kept_at=None))
    with pytest.raises(ForbiddenError, match="not shown here"):
        alike.picture(ANNA, case, own, other.image.sha256)


def test_other_tenants_are_not_searched(alike: AlikeService, hosted: Any, database: Database) -> None:
    _, case = hosted("mine", 0)
    with database.write() as session:
        session.add(Tenant(id="other", name="other", created_at=utc_now()))
        session.flush()
        about = {"format": "PNG", "size": 8, "width": 8, "height": 8, "frames": 1, "created_at": utc_now()}
        session.add(StoredImage(id=new_id("img"), tenant_id="other", sha256="0" * 64, pdq=bits(2), **about))

    assert search(alike, case).near == []


def test_plain_images_are_compared_with_nothing(alike: AlikeService, make_scan: MakeScan) -> None:
    _, case = make_scan("plain", explicit())
    assert case
    assert not search(alike, case).hashable


def test_entries_of_lists_are_told_as_they_are_now(alike: AlikeService, hosted: Any, database: Database) -> None:
    _, case = hosted("mine", 0)
    assert search(alike, case).entries == []
    for name, category, away in (("spam", "spam", 12), ("grave", "child_abuse", 6)):
        with database.write() as session:
            spec = BankSpec(name, origin="test", category=category, action_hint="block").as_dict()
            session.add(bank := Bank(id=new_id("bank"), tenant_id=DEFAULT_TENANT, created_at=utc_now(), **spec))
            session.flush()
            repository = BankRepository(session, DEFAULT_TENANT)
            repository.advance()
            repository.add(bank.id, [NewEntry(Signal("pdq", bits(away)), external_id="e1")])
    found = search(alike, case).entries

    assert [(one.bank, one.distance, one.state) for one in found] == [("spam", 12, "active")]
    assert [one.bank for one in search(alike, case, SENIOR).entries] == ["grave", "spam"]


class Growing:
    """A table that grows: its rows by id."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.read: list[int] = []

    def __call__(self, _session: Any, _tenant: str, after: str, limit: int) -> list[tuple[str, bytes]]:
        found = sorted(((name, row) for name, row in self.rows.items() if name > after), reverse=True)[:limit]
        self.read.append(len(found))
        return found


def test_a_window_reads_what_is_new_and_forgets_what_is_old(database: Database) -> None:
    table = Growing()
    windows = HashWindows(database, table, most=3_000)
    for number in range(2_000):
        table.rows[f"img_{number:06}"] = RNG.bytes(32)
    assert len(windows.of("default").ids) == 2_000
    assert windows.of("default").whole
    table.rows["img_002500"], table.rows["img_001999x"] = (
        BASE.tobytes() * 2,
        bits(3),
    )  # one of two frames, one seen late
    window = windows.of("default")

    assert table.read == [2_000, 200, 202], "all once, then the newest again"
    assert window.nearest(BASE[None], 9)[0][:2] == ["img_002500", "img_001999x"]
    assert window.nearest(BASE[None], 9)[1][:2] == [0, 3]
    for number in range(3_000, 4_500):
        table.rows[f"img_{number:06}"] = RNG.bytes(32)
    window = windows.of("default")
    assert (len(window.ids), window.whole) == (3_000, False)
    assert bytes(window.ids[0]).decode() == sorted(table.rows)[-3_000]
    assert window.nearest(BASE[None], 9)[0][0] == "img_002500"
    for number in range(5_000, 9_000):
        table.rows[f"img_{number:06}"] = RNG.bytes(32)
    assert windows.of("default").nearest(BASE[None], 9)[1][0] > 60, "it is behind the window now"
    assert windows.of("default").nearest(np.zeros((0, 32), np.uint8), 9) == ([], [])
