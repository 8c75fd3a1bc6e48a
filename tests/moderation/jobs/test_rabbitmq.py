"""The same work with RabbitMQ as the broker: the jobs are in the database, whoever carries the messages."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from moderation.application import Application
from moderation.jobs.records import Order
from moderation.settings import Settings
from tests.factories import encode, picture
from tests.faults.services import RABBITMQ, RabbitMq
from tests.hosts import Host
from tests.moderation.jobs.workers import (
    app,
    done_once_though_the_worker_is_killed,
    effects,
    environment_of,
    process,
    state,
    until,
)

__all__ = ["app"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    if not RABBITMQ.is_file():
        pytest.skip("rabbitmq-server is not installed")
    with RabbitMq(tmp_path_factory.mktemp("rabbitmq") / "node") as running:
        yield running


@pytest.fixture
def environment(server: RabbitMq, tmp_path: Path) -> dict[str, str]:
    return environment_of(server.url, f"sqlite:///{tmp_path / 'palisade.db'}", tmp_path)


def test_a_job_whose_worker_is_killed_is_done_once(app: Application, environment: dict[str, str], host: Host) -> None:
    done_once_though_the_worker_is_killed(app, environment, host)


def test_jobs_that_were_taken_while_the_broker_was_down_are_done_when_it_is_back(
    app: Application, environment: dict[str, str], server: RabbitMq
) -> None:
    with process(environment, "beat"), process(environment, "worker"):
        first = app.jobs.submit("default", Order(encode(picture(seed=1))))
        until(lambda: state(app, first) == "done")
        server.kill()
        began = time.monotonic()
        second = app.jobs.submit("default", Order(encode(picture(seed=2))))
        assert time.monotonic() - began < 60, "an upload does not wait for a broker that is down"
        server.start()
        until(lambda: state(app, second) == "done")

    assert effects(app) == (2, 2)


@pytest.mark.parametrize("url", ["kafka://host:9092", "localhost:6379", "http://host"])
def test_a_broker_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="a broker is reached by one of redis, "):
        Settings(_env_file=None, broker_url=url)
