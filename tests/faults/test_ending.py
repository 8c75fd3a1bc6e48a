"""How `palisade worker` ends: it drains, or hands back at once what it has begun."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.jobs.records import Order
from moderation.tables import Job, Scan
from tests.faults.installation import HARMFUL, SLEEPS, SOON, Installation
from tests.faults.services import Postgres, Redis, until

pytestmark = pytest.mark.slow


@pytest.fixture
def installation(folder: Path, postgres: Postgres, redis: Redis) -> Installation:
    return Installation(folder / "ending", postgres.url, f"{redis.url}/1", job_seconds=600, job_lease_seconds=600)


@pytest.fixture
def app(installation: Installation) -> Iterator[Application]:
    made = installation.application()
    made.database.migrate()
    yield made
    made.database.close()


def find(app: Application, job: Job) -> Job:
    return app.jobs.find("default", job.id)[0]


def test_a_second_signal_hands_back_what_was_begun(app: Application, installation: Installation) -> None:
    """Leases last ten minutes here: that the next worker begins the job is no lease's doing."""
    with installation.running("worker", faults={"images": HARMFUL}) as running:
        job = app.jobs.submit("default", Order(SLEEPS))
        until(lambda: find(app, job).state == "running", what=installation.log[-2_000:])
        waiting = app.jobs.submit("default", Order(SOON))
        running.send_signal(signal.SIGTERM)
        until(lambda: "Warm shutdown" in installation.log, what="the first signal")
        assert find(app, job).state == "running", "it finishes what it has begun"
        running.send_signal(signal.SIGTERM)
        ended(running)

    given_back = find(app, job)
    assert (given_back.state, given_back.attempts, given_back.losses) == ("queued", 0, 0)
    assert find(app, waiting).state == "queued"
    app.recovery.recover()
    with installation.running("worker"):
        until(lambda: find(app, job).state == find(app, waiting).state == "done", what="the next worker", every=0.2)
    with app.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Scan)) == 2


def ended(running: "subprocess.Popen[bytes]") -> None:
    until(lambda: running.poll() is not None, what="the worker's end")
    assert running.returncode in (0, 1), "it ended by itself"
