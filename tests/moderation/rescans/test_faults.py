"""What goes wrong while a plan runs: workers that are killed, that come twice, clocks that jump, images that go."""

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.rescans.paths import PolicyPath
from moderation.rescans.records import PlanSpec
from moderation.rescans.repository import RescanRepository
from moderation.rescans.service import RescanService
from moderation.tables import Event, Measurement, RescanShard, Scan, StoredImage
from tests.moderation.rescans.stored import findings, run, store

ROOT = Path(__file__).parents[3]


def seed(application: Application, count: int) -> list[str]:
    """Every second picture is held by the stricter policy only."""
    images = [findings(i, nsfw=0.05 if i % 2 == 0 else 0.5) for i in range(count)]
    return store(application.database, application.policies.get(""), images)


def check_effects(application: Application, old: list[str], changed: int) -> None:
    """Every changed posting has one new scan, and was told once."""
    with application.database.read() as session:
        new = session.scalars(sa.select(Scan).where(Scan.id.not_in(old))).all()
        events = session.scalars(sa.select(Event).where(Event.kind == "verdict.changed")).all()
    told = Counter(change["scan"] for event in events for change in event.payload["changes"])
    assert Counter(scan.external_id for scan in new).most_common(1)[0][1] == 1
    assert len(new) == changed
    assert told == Counter(scan.id for scan in new)


def start(folder: Path, url: str, plan_id: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.moderation.rescans.process", str(folder), url, plan_id]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


@pytest.mark.slow
def test_killed_workers_leave_every_image_judged_once(
    application: Application, stricter: Application, tmp_path: Path, database_url: str
) -> None:
    old = seed(application, 600)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
    chance, killed = random.Random(3), 0

    for _ in range(4):
        process = start(tmp_path, database_url, plan.id)
        assert process.stdout
        process.stdout.readline()
        time.sleep(chance.uniform(0.02, 0.12))
        killed += process.poll() is None
        process.kill()
        process.wait()
        process.stdout.close()
    left = stricter.rescans.find("default", plan.id).progress.left
    survivors = [start(tmp_path, database_url, plan.id) for _ in range(2)]
    for process in survivors:
        assert process.wait(timeout=120) == 0
        assert process.stdout
        process.stdout.close()

    view = stricter.rescans.find("default", plan.id)
    assert killed
    assert left > 0
    assert (view.plan.state, view.progress.done, view.progress.changed) == ("done", 600, 300)
    check_effects(stricter, old, 300)


def test_workers_side_by_side_judge_every_image_once(
    application: Application, stricter: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PolicyPath, "size", 7)
    old = seed(application, 200)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
    errors: list[BaseException] = []

    def work(number: int) -> None:
        service = RescanService(stricter.database, stricter.rescans.paths, shard=20)
        try:
            while service.find("default", plan.id).plan.state == "running":
                if not service.advance(f"worker {number}"):
                    time.sleep(0.01)
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    progress = stricter.rescans.find("default", plan.id).progress
    assert errors == []
    assert (progress.done, progress.changed) == (200, 100)
    check_effects(stricter, old, 100)


def test_a_worker_that_was_taken_for_dead_writes_nothing(
    application: Application, stricter: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It judges a page so slowly that its lease ends, and another worker takes the shard."""
    old = seed(application, 40)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
    other = RescanService(stricter.database, stricter.rescans.paths)
    judge = PolicyPath.judge
    slept: list[bool] = []

    def slow(path: PolicyPath, rows: list[object]) -> object:
        if not slept:
            slept.append(True)
            with stricter.database.write() as session:  # as if an hour passed
                ends = RescanShard.leased_until.is_not(None)
                session.execute(sa.update(RescanShard).where(ends).values(leased_until=None))
            assert other.advance("the other", plan_id=plan.id)
        return judge(path, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(PolicyPath, "judge", slow)
    stricter.rescans.advance("the slow one", plan_id=plan.id)
    run(stricter, plan.id)

    progress = stricter.rescans.find("default", plan.id).progress
    assert (progress.done, progress.changed) == (40, 20)
    check_effects(stricter, old, 20)


@pytest.mark.parametrize("jump", [timedelta(days=-300), timedelta(days=300)])
def test_a_clock_that_jumps_holds_nothing_up_and_repeats_nothing(
    application: Application, stricter: Application, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    monkeypatch.setattr(PolicyPath, "size", 10)
    old = seed(application, 40)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
    service = RescanService(stricter.database, stricter.rescans.paths, shard=20)
    now, writes = RescanRepository.now, []

    def jumping(repository: RescanRepository) -> object:
        writes.append(1)
        return now(repository) + (jump if len(writes) > 3 else timedelta(0))

    claim = service.worker._claim  # a worker that dies right after its claim
    claim(plan, "one that dies", timedelta(seconds=60))
    monkeypatch.setattr(RescanRepository, "now", jumping)
    writes.extend([1, 1, 1])
    while service.advance("test", plan_id=plan.id):
        pass
    progress = service.find("default", plan.id).progress

    assert (progress.done, progress.changed) == (40, 20)
    check_effects(stricter, old, 20)


def test_an_image_that_is_deleted_meanwhile_is_counted_and_nothing_else(
    application: Application, stricter: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = seed(application, 20)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
    judge = PolicyPath.judge

    def deleting(path: PolicyPath, rows: list[object]) -> object:
        judged = judge(path, rows)  # type: ignore[arg-type]
        with stricter.database.write() as session:
            doomed = session.scalars(sa.select(Scan.image_id).where(Scan.id.in_((old[0], old[1])))).all()
            session.execute(sa.delete(Scan).where(Scan.image_id.in_(doomed)))
            session.execute(sa.delete(Measurement).where(Measurement.image_id.in_(doomed)))
            session.execute(sa.delete(StoredImage).where(StoredImage.id.in_(doomed)))
        return judged

    monkeypatch.setattr(PolicyPath, "judge", deleting)
    run(stricter, plan.id)

    view = stricter.rescans.find("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.changed, view.progress.gone) == ("done", 19, 9, 1)
    check_effects(stricter, old, 9)


def test_a_posting_that_was_scanned_again_meanwhile_keeps_its_newer_verdict(
    application: Application, stricter: Application
) -> None:
    old = seed(application, 4)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
    with stricter.database.write() as session:
        first = session.scalars(sa.select(Scan).where(Scan.id == old[0])).one()
        values = {column.name: getattr(first, column.name) for column in Scan.__table__.columns}
        newer = {**values, "id": "scan_z" + old[0][6:], "action": "block"}
        session.execute(sa.insert(Scan), [newer])

    run(stricter, plan.id)

    with stricter.database.read() as session:
        query = sa.select(Scan.action).where(Scan.external_id == "pic-0").order_by(Scan.id.desc())
        assert session.scalars(query).all() == ["block", "allow"]
    assert stricter.rescans.find("default", plan.id).progress.changed == 1
