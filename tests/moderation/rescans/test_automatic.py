"""Re-scans that are planned by themselves: once, whatever number of processes see why."""

import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from detectors.runtime import Runtime
from moderation.application import Application
from moderation.rescans.automatic import SETTLE, ModelWatch, PolicyWatch
from moderation.rescans.records import PlanSpec
from moderation.tables import Scan, Tenant, utc_now
from tests.moderation.registry.test_registry import variant
from tests.moderation.rescans.conftest import make, write_policy
from tests.moderation.rescans.stored import findings, run, store

COUNT = 6


class Clock:
    """Of watches: stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hosted(application: Application) -> Application:
    """Two tenants, of which one hosts pictures."""
    with application.database.write() as session:
        session.add(Tenant(id="empty", name="Empty", created_at=utc_now()))
    store(application.database, application.policies.get(""), [findings(i, nsfw=0.05) for i in range(COUNT)])
    return application


def other(folder: Path, database_url: str, runtime: Runtime, **changed: object) -> Application:
    """Another process."""
    made = make(folder, database_url, **changed)
    made.__dict__["runtime"] = runtime
    return made


def marks(application: Application) -> list[str | None]:
    """Of the plans, the oldest first."""
    return [view.plan.schedule_id for view in reversed(application.rescans.plans("default"))]


def settled(watch: ModelWatch | PolicyWatch, clock: Clock) -> int:
    """What a watch plans once it waited for long enough."""
    watch.plan()
    clock.now += SETTLE + 1
    return watch.plan()


# policies


def test_a_changed_policy_is_planned_for_once_though_many_processes_start_with_it(
    hosted: Application, tmp_path: Path, database_url: str, runtime: Runtime, clock: Clock
) -> None:
    assert settled(PolicyWatch(hosted.rescans, clock=clock), clock) == 0  # nothing was seen before
    assert settled(PolicyWatch(hosted.rescans, clock=clock), clock) == 0  # the same again
    write_policy(tmp_path / "policies", version=2, nsfw=0.1)
    started = [other(tmp_path, database_url, runtime) for _ in range(4)]
    watches = [PolicyWatch(application.rescans, clock=clock) for application in started]
    assert [watch.plan() for watch in watches] == [0] * 4  # they started just now
    clock.now += SETTLE + 1
    planned: list[int] = []
    threads = [threading.Thread(target=lambda w=watch: planned.append(w.plan())) for watch in watches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(planned) == 1
    assert len(planned) == 4
    assert [watch.plan() for watch in watches] == [0] * 4

    (view,) = hosted.rescans.plans("default")
    assert (view.plan.path, view.plan.total, hosted.rescans.plans("empty")) == ("policy", COUNT, [])
    run(started[0], view.plan.id)
    with hosted.database.read() as session:
        held = session.scalars(sa.select(Scan.action).where(Scan.policy_version == 2)).all()
    assert held == ["hold"] * COUNT
    for application in started:
        application.database.close()


def test_a_process_that_has_the_old_policy_takes_no_part(
    hosted: Application, stricter: Application, clock: Clock
) -> None:
    settled(PolicyWatch(hosted.rescans, clock=clock), clock)
    assert settled(PolicyWatch(stricter.rescans, clock=clock), clock) == 1
    (view,) = hosted.rescans.plans("default")

    assert not hosted.rescans.has_work()
    assert not hosted.rescans.advance("old")
    assert stricter.rescans.has_work()
    run(stricter, view.plan.id)
    progress = stricter.rescans.find("default", view.plan.id).progress
    assert (progress.done, progress.changed) == (COUNT, COUNT)


def test_a_process_of_an_older_version_plans_nothing_and_a_change_back_is_planned_for(
    hosted: Application, tmp_path: Path, database_url: str, runtime: Runtime, clock: Clock
) -> None:
    applications = [hosted]
    for version, nsfw, plans in ((2, 0.1, 1), (1, 0.01, 0), (2, 0.2, 1), (2, 0.1, 1)):
        settled(PolicyWatch(applications[-1].rescans, clock=clock), clock)
        write_policy(tmp_path / "policies", version=version, nsfw=nsfw)
        applications.append(other(tmp_path, database_url, runtime))
        assert settled(PolicyWatch(applications[-1].rescans, clock=clock), clock) == plans

    assert len(set(marks(hosted))) == 2  # the last one is the first one again
    for application in applications[1:]:
        application.database.close()


# models


def test_a_promoted_model_and_a_rollback_are_planned_for_once(
    hosted: Application, tmp_path: Path, database_url: str, runtime: Runtime, clock: Clock
) -> None:
    first = other(tmp_path, database_url, runtime, rescan_source="kept")
    second = other(tmp_path, database_url, runtime, rescan_source="kept")
    watches = [ModelWatch(app.rescans, app.registry, clock=clock) for app in (first, second)]
    digest = first.registry.register("synthetic", variant(tmp_path, 1), actor="tests").digest
    for state in ("shadow", "canary"):
        assert first.registry.promote("synthetic", digest, actor="tests").state == state
        assert [settled(watch, clock) for watch in watches] == [0, 0]

    first.registry.promote("synthetic", digest, actor="tests")
    assert [watch.plan() for watch in watches] == [0, 0]  # other processes do not know the model yet
    clock.now += SETTLE + 1
    assert [watch.plan() for watch in watches] == [1, 0]
    assert [settled(watch, clock) for watch in watches] == [0, 0]

    first.registry.roll_back("synthetic", actor="tests")
    assert [watch.plan() for watch in watches] == [0, 0]
    clock.now += SETTLE + 1
    assert [watch.plan() for watch in reversed(watches)] == [1, 0]

    newest, oldest = (view.plan for view in first.rescans.plans("default"))
    assert (PlanSpec.from_dict(newest.spec).detectors, newest.path) == (("synthetic",), "images")
    assert oldest.schedule_id != newest.schedule_id
    assert not settled(ModelWatch(first.rescans, first.registry, clock=clock), clock)  # a process that starts later
    for application in (first, second):
        application.database.close()


def test_a_promotion_that_cannot_be_followed_is_said(
    hosted: Application, tmp_path: Path, clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    watch = ModelWatch(hosted.rescans, hosted.registry, clock=clock)
    digest = hosted.registry.register("synthetic", variant(tmp_path, 1), actor="tests").digest
    for _ in range(3):
        hosted.registry.promote("synthetic", digest, actor="tests")

    assert settled(watch, clock) == 0
    said = capfd.readouterr()
    assert "PALISADE_RESCAN_SOURCE" in said.out + said.err


def test_findings_of_another_registered_model_are_not_taken_for_those_of_the_active_one(
    tmp_path: Path, database_url: str, runtime: Runtime
) -> None:
    application = other(tmp_path, database_url, runtime)
    application.database.migrate()
    scanner, synthetic = application.scanner, next(c for c in application.scanner.classes if c.name == "synthetic")
    scanner.serve(application.served_models)
    digest = application.registry.register("synthetic", variant(tmp_path, 1), actor="tests").digest
    before = scanner.state(synthetic, "default")
    for _ in range(3):
        application.registry.promote("synthetic", digest, actor="tests")
    application.served_models.clock = lambda: float("1e12")

    assert digest[:12] in scanner.state(synthetic, "default") != before
    application.database.close()


def test_a_plan_that_nobody_asked_for_stops_before_it_floods_the_queues(
    hosted: Application, tmp_path: Path, database_url: str, runtime: Runtime, clock: Clock
) -> None:
    settled(PolicyWatch(hosted.rescans, clock=clock), clock)
    write_policy(tmp_path / "policies", version=2, nsfw=0.1)
    stricter = other(tmp_path, database_url, runtime, rescan_after_most=COUNT - 1)
    assert settled(PolicyWatch(stricter.rescans, clock=clock), clock) == 1
    (view,) = stricter.rescans.plans("default")

    run(stricter, view.plan.id)

    stopped = stricter.rescans.find("default", view.plan.id)
    assert (stopped.plan.state, stopped.progress.changed) == ("stopped", 0)
    stricter.rescans.resume("default", view.plan.id, actor="lead", max_changed=COUNT)
    run(stricter, view.plan.id)
    ended = stricter.rescans.find("default", view.plan.id)
    assert (ended.plan.state, ended.progress.changed) == ("done", COUNT)
    stricter.database.close()


def test_settings_say_what_is_watched(application: Application, tmp_path: Path, database_url: str) -> None:
    everything = make(
        tmp_path, database_url, rescan_after_banks=True, rescan_after_models=True, rescan_after_policies=True
    )

    assert [type(watch).__name__ for watch in everything.watches] == ["BankWatch", "ModelWatch", "PolicyWatch"]
    assert application.watches == []
    everything.database.close()
