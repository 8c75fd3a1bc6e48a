"""`palisade worker` and `palisade beat` as processes, with a real Redis, and what becomes of jobs when they die."""

import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from moderation.application import Application
from moderation.jobs.records import Order
from tests.factories import encode, picture
from tests.hosts import Host
from tests.moderation.jobs.workers import (
    app,
    done_once_though_the_worker_is_killed,
    effects,
    environment_of,
    held_back,
    process,
    state,
    until,
)

__all__ = ["app"]

pytestmark = pytest.mark.slow


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
    return environment_of(broker, database_url, tmp_path)


def test_a_job_whose_worker_is_killed_is_done_once(app: Application, environment: dict[str, str], host: Host) -> None:
    done_once_though_the_worker_is_killed(app, environment, host)


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
