"""`palisade worker` and `palisade beat` as processes, with a real Redis, and what becomes of jobs when they die."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.jobs.records import Order
from moderation.settings import Settings
from moderation.tables import Event, Job, Scan
from tests.factories import encode, picture
from tests.faults.installation import Installation
from tests.hosts import Host

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

START_SECONDS = 120
"""Of a worker on a busy machine."""


@pytest.fixture
def broker(redis_url: str) -> Iterator[str]:
    """A database of the Redis that no other test uses, empty."""
    with redis.Redis.from_url(redis_url) as server:
        count = int(server.config_get("databases")["databases"])
    url = f"{redis_url}/{1 + uuid.uuid4().int % (count - 1)}"
    with redis.Redis.from_url(url) as database:
        database.flushdb()
        yield url
        database.flushdb()


@pytest.fixture
def environment(broker: str, database_url: str, tmp_path: Path) -> dict[str, str]:
    light = Installation(tmp_path / "light", database_url, broker).values
    return {
        "PALISADE_DATA_DIR": str(tmp_path),
        "PALISADE_MODELS_DIR": light["models_dir"],
        "PALISADE_POLICIES_DIR": light["policies_dir"],
        "PALISADE_POLICY": light["policy"],
        "PALISADE_DATABASE_URL": database_url,
        "PALISADE_BROKER_URL": broker,
        "PALISADE_IMAGE_KEYS": new_secret("k1"),
        "PALISADE_PEOPLE_KEYS": new_secret("k1"),
        "PALISADE_TAKEDOWN_KEYS": new_secret("k1"),
        "PALISADE_FETCH_ALLOWED_NETWORKS": "127.0.0.0/8",
        "PALISADE_FETCH_SECONDS": "60",
        "PALISADE_JOB_LEASE_SECONDS": "3",
        "PALISADE_JOB_RETRY_SECONDS": "0.2",
        "PALISADE_JOB_RING_SECONDS": "3",
        "PALISADE_CHORES_SECONDS": "0.5",
    }


@pytest.fixture
def app(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Application]:
    """What the server is in this test: it takes jobs, and does none."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    application = Application(Settings(_env_file=None))
    application.database.migrate()
    yield application
    application.database.close()


@contextmanager
def process(environment: dict[str, str], *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A command of Palisade in a process group of its own, which is killed at the end."""
    command = [sys.executable, "-m", "moderation", *arguments]
    values = {**os.environ, **environment}
    with subprocess.Popen(command, cwd=ROOT, env=values, start_new_session=True) as running:
        try:
            yield running
        finally:
            kill(running)


def kill(running: "subprocess.Popen[bytes]") -> None:
    """kill -9, with every process that it made."""
    try:
        os.killpg(running.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it ended by itself
    running.wait(30)


def until(is_so: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    ends = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.05)


def state(app: Application, job: Job) -> str:
    return app.jobs.find("default", job.id)[0].state


def effects(app: Application) -> tuple[int, int]:
    """How many scans and events of ended jobs there are."""
    with app.database.read() as session:
        scans = session.scalar(sa.select(sa.func.count()).select_from(Scan)) or 0
        told = session.scalar(sa.select(sa.func.count()).where(Event.kind == "scan.finished")) or 0
    return scans, told


@contextmanager
def held_back(host: Host, path: str) -> Iterator[threading.Event]:
    """Makes the host answer for `path` only once the event is set."""
    go_on = threading.Event()

    class Slow(dict[str, bytes]):
        def get(self, key: str, default: Any = None) -> Any:
            if key == path:
                go_on.wait(60)
            return super().get(key, default)

    host.files = Slow(host.files)
    try:
        yield go_on
    finally:
        go_on.set()


def test_a_job_whose_worker_is_killed_is_done_once(app: Application, environment: dict[str, str], host: Host) -> None:
    host.files["/a.jpg"] = encode(picture(seed=1), "JPEG")
    with held_back(host, "/a.jpg") as go_on, process(environment, "beat"):
        job = app.jobs.submit("default", Order(source=f"{host.url}/a.jpg"))
        with process(environment, "worker") as first:
            until(lambda: state(app, job) == "running")
            kill(first)
        go_on.set()
        with process(environment, "worker"):
            until(lambda: state(app, job) == "done")

    assert effects(app) == (1, 1)
    assert app.jobs.find("default", job.id)[0].losses == 1


def test_a_worker_told_to_end_finishes_what_it_has_begun(
    app: Application, environment: dict[str, str], host: Host
) -> None:
    host.files["/a.jpg"] = encode(picture(seed=1), "JPEG")
    with held_back(host, "/a.jpg") as go_on, process(environment, "worker") as running:
        job = app.jobs.submit("default", Order(source=f"{host.url}/a.jpg"))
        until(lambda: state(app, job) == "running")
        waiting = [app.jobs.submit("default", Order(encode(picture(seed=seed)))) for seed in (2, 3)]
        running.send_signal(signal.SIGTERM)
        time.sleep(1)
        go_on.set()

        assert running.wait(60) == 0

    assert state(app, job) == "done"
    assert [state(app, job) for job in waiting] == ["queued", "queued"]
    with process(environment, "beat"), process(environment, "worker"):
        until(lambda: effects(app) == (3, 3))


def test_what_a_flushed_redis_lost_is_done(app: Application, environment: dict[str, str], broker: str) -> None:
    jobs = [app.jobs.submit("default", Order(encode(picture(seed=seed)))) for seed in range(3)]
    with redis.Redis.from_url(broker) as server:
        assert server.llen("interactive") == 3
        server.flushdb()

    with process(environment, "beat"), process(environment, "worker"):
        until(lambda: effects(app) == (3, 3))

    assert {state(app, job) for job in jobs} == {"done"}


def test_a_server_without_redis_takes_jobs_that_are_done_when_it_is_back(
    environment: dict[str, str], app: Application
) -> None:
    deaf = Application(app.settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"}))
    job = deaf.jobs.submit("default", Order(encode(picture(seed=1))))
    deaf.database.close()

    with process(environment, "beat"), process(environment, "worker"):
        until(lambda: state(app, job) == "done")
