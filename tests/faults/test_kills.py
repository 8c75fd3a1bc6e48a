"""kill -9 of worker, beat, server, Redis and PostgreSQL while a plan runs."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from redis import Redis as Client

from moderation.application import Application
from moderation.rescans.records import PlanSpec
from moderation.tables import Event, ReviewCase, Scan
from tests.faults.installation import SECRET, Installation
from tests.faults.services import Postgres, Redis, kill_group, until
from tests.hosts import Host, running_host
from tests.moderation.rescans.stored import findings, store

pytestmark = pytest.mark.slow

COUNT = 400
RATE = 12
"""Postings a second: the plan outlasts every kill."""

FAULTS = {"page": 4, "shard": 40}


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host(SECRET) as running:
        yield running


@pytest.fixture
def installation(folder: Path, postgres: Postgres, redis: Redis, host: Host) -> Installation:
    """The server has no broker: it works on plans itself, beside the worker that beat calls to them."""
    return Installation(
        folder / "kills",
        postgres.url,
        f"{redis.url}/1",
        webhook_url=f"{host.url}/",
        webhook_secrets=SECRET,
        rescan_queue="gpu",
    )


@pytest.fixture
def app(installation: Installation) -> Iterator[Application]:
    """All that is hosted is 640 wide, and held once the policy is stricter."""
    first = installation.application()
    first.database.migrate()
    policy = first.policies.get("")
    contexts = [{"external_id": f"pic-{number}"} for number in range(COUNT)]
    store(first.database, policy, [findings(number) for number in range(COUNT)], contexts=contexts)
    first.database.close()
    installation.write_policy(version=2, width=600)
    made = installation.application()
    yield made
    made.database.close()


def done(app: Application, plan_id: str) -> int:
    return app.rescans.find("default", plan_id).progress.done


def goes_on(app: Application, plan_id: str, installation: Installation) -> None:
    """Wait until more was judged than now."""
    before = done(app, plan_id)
    assert before < COUNT, "the plan ended before everything was killed"
    until(lambda: done(app, plan_id) > before, what=f"a further page; {installation.log[-3_000:]}", every=0.2)


def test_all_is_judged_and_told_once_whatever_is_killed(
    app: Application, installation: Installation, postgres: Postgres, redis: Redis, host: Host
) -> None:
    commands = {
        "worker": (("worker", "--queues", "interactive,bulk,gpu"), {}),
        "beat": (("beat",), {}),
        "server": (("serve",), {"broker_url": "", "rescan_queue": ""}),
    }
    with ExitStack() as stack:

        def start(name: str) -> None:
            command, changed = commands[name]
            running[name] = stack.enter_context(installation.running(*command, faults=FAULTS, **changed))

        running = {}
        for name in commands:
            start(name)
        address = f"http://127.0.0.1:{installation.values['port']}/healthz"
        until(lambda: answers(address), what=f"the server; {installation.log[-3_000:]}", every=0.3)
        until(lambda: redis_clients(redis) >= 2, what="worker and beat", every=0.3)
        plan = app.rescans.plan("default", PlanSpec("policy", rate=RATE), actor="test").id
        goes_on(app, plan, installation)
        for name in commands:
            assert running[name].poll() is None, installation.log[-3_000:]
            kill_group(running[name])
            start(name)
            goes_on(app, plan, installation)
        for service in (redis, postgres):
            service.kill()
            time.sleep(0.5)
            service.start()
            goes_on(app, plan, installation)
        until(lambda: app.rescans.find("default", plan).plan.state == "done", what="the plan", every=0.5)
        until(lambda: undelivered(app) == 0, what="the delivery of events", every=0.5)
        assert {name: process.poll() for name, process in running.items()} == dict.fromkeys(commands)

    check(app, plan, host)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def redis_clients(redis: Redis) -> int:
    """Connections to it beside the one that asks."""
    with Client.from_url(redis.url) as client:
        return len(client.client_list()) - 1


def undelivered(app: Application) -> int:
    with app.database.read() as session:
        return session.scalar(sa.select(sa.func.count()).where(Event.delivered_at.is_(None))) or 0


def check(app: Application, plan: str, host: Host) -> None:
    """Each posting has one new scan and one case, was told once, and each event arrived."""
    progress = app.rescans.find("default", plan).progress
    with app.database.read() as session:
        new = session.execute(sa.select(Scan.id, Scan.external_id).where(Scan.policy_version == 2)).all()
        cases = session.scalar(sa.select(sa.func.count()).select_from(ReviewCase))
        events = session.execute(sa.select(Event.id, Event.kind, Event.payload)).all()
    told = Counter(
        change["scan"] for _, kind, data in events if kind == "verdict.changed" for change in data["changes"]
    )
    assert (progress.done, progress.changed, progress.failed, progress.waiting) == (COUNT, COUNT, 0, 0)
    assert {external_id for _, external_id in new} == {f"pic-{number}" for number in range(COUNT)}
    assert len(new) == cases == COUNT
    assert told == Counter(scan_id for scan_id, _ in new)
    assert [kind for _, kind, _ in events].count("rescan.done") == 1
    assert set(host.ids) == {event_id for event_id, _, _ in events}
    assert host.refused == []
