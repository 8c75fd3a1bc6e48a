"""What docs/tasks.md promises of `palisade worker`, held by one worker with a real Redis: limits of time and memory, images that
kill it, messages that come twice, shards of re-scans that are sent to a queue."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.jobs.records import Order
from moderation.rescans.records import PlanSpec
from moderation.scans.service import HostContext, Upload
from moderation.tables import Event, Job, Scan
from tests.factories import encode, picture
from tests.faults.installation import DIES, EATS, HANGS, HARMFUL, SLEEPS, SOON, Installation
from tests.faults.services import Postgres, Redis, until

pytestmark = pytest.mark.slow

SECONDS = 5

FAULTS = {"page": 5, "images": HARMFUL}


@pytest.fixture(scope="module")
def installation(folder: Path, postgres: Postgres, redis: Redis) -> Installation:
    return Installation(
        folder / "limits",
        postgres.url,
        f"{redis.url}/1",
        job_seconds=SECONDS,
        job_attempts=2,
        job_losses=2,
        worker_memory_mb=400,
    )


@pytest.fixture(scope="module")
def app(installation: Installation) -> Iterator[Application]:
    """What a server is: it takes jobs, and does none. A message says how long its task may take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moderation.tasks.GRACE", 1)
        made = installation.application()
        made.database.migrate()
        yield made
        made.database.close()


@pytest.fixture(scope="module")
def worker(installation: Installation, app: Application) -> Iterator[None]:
    """One worker for all of these tests, whose first job is done."""
    with installation.running("worker", "--queues", "interactive,bulk,gpu", faults=FAULTS):
        first = submit(app, SOON)
        until(lambda: state(app, first) == "done", what=f"the first job; {installation.log[-2_000:]}")
        yield


def submit(app: Application, data: bytes, name: str = "") -> Job:
    return app.jobs.submit("default", Order(data, context=HostContext(external_id=name)))


def state(app: Application, job: Job) -> str:
    return app.jobs.find("default", job.id)[0].state


def ends(app: Application, job: Job, wanted: str) -> Job:
    """Wait for a job's end, looking over all jobs meanwhile as beat would have it done."""

    def has_ended() -> bool:
        app.recovery.recover()
        return state(app, job) in ("done", "failed", "quarantined")

    until(has_ended, what=f"the end of {job.id}", every=0.3)
    found = app.jobs.find("default", job.id)[0]
    assert found.state == wanted
    return found


def count(app: Application, *of: Any) -> int:
    with app.database.read() as session:
        return session.scalar(sa.select(sa.func.count()).where(*of)) or 0


def holder_after(app: Application, data: bytes, name: str) -> str:
    """The process that scanned an image: holders are named after them."""
    job = ends(app, submit(app, data, name), "done")
    return job.holder.split("/")[1]


def test_a_scan_that_takes_too_long_is_ended_and_its_process_lives(app: Application, worker: None) -> None:
    before = holder_after(app, SOON, "before")

    job = ends(app, submit(app, SLEEPS, "sleeps"), "quarantined")

    assert (job.code, job.attempts, job.losses) == ("job_timeout", 2, 0)
    assert f"longer than {SECONDS} s" in job.error
    assert holder_after(app, SOON, "after") == before
    assert count(app, Event.kind == "scan.finished", Event.payload["job"].as_string() == job.id) == 1


def test_a_scan_that_does_not_heed_its_limit_loses_its_process(app: Application, worker: None) -> None:
    before = holder_after(app, SOON, "before")

    job = ends(app, submit(app, HANGS, "hangs"), "quarantined")

    assert (job.code, job.losses) == ("worker_lost", 2)
    assert holder_after(app, SOON, "after") != before
    assert count(app, Scan.external_id == "hangs") == 0


def test_an_image_that_kills_its_workers_is_quarantined_and_the_others_are_done(app: Application, worker: None) -> None:
    poison = submit(app, DIES, "dies")
    others = [submit(app, SOON, f"beside-{number}") for number in range(3)]

    job = ends(app, poison, "quarantined")

    assert (job.code, job.losses) == ("worker_lost", 2)
    for other in others:
        ends(app, other, "done")
    assert count(app, Scan.external_id.like("beside-%")) == 3


def test_a_process_that_grew_too_large_is_replaced_after_its_task(app: Application, worker: None) -> None:
    before = holder_after(app, SOON, "before")

    assert holder_after(app, EATS, "eats") == before, "its task is not broken off"
    assert holder_after(app, SOON, "after") != before
    assert count(app, Scan.external_id == "eats") == 1


def test_every_message_delivered_twice_through_the_broker_has_its_effects_once(
    app: Application, worker: None, twice: Callable[[], None]
) -> None:
    twice()
    jobs = [submit(app, SOON, f"twice-{number}") for number in range(5)]
    for name in app.chores.chores.keys() - {"rescans"}:  # the next test's
        app.tasks._send(app.tasks.chore, (name,), "bulk")

    for job in jobs:
        ends(app, job, "done")
    last = submit(app, SOON, "twice-last")
    ends(app, last, "done")

    with app.database.read() as session:
        scans = Counter(session.scalars(sa.select(Scan.external_id).where(Scan.external_id.like("twice-%"))))
        told = session.scalars(sa.select(Event.payload).where(Event.kind == "scan.finished")).all()
    assert set(scans.values()) == {1}
    assert len(scans) == 6
    named = Counter(event["job"] for event in told)
    assert {named[job.id] for job in jobs} == {1}


@pytest.fixture
def twice(app: Application, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From then on each message is sent twice."""
    send = app.tasks._send

    def double() -> None:
        monkeypatch.setattr(app.tasks, "_send", lambda *given, **named: (send(*given, **named), send(*given, **named)))

    return double


@pytest.fixture
def make_sender(installation: Installation) -> Iterator[Callable[..., Application]]:
    """Further applications."""
    made: list[Application] = []

    def make(**changed: object) -> Application:
        made.append(installation.application(**changed))
        return made[-1]

    yield make
    for application in made:
        application.database.close()


def test_a_re_scan_that_is_sent_to_a_queue_is_worked_there(
    app: Application, installation: Installation, worker: None, make_sender: Callable[..., Application]
) -> None:
    """The policy becomes stricter; the worker, which has read the old one, judges by the name of a new one."""
    for number in range(12):
        upload = Upload(
            encode(picture(64 + number, 64, seed=100), "PNG"), context=HostContext(external_id=f"r-{number}")
        )
        app.scans.scan("default", upload)
    installation.write_policy(version=2, width=70, name="stricter")
    sender = make_sender(rescan_queue="gpu")
    plan = sender.rescans.plan("default", PlanSpec("policy", policy="stricter"), actor="test")

    assert sender.rescan_step() == 1
    sender.rescan_step()  # rung twice
    until(lambda: sender.rescans.find("default", plan.id).plan.state == "done", what="the plan")

    view = sender.rescans.find("default", plan.id)
    with sender.database.read() as session:
        judged = session.scalars(sa.select(Scan.external_id).where(Scan.policy == "stricter")).all()
    assert view.progress.failed == view.progress.left == 0
    assert Counter(judged) == Counter({f"r-{number}": 1 for number in range(6, 12)})
    assert sender.rescan_step() == 0, "nobody is called where there is nothing to do"
