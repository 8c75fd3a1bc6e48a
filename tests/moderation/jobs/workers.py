"""`palisade worker` and `palisade beat` as processes, and what came of the jobs that they did."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.commands.keys import new_secret
from moderation.jobs.records import Order
from moderation.settings import Settings
from moderation.tables import Event, Job, Scan
from tests.factories import encode, picture
from tests.faults.installation import Installation
from tests.hosts import Host

ROOT = Path(__file__).parents[3]

START_SECONDS = 120
"""Of a worker on a busy machine."""


def environment_of(broker: str, database_url: str, folder: Path) -> dict[str, str]:
    """Of processes that share a broker and a database, and give dead workers up soon."""
    light = Installation(folder / "light", database_url, broker).values
    return {
        "PALISADE_DATA_DIR": str(folder),
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
def app(environment: dict[str, str]) -> Iterator[Application]:
    """What the server is in these tests, with the variables of `environment`: it takes jobs, and does none."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value)
        application = Application(Settings(_env_file=None))
    application.database.migrate()
    yield application
    application.database.close()


def done_once_though_the_worker_is_killed(app: Application, environment: dict[str, str], host: Host) -> None:
    """A job whose worker is killed in the midst of it is done by another one, with its effects once."""
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
