"""`/metrics`: what waits is said as it is, and a database that does not answer does not take the counters away."""

import re
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from api.app import create_app
from moderation import events
from moderation.application import Application
from moderation.backlog import read_backlog
from moderation.events import BACKOFF
from moderation.tables import (
    Bank,
    Event,
    Exchange,
    Job,
    Notice,
    RescanFailure,
    RescanPlan,
    RescanShard,
    ReviewCase,
    utc_now,
)


def figure(text: str, name: str) -> float | None:
    found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", text)
    return float(found[1]) if found else None


def test_nothing_waits(client: TestClient) -> None:
    text = client.get("/metrics").text

    assert figure(text, "palisade_database_up") == 1
    assert figure(text, "palisade_outbox_pending") == 0
    assert figure(text, "palisade_outbox_oldest_seconds") is None, "no event, no age"
    assert figure(text, "palisade_takedown_due_seconds") is None


def test_events_that_wait_and_those_given_up(application: Application, client: TestClient) -> None:
    now = utc_now()
    with application.database.write() as session:
        events.add(session, "default", "test.told", {}, now=now - timedelta(minutes=7))
        events.add(session, "default", "test.told", {}, now=now)
        lost = events.add(session, "default", "test.told", {}, now=now)
        lost.next_at, lost.attempts = None, len(BACKOFF) + 1
        done = events.add(session, "default", "test.told", {}, now=now)
        done.next_at, done.delivered_at = None, now

    text = client.get("/metrics").text

    assert figure(text, "palisade_outbox_pending") == 2
    assert figure(text, "palisade_outbox_given_up") == 1
    assert figure(text, "palisade_outbox_oldest_seconds") == pytest.approx(420, abs=20)


def test_an_overdue_notice_counts_below_zero(application: Application) -> None:
    now = utc_now()
    with application.database.write() as session:
        for number, (state, hours) in enumerate((("valid", -1), ("accepted", 5), ("removed", -40))):
            session.add(notice(str(number), state, now + timedelta(hours=hours)))

    backlog = read_backlog(application.database, now)

    assert backlog.notices == 2
    assert backlog.notice_due_seconds == -3600


def notice(token: str, state: str, due: object) -> Notice:
    return Notice(
        tenant_id="default",
        state=state,
        reasons=[],
        flags=[],
        details=b"",
        contact_digest="",
        token_digest=token,
        due_at=due,
        warned=0,
    )


def test_exchanges_that_are_followed(application: Application, client: TestClient) -> None:
    now = utc_now()
    with application.database.write() as session:
        for name, every, error in (("peer", 600, "the peer does not answer"), ("by-hand", 0, "")):
            bank = Bank(
                tenant_id="default",
                name=f"bank of {name}",
                negative=False,
                origin="a peer",
                category="known",
                action_hint="hold",
                radius=31,
                phash_radius=6,
                enabled_share=1.0,
                flood_limit=100,
            )
            session.add(bank)
            session.flush()
            session.add(
                Exchange(
                    tenant_id="default",
                    name=name,
                    kind="file",
                    config={},
                    bank_id=bank.id,
                    every_seconds=every,
                    synced_at=now - timedelta(hours=1),
                    error=error,
                )
            )

    text = client.get("/metrics").text

    labels = '{exchange="peer",tenant="default"}'
    assert figure(text, f"palisade_exchange_lag_seconds{labels}") == pytest.approx(3600, abs=20)
    assert figure(text, f"palisade_exchange_every_seconds{labels}") == 600
    assert figure(text, f"palisade_exchange_failing{labels}") == 1
    assert "by-hand" not in text


def test_scans_cases_and_rescans_that_wait(application: Application, client: TestClient) -> None:
    now = utc_now()
    with application.database.write() as session:
        session.add_all(job(lane, state, now - timedelta(minutes=age)) for lane, state, age in JOBS)
        for number, (queue, due, rank) in enumerate(
            (("explicit", -5, 1.0), ("explicit", 60, 2.0), ("other", -5, None))
        ):
            session.add(case(str(number), queue, now + timedelta(minutes=due), rank))
        for state, ended in (
            ("running", None),
            ("running", None),
            ("stopped", None),
            ("done", now - timedelta(days=2)),
        ):
            plan = rescan(state, ended, now)
            session.add(plan)
            session.flush()
            session.add(shard(plan, done=30))
            session.add_all(failure(plan, str(number), next_at) for number, next_at in enumerate((None, now)))

    text = client.get("/metrics").text

    assert figure(text, 'palisade_jobs{lane="interactive",state="queued"}') == 2
    assert figure(text, 'palisade_jobs_oldest_seconds{lane="interactive",state="queued"}') == pytest.approx(420, abs=20)
    assert figure(text, 'palisade_jobs{lane="bulk",state="quarantined"}') == 1
    assert 'state="done"' not in text
    assert figure(text, 'palisade_cases{queue="explicit"}') == 2
    assert figure(text, 'palisade_cases_overdue{queue="explicit"}') == 1
    assert 'queue="other"' not in text
    assert [figure(text, f'palisade_rescans{{state="{state}"}}') for state in ("running", "stopped", "paused")] == [
        2,
        1,
        0,
    ]
    assert figure(text, "palisade_rescan_left") == 2 * (100 - 5 - 30)
    assert figure(text, "palisade_rescan_failed") == 3
    assert figure(text, "palisade_rescan_oldest_seconds") == pytest.approx(3600, abs=20)


JOBS = (("interactive", "queued", 7), ("interactive", "queued", 1), ("bulk", "quarantined", 9), ("bulk", "done", 9))


def job(lane: str, state: str, sent: datetime) -> Job:
    values = {"size": 1, "spooled": False, "policy": "", "what": {}, "attempts": 0, "losses": 0, "holder": ""}
    return Job(tenant_id="default", created_at=sent, lane=lane, state=state, run_at=sent, code="", error="", **values)


def case(name: str, queue: str, due: datetime, rank: float | None) -> ReviewCase:
    values = {"harm": "other", "severity": 1, "tier": "reviewer", "state": "open", "weight": 50, "reach": 0}
    return ReviewCase(
        id=f"case_{name}",
        tenant_id="default",
        kind="scan",
        queue=queue,
        due_at=due,
        rank=rank,
        uncertainty=0.5,
        labels=[],
        **values,
    )


def rescan(state: str, ended: datetime | None, now: datetime) -> RescanPlan:
    begun = now - timedelta(hours=1)
    values = {"path": "policy", "why": "", "last": "", "frontier": "", "total": 100, "done": 5}
    return RescanPlan(tenant_id="default", state=state, spec={}, started_at=begun, ended_at=ended, **values)


def shard(plan: RescanPlan, *, done: int) -> RescanShard:
    values = {
        "state": "open",
        "cursor": "",
        "until": "",
        "worker": "",
        "fence": 0,
        "changed": 0,
        "gone": 0,
        "seconds": 1.0,
    }
    return RescanShard(tenant_id="default", plan_id=plan.id, done=done, **values)


def failure(plan: RescanPlan, scan: str, next_at: datetime | None) -> RescanFailure:
    values = {"code": "x", "message": "", "attempts": 1}
    return RescanFailure(tenant_id="default", plan_id=plan.id, scan_id=scan, next_at=next_at, **values)


def test_without_the_database_the_counters_are_still_there(application: Application) -> None:
    with application.database.engine.begin() as connection:
        connection.execute(sa.text("drop table events"))

    text = TestClient(create_app(application)).get("/metrics").text

    assert figure(text, "palisade_database_up") == 0
    assert figure(text, "palisade_outbox_pending") is None
    assert "palisade_scan_seconds_count" in text


def test_counting_what_was_given_up_does_not_read_all_events(application: Application) -> None:
    query = sa.select(sa.func.count()).where(Event.next_at.is_(None), Event.delivered_at.is_(None))
    engine = application.database.engine
    if engine.dialect.name != "sqlite":
        pytest.skip("the plan of an empty table says nothing on PostgreSQL")
    with engine.connect() as connection:
        compiled = query.compile(engine, compile_kwargs={"literal_binds": True})
        plan = connection.exec_driver_sql(f"explain query plan {compiled}").all()

    assert "ix_events_given_up" in str(plan)
