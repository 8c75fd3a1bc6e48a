"""New entries of banks against what is stored."""

import numpy as np
import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.rescans.records import PlanSpec
from moderation.tables import BankEntry, BankMatch, Scan, StoredImage
from tests.moderation.rescans.stored import findings, run, store

COUNT = 40


def hashes(number: int) -> dict[str, list[bytes]]:
    """Of picture `number`: every kind of signal."""
    found = {f.label: f.evidence for f in findings(number) if f.detector == "signals"}
    return {
        "sha256": [bytes.fromhex(found["sha256"]["hash"])],
        "md5": [bytes.fromhex(found["md5"]["hash"])],
        "phash": [bytes.fromhex(found["phash"]["hash"])],
        "pdq": [bytes.fromhex(text) for text in found["pdq"]["orientations"]],
    }


def flipped(value: bytes, bits: int, seed: int = 0) -> bytes:
    """The hash with so many bits turned."""
    unpacked = np.unpackbits(np.frombuffer(value, np.uint8))
    unpacked[np.random.default_rng(seed).choice(len(unpacked), bits, replace=False)] ^= 1
    return np.packbits(unpacked).tobytes()


@pytest.fixture
def hosted(application: Application) -> Application:
    store(application.database, application.policies.get(""), [findings(i) for i in range(COUNT)])
    application.banks.create("default", BankSpec("ours", action_hint="block"), actor="test")
    return application


def add(application: Application, *signals: Signal) -> None:
    application.banks.add("default", "ours", [NewEntry(signal) for signal in signals], actor="test")


def blocked(application: Application, since: int = 0) -> set[str]:
    """Plan and run; the pictures whose newest verdict is to block."""
    plan = application.rescans.plan("default", PlanSpec("banks", since_entry=since), actor="test")
    run(application, plan.id)
    view = application.rescans.find("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.failed) == ("done", COUNT, 0)
    with application.database.read() as session:
        return set(session.scalars(sa.select(Scan.external_id).where(Scan.action == "block")))


@pytest.mark.parametrize("packed", [True, False])
def test_every_kind_of_signal_finds_its_image_and_no_other(hosted: Application, packed: bool) -> None:
    if not packed:  # images of before there were packed probes
        with hosted.database.write() as session:
            session.execute(sa.update(StoredImage).values(probes=None))
    add(
        hosted,
        Signal("sha256", hashes(0)["sha256"][0]),
        Signal("md5", hashes(1)["md5"][0]),
        Signal("phash", flipped(hashes(2)["phash"][0], 6)),
        Signal("phash", flipped(hashes(3)["phash"][0], 7)),
        *(Signal("pdq", flipped(hashes(4 + turn)["pdq"][turn], 31, seed=turn)) for turn in range(8)),
        *(Signal("pdq", flipped(hashes(20 + turn)["pdq"][turn], 32, seed=turn)) for turn in range(8)),
    )

    assert blocked(hosted) == {f"pic-{number}" for number in (0, 1, 2, *range(4, 12))}

    with hosted.database.read() as session:
        matches = session.scalars(sa.select(BankMatch)).all()
        turned = session.scalars(sa.select(Scan).where(Scan.external_id == "pic-9", Scan.action == "block")).one()
    assert len(matches) == 11
    (known,) = turned.lookups or []
    assert (known["evidence"]["orientation"], known["evidence"]["distance"]) == (5, 31)


def test_only_new_entries_are_compared(hosted: Application) -> None:
    add(hosted, Signal("sha256", hashes(0)["sha256"][0]))
    with hosted.database.read() as session:
        newest = session.scalar(sa.select(sa.func.max(BankEntry.id))) or 0
    add(hosted, Signal("sha256", hashes(1)["sha256"][0]))

    assert blocked(hosted, since=newest) == {"pic-1"}


def test_a_negative_bank_still_suppresses(hosted: Application) -> None:
    hosted.banks.create("default", BankSpec("benign", negative=True), actor="test")
    hosted.banks.add("default", "benign", [NewEntry(Signal("pdq", hashes(5)["pdq"][0]))], actor="test")
    add(hosted, Signal("pdq", flipped(hashes(5)["pdq"][0], 4)), Signal("pdq", hashes(6)["pdq"][0]))

    assert blocked(hosted) == {"pic-6"}


def test_the_policy_path_looks_lists_up_as_they_are_now(hosted: Application) -> None:
    add(hosted, Signal("pdq", flipped(hashes(7)["pdq"][3], 20)), Signal("md5", hashes(8)["md5"][0]))
    plan = hosted.rescans.plan("default", PlanSpec("policy"), actor="test")

    run(hosted, plan.id)

    with hosted.database.read() as session:
        found = set(session.scalars(sa.select(Scan.external_id).where(Scan.action == "block")))
    assert found == {"pic-7", "pic-8"}


def test_a_page_is_looked_up_as_single_images_are(hosted: Application) -> None:
    random = np.random.default_rng(3)
    add(
        hosted,
        *(
            Signal("pdq", flipped(hashes(n)["pdq"][int(random.integers(8))], int(random.integers(20, 45)), seed=n))
            for n in range(COUNT)
        ),
    )
    plan = hosted.rescans.plan("default", PlanSpec("policy"), actor="test")
    run(hosted, plan.id)

    for number in range(COUNT):
        expected = hosted.scanner.look_up(findings(number), "default")
        with hosted.database.read() as session:
            query = sa.select(Scan).where(Scan.external_id == f"pic-{number}").order_by(Scan.id.desc()).limit(1)
            scan = session.scalars(query).one()
        if any(f.label == "known" for f in expected):
            assert scan.lookups == [f.as_dict() for f in expected if f.detector == "known"]
        else:
            assert scan.action == "allow"
