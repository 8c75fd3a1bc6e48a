"""A disk without room: for images that wait, and for the database. What could not be written is said, and goes on once there is room."""

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from api.app import create_app
from moderation.application import Application
from moderation.errors import StorageError
from moderation.jobs.records import Order
from moderation.rescans.paths import PolicyPath
from moderation.rescans.records import PlanSpec
from moderation.tables import Event, Scan, utc_now
from tests.factories import encode, picture
from tests.faults.installation import SOON, Installation
from tests.faults.services import until
from tests.moderation.rescans.stored import findings, store

LARGE = encode(np.random.default_rng(1).integers(0, 256, (1_000, 1_200, 3), np.uint8), "PNG")
"""More than 3 MB: larger than any file may be for the time being."""

ROOM = 2_000_000


@contextmanager
def no_room_for_large_files() -> Iterator[None]:
    """The kernel refuses to write beyond `ROOM` in any file, as a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full(app: Application, *, pages: int = 2) -> Iterator[None]:
    """SQLite may not grow by more than so many pages of its file: then it says `database or disk is full`."""
    most = {"pages": 0}

    def limit(connection: Any, _record: Any, _proxy: Any) -> None:
        if most["pages"]:
            connection.execute(f"PRAGMA max_page_count = {most['pages']}").close()

    with app.database.engine.connect() as connection:
        most["pages"] = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + pages
    sa.event.listen(app.database.engine, "checkout", limit)
    try:
        yield
    finally:
        most["pages"] = 1_000_000_000


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path, f"sqlite:///{tmp_path / 'palisade.db'}", "")


@pytest.fixture
def app(installation: Installation) -> Iterator[Application]:
    made = installation.application()
    made.database.migrate()
    yield made
    made.database.close()


def spooled(app: Application) -> list[Path]:
    return [path for path in (app.settings.data_dir / "spool").rglob("*") if path.is_file()]


def count(app: Application, table: type[Scan | Event]) -> int:
    with app.database.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def test_a_full_spool_takes_nothing_leaves_nothing_and_goes_on(app: Application) -> None:
    with no_room_for_large_files():
        with pytest.raises(StorageError, match=r"could not be kept: .*File too large") as refusal:
            app.jobs.submit("default", Order(LARGE))
        small = app.jobs.submit("default", Order(SOON))
    assert "PALISADE_SPOOL_URL and free space" in refusal.value.hint
    assert len(spooled(app)) == 1, "nothing of the large one is left"

    large = app.jobs.submit("default", Order(LARGE))

    assert [app.runner.run(job.id) for job in (small, large)] == ["done", "done"]
    assert spooled(app) == []
    assert (count(app, Scan), count(app, Event)) == (2, 2)


def test_a_full_database_hands_a_job_back_which_is_done_once_there_is_room(app: Application) -> None:
    first, second = (app.jobs.submit("default", Order(SOON)) for _ in range(2))
    app.runner.run(first.id)
    jobs = [app.jobs.submit("default", Order(encode(picture(64, 64, seed=seed)))) for seed in range(12)]

    ended: list[str] = []
    with full(app), pytest.raises(OperationalError, match="full"):
        for job in jobs:
            ended.append(app.runner.run(job.id))
    assert ended.count("done") == count(app, Scan) - 1 < 12
    app.recovery.take_from_the_dead(utc_now() + timedelta(hours=1))  # the one whose end could not be written

    for job in (second, *jobs):
        app.runner.run(job.id)
    assert app.jobs.counts("default") == {"done": 14}
    assert (count(app, Scan), count(app, Event)) == (14, 14)
    assert spooled(app) == []


def test_a_full_database_is_an_answer_of_the_api(app: Application, installation: Installation) -> None:
    with TestClient(create_app(app), raise_server_exceptions=False) as client:
        with full(app, pages=0):
            answers = [send(client, seed) for seed in range(20)]
        refused = [answer for answer in answers if answer[0] != 201]
        assert refused, "there was room"
        assert {(status, body["error"]["code"]) for status, body in refused} == {(503, "database_unavailable")}
        assert count(app, Scan) == 20 - len(refused)

        assert [send(client, seed)[0] for seed in range(20)] == [201] * 20


def send(client: TestClient, seed: int) -> tuple[int, Any]:
    data = encode(picture(64, 64, seed=seed))
    answer = client.post("/v1/scans", content=data, headers={"Content-Type": "image/png"})
    return answer.status_code, answer.json()


def test_a_plan_that_finds_no_room_goes_on_where_it_was(
    app: Application, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PolicyPath, "size", 10)
    store(app.database, app.policies.get(""), [findings(number) for number in range(100)])
    installation.write_policy(version=2, width=600)
    stricter = installation.application(rescan_lease_seconds=0.2)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")

    with full(stricter, pages=8), pytest.raises(OperationalError, match="full"):
        advance(stricter, plan.id)
    before = stricter.rescans.find("default", plan.id)
    assert before.plan.state == "running"
    assert before.progress.left > 0
    assert count(stricter, Scan) == 100 + before.progress.changed, "whole pages only"

    def is_done() -> bool:
        advance(stricter, plan.id)  # the lease of the shard has to end first
        return stricter.rescans.find("default", plan.id).plan.state == "done"

    until(is_done, what="the plan")
    with stricter.database.read() as session:
        new = Counter(session.scalars(sa.select(Scan.external_id).where(Scan.policy_version == 2)))
        events = session.scalars(sa.select(Event.payload).where(Event.kind == "verdict.changed")).all()
    stricter.database.close()
    assert new == Counter({f"pic-{number}": 1 for number in range(100)})
    assert sum(len(event["changes"]) for event in events) == 100


def advance(app: Application, plan_id: str) -> bool:
    """All that can be taken now."""
    worked = False
    while app.rescans.advance("test", plan_id=plan_id):
        worked = True
    return worked
