"""Clocks that jumped: what a clock that was a year ahead left behind holds nothing up."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from moderation import events
from moderation.database import Database
from moderation.events import Outbox
from moderation.fetch import SafeClient
from moderation.jobs.recovery import JobRecovery
from moderation.jobs.repository import JobRepository
from moderation.jobs.service import JobService
from moderation.leases import Leases, is_held
from moderation.settings import Settings
from moderation.tables import Job, Lease, new_id, utc_now

YEAR = timedelta(days=365)


def job(state: str = "queued", **moments: object) -> Job:
    """A row that a process with another clock wrote."""
    plain = {"source": None, "size": 0, "spooled": False, "policy": "", "what": {}, "attempts": 0, "losses": 0}
    kept = {
        "batch_id": None,
        "line": None,
        "scan_id": None,
        "code": "",
        "error": "",
        "finished_at": None,
        "holder": "x",
    }
    row = {"id": new_id("job"), "tenant_id": "default", "created_at": utc_now(), "lane": "bulk", "state": state}
    when = {"run_at": utc_now(), "rung_at": None, "held_until": None, **moments}
    return Job(**row, **plain, **kept, **when)


class Bell:
    """Hears who is rung for."""

    can_ring = True

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, job_id: str, lane: str) -> None:
        self.rung.append(job_id)


@pytest.fixture
def recovery(database: Database, monkeypatch: pytest.MonkeyPatch) -> JobRecovery:
    settings = Settings(_env_file=None)
    jobs = JobService.__new__(JobService)
    jobs.database, jobs.doorbell = database, Bell()
    return JobRecovery(jobs, settings)


def test_a_lease_of_a_clock_that_was_ahead_is_none(database: Database) -> None:
    with database.write() as session:
        session.add(Lease(name="x", holder="of a clock that was ahead", held_until=utc_now() + YEAR))

    with Leases(database).held("x") as mine:
        assert mine
        with Leases(database).held("x") as other:
            assert not other


def test_what_a_lease_is() -> None:
    now, lasts = utc_now(), timedelta(seconds=60)

    assert [is_held(now + timedelta(seconds=seconds), now, lasts) for seconds in (-1, 0, 1, 60, 119, 121)] == [
        False,
        False,
        True,
        True,
        True,
        False,
    ]


def test_a_job_that_a_clock_ahead_holds_is_given_to_another(database: Database, recovery: JobRecovery) -> None:
    held, running = (
        job("running", held_until=utc_now() + YEAR),
        job("running", held_until=utc_now() + timedelta(seconds=20)),
    )
    with database.write() as session:
        JobRepository(session).add([held, running])

    assert recovery.take_from_the_dead(recovery.now()) == 1
    with database.read() as session:
        states = dict(tuple(row) for row in session.execute(sa.select(Job.id, Job.state)))
    assert states == {held.id: "queued", running.id: "running"}


def test_jobs_that_a_clock_ahead_queued_or_rang_are_told_of(database: Database, recovery: JobRecovery) -> None:
    ahead, rung = job(run_at=utc_now() + YEAR), job(rung_at=utc_now() + YEAR)
    later, told = job(run_at=utc_now() + timedelta(minutes=30)), job(rung_at=utc_now())
    with database.write() as session:
        JobRepository(session).add([ahead, rung, later, told])

    assert recovery.ring("bulk", recovery.now()) == 2
    assert set(recovery.jobs.doorbell.rung) == {ahead.id, rung.id}


def test_an_event_of_a_clock_ahead_is_delivered(database: Database) -> None:
    with database.write() as session:
        events.add(session, "default", "test.told", {}, now=utc_now() + YEAR)
        waits = events.add(session, "default", "test.told", {}, now=utc_now() + timedelta(hours=12)).id
    settings = Settings(_env_file=None, webhook_url="https://host.example/", webhook_secrets="whsec_" + "QUFB" * 8)
    outbox = Outbox(database, SafeClient(settings), settings)

    assert [event.id == waits for event in outbox._lease(10, utc_now())] == [False]
