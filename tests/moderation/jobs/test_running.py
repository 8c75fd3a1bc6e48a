"""What jobs leave behind: the same, however often, by whomever and with whatever luck they are done."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.errors import ConflictError, FetchError, NotFoundError, RateLimitError, StorageError
from moderation.jobs.records import Order
from moderation.jobs.recovery import WINDOW
from moderation.jobs.running import JobRunner
from moderation.scans.service import HostContext
from moderation.tables import AuditRecord, Event, Job, Scan, utc_now
from tests.api.conftest import MakeApp
from tests.factories import encode, picture
from tests.hosts import Host
from tests.moderation.jobs.conftest import HeardBell

PHOTO = encode(picture(seed=3), "JPEG")


def rows(app: Application, table: Any) -> list[Any]:
    with app.database.read() as session:
        return list(session.scalars(sa.select(table).order_by(table.id)))


def told(app: Application, kind: str = "scan.finished") -> list[dict[str, Any]]:
    return [event.payload for event in rows(app, Event) if event.kind == kind]


def spooled(app: Application) -> list[Path]:
    return [path for path in (app.settings.data_dir / "spool").rglob("*") if path.is_file()]


def later(seconds: float) -> Any:
    return utc_now() + timedelta(seconds=seconds)


def test_a_job_ends_in_a_scan_an_event_and_no_bytes(app: Application) -> None:
    job = app.jobs.submit("default", Order(PHOTO, name="a.jpg", context=HostContext(external_id="x1")))
    (kept,) = spooled(app)
    assert PHOTO[:64] not in kept.read_bytes()

    assert app.runner.run(job.id) == "done"

    found, scan = app.jobs.find("default", job.id)
    assert scan is not None
    assert (found.state, found.attempts, found.spooled) == ("done", 1, False)
    assert (scan.external_id, scan.action) == ("x1", "allow")
    assert spooled(app) == []
    assert told(app) == [
        {
            "job": job.id,
            "batch": None,
            "line": None,
            "state": "done",
            "external_id": "x1",
            "scan": scan.id,
            "sha256": scan.image.sha256,
            "action": "allow",
            "error": None,
        }
    ]


def test_every_message_delivered_twice_leaves_the_same(app: Application) -> None:
    jobs = [app.jobs.submit("default", Order(encode(picture(seed=seed)))) for seed in range(3)]
    messages = [job.id for job in jobs] * 2
    outcomes: list[str] = []

    def deliver(part: list[str]) -> None:
        outcomes.extend(app.runner.run(job_id) for job_id in part)

    threads = [threading.Thread(target=deliver, args=(part,)) for part in (messages, messages[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == [""] * 9 + ["done"] * 3
    assert len(rows(app, Scan)) == 3
    assert sorted(event["job"] for event in told(app)) == sorted(job.id for job in jobs)


def test_a_worker_that_lost_its_lease_leaves_nothing(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt hangs before it remembers its scan; the job is taken from it and done; then it goes on."""
    job = app.jobs.submit("default", Order(PHOTO))
    measured, go_on = threading.Event(), threading.Event()
    remember = app.scans._remember

    def slow(*arguments: Any, **named: Any) -> Scan:
        if not measured.is_set():
            measured.set()
            go_on.wait(30)
        return remember(*arguments, **named)

    monkeypatch.setattr(app.scans, "_remember", slow)
    outcome: list[str] = []
    first = threading.Thread(target=lambda: outcome.append(app.runner.run(job.id)))
    first.start()
    assert measured.wait(30)

    assert app.recovery.take_from_the_dead(later(3_600)) == 1
    assert app.jobs.find("default", job.id)[0].losses == 1
    with app.database.write() as session:
        session.execute(sa.update(Job).values(run_at=utc_now()))
    assert app.runner.run(job.id) == "done"
    go_on.set()
    first.join()

    assert outcome == [""]
    assert len(rows(app, Scan)) == 1
    assert len(told(app)) == 1


def test_what_is_no_image_fails_once(app: Application) -> None:
    job = app.jobs.submit("default", Order(b"not an image"))

    assert app.runner.run(job.id) == "failed"

    found, scan = app.jobs.find("default", job.id)
    assert scan is None
    assert found.attempts == 1
    assert found.code == "not_an_image"
    assert spooled(app) == []
    assert told(app)[0]["error"]["code"] == found.code


def test_an_address_that_is_not_there_yet_is_tried_again(app: Application, host: Host) -> None:
    job = app.jobs.submit("default", Order(source=f"{host.url}/a.jpg?signature=s3cret"))
    (row,) = rows(app, Job)
    assert b"s3cret" not in row.source

    assert app.runner.run(job.id) == "queued"
    assert app.jobs.find("default", job.id)[0].code == "fetch_failed"
    host.files["/a.jpg?signature=s3cret"] = PHOTO
    threading.Event().wait(0.05)

    assert app.runner.run(job.id) == "done"
    assert app.jobs.find("default", job.id)[0].code == ""


def test_an_address_that_never_answers_fails_at_last(make_app: MakeApp, host: Host) -> None:
    app = make_app(job_attempts=2)
    job = app.jobs.submit("default", Order(source=f"{host.url}/gone.jpg"))

    assert app.runner.run(job.id) == "queued"
    threading.Event().wait(0.05)
    assert app.runner.run(job.id) == "failed"
    assert told(app)[0]["state"] == "failed"


def test_a_poison_job_is_quarantined_and_can_be_released(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    job = app.jobs.submit("default", Order(PHOTO))
    attempts = 0

    def broken(*_: Any, **__: Any) -> Scan:
        nonlocal attempts
        attempts += 1
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(app.scans, "scan", broken)
        for _ in range(10):
            app.runner.run(job.id)
            threading.Event().wait(0.02)
            with app.database.write() as session:
                session.execute(sa.update(Job).values(run_at=utc_now()))

    assert attempts == app.settings.job_attempts
    (found,) = app.jobs.jobs("default", state="quarantined")
    assert (found.id, found.error) == (job.id, "RuntimeError in the scan.")
    assert len(spooled(app)) == 1, "the bytes are there for whoever looks at it"
    assert [event["state"] for event in told(app)] == ["quarantined"]

    app.jobs.release("default", job.id, actor="test")
    assert app.runner.run(job.id) == "done"
    assert [event["state"] for event in told(app)] == ["quarantined", "done"]
    assert [record.action for record in rows(app, AuditRecord)] == ["job.quarantined", "job.released"]
    with pytest.raises(ConflictError):
        app.jobs.release("default", job.id, actor="test")


def test_a_job_that_kills_its_workers_is_quarantined(app: Application, bell: HeardBell) -> None:
    job = app.jobs.submit("default", Order(PHOTO))
    died = JobRunner(app.database, app.jobs, app.scans, app.client, app.settings)

    for loss in range(1, app.settings.job_losses + 1):
        assert died._claim(job.id) is not None, "the process dies here"
        assert app.runner.run(job.id) == "", "it still has the lease"
        assert app.recovery.take_from_the_dead(later(3_600)) == 1
        with app.database.write() as session:
            session.execute(sa.update(Job).values(run_at=utc_now()))
        assert app.jobs.find("default", job.id)[0].losses == loss

    found, _ = app.jobs.find("default", job.id)
    assert (found.state, found.code) == ("quarantined", "worker_lost")
    assert app.recovery.recover(now=later(7_200)) == 0
    assert [event["state"] for event in told(app)] == ["quarantined"]


def test_a_worker_shows_signs_of_life(make_app: MakeApp, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(job_lease_seconds=2)
    job = app.jobs.submit("default", Order(PHOTO))
    scan = app.scans.scan

    def slow(*arguments: Any, **named: Any) -> Scan:
        threading.Event().wait(4)
        assert app.recovery.take_from_the_dead(utc_now()) == 0
        return scan(*arguments, **named)

    monkeypatch.setattr(app.scans, "scan", slow)

    assert app.runner.run(job.id) == "done"


def test_what_the_broker_lost_is_told_again(app: Application, bell: HeardBell) -> None:
    jobs = [app.jobs.submit("default", Order(PHOTO)) for _ in range(3)]
    assert bell.rung == [(job.id, "interactive") for job in jobs]
    bell.rung.clear()

    assert app.recovery.recover() == 0, "they were told of a moment ago"
    assert app.recovery.recover(now=later(61)) == 3

    assert bell.rung == [(job.id, "interactive") for job in jobs]


def test_workers_are_told_of_a_window_of_bulk_jobs(app: Application, bell: HeardBell) -> None:
    batch = app.batches.begin("default", "", actor="test")
    app.batches.add(batch, [Order(source=f"http://127.0.0.1/{line}", line=line) for line in range(1, WINDOW + 50)])
    assert app.recovery.recover() == 0, "the manifest is still coming"
    app.batches.complete(batch)

    assert app.recovery.top_up() == WINDOW
    assert app.recovery.recover() == 0
    with app.database.write() as session:
        session.execute(sa.update(Job).where(Job.line <= WINDOW * 3 // 4).values(state="done"))

    assert app.recovery.top_up() == 49
    assert len({job_id for job_id, _ in bell.rung}) == WINDOW + 49


def test_no_more_is_taken_than_may_wait(make_app: MakeApp) -> None:
    app = make_app(job_most=2)
    for _ in range(2):
        app.jobs.submit("default", Order(PHOTO))

    with pytest.raises(RateLimitError) as refused:
        app.jobs.submit("default", Order(PHOTO))

    assert refused.value.retry_after > 0
    assert len(spooled(app)) == 2


def test_no_more_bytes_are_taken_than_may_wait(make_app: MakeApp) -> None:
    app = make_app(job_most_bytes=len(PHOTO) + 10)
    app.jobs.submit("default", Order(PHOTO))

    with pytest.raises(RateLimitError, match="PALISADE_JOB_MOST_BYTES"):
        app.jobs.submit("default", Order(PHOTO))


def test_bytes_of_a_process_that_died_after_its_job_are_destroyed(app: Application) -> None:
    job = app.jobs.submit("default", Order(PHOTO))
    with app.database.write() as session:
        session.execute(sa.update(Job).values(state="done", finished_at=utc_now()))

    assert app.recovery.recover() == 1

    assert spooled(app) == []
    assert not app.jobs.find("default", job.id)[0].spooled


def test_ended_jobs_are_forgotten_and_quarantined_ones_are_not(app: Application) -> None:
    for state in ("done", "failed", "quarantined", "queued"):
        app.jobs.submit("default", Order(PHOTO))
        newest = rows(app, Job)[-1].id
        with app.database.write() as session:
            session.execute(
                sa.update(Job).where(Job.id == newest).values(state=state, spooled=False, finished_at=utc_now())
            )

    app.recovery.recover(now=later(86_400 * 31))

    assert [job.state for job in rows(app, Job)] == ["quarantined", "queued"]


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (Order(source="ftp://host/a.jpg"), FetchError),
        (Order(PHOTO, policy="no-such-policy"), NotFoundError),
    ],
)
def test_what_can_never_be_done_is_refused_at_once(app: Application, order: Order, error: type[Exception]) -> None:
    with pytest.raises(error):
        app.jobs.submit("default", order)

    assert rows(app, Job) == []


def test_without_a_key_nothing_waits(make_app: MakeApp) -> None:
    app = make_app(image_keys=None)

    with pytest.raises(StorageError, match="No key"):
        app.jobs.submit("default", Order(PHOTO))


def test_tenants_do_not_see_each_others_jobs(app: Application) -> None:
    app.keys.create("k", ["scan"], tenant="other")
    job = app.jobs.submit("default", Order(PHOTO))

    assert app.jobs.jobs("other") == []
    with pytest.raises(Exception, match="There is no job"):
        app.jobs.find("other", job.id)
