"""Planning, pausing, limits, schedules, dry runs."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.audit import trail
from moderation.errors import ConflictError, InvalidRequestError, ModerationError, NotFoundError
from moderation.rescans.images import ImagePath
from moderation.rescans.paths import Path, PolicyPath
from moderation.rescans.records import PlanSpec
from moderation.rescans.service import RescanService
from moderation.rescans.worker import shard_size
from moderation.tables import Event, RescanPlan, Scan
from tests.moderation.rescans.stored import findings, run, store


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PolicyPath, "size", 10)


def seed(application: Application, count: int = 40, **context: str) -> list[str]:
    """Every second picture is held by the stricter policy only."""
    images = [findings(i, nsfw=0.05 if i % 2 == 0 else 0.5) for i in range(count)]
    contexts = [{"external_id": f"pic-{i}", **context} for i in range(count)]
    return store(application.database, application.policies.get(""), images, contexts=contexts)


def count(application: Application, table: Any) -> int:
    with application.database.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


@pytest.mark.usefixtures("small_pages")
def test_a_paused_plan_goes_on_where_it_was(application: Application, stricter: Application) -> None:
    seed(application)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
    stricter.rescans.advance("test", seconds=0, plan_id=plan.id)  # one page
    stricter.rescans.pause("default", plan.id, actor="ann")
    assert not stricter.rescans.advance("test", plan_id=plan.id)
    assert stricter.rescans.find("default", plan.id).progress.done == 10

    stricter.rescans.resume("default", plan.id, actor="ann")
    run(stricter, plan.id)

    progress = stricter.rescans.find("default", plan.id).progress
    assert (progress.done, progress.changed) == (40, 20)
    actions = [record.action for record in trail(stricter.database, "default", plan.id)]
    assert actions == ["rescan.planned", "rescan.paused", "rescan.running", "rescan.done"]


@pytest.mark.usefixtures("small_pages")
def test_a_ceiling_stops_before_it_is_passed(application: Application, stricter: Application) -> None:
    seed(application)
    plan = stricter.rescans.plan("default", PlanSpec("policy", max_changed=12), actor="test")

    run(stricter, plan.id)

    view = stricter.rescans.find("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.changed) == ("stopped", 20, 10)
    assert "More than 12" in view.plan.note
    assert count(stricter, Scan) == 50

    stricter.rescans.resume("default", plan.id, actor="ann", max_changed=20)
    run(stricter, plan.id)
    view = stricter.rescans.find("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.changed) == ("done", 40, 20)


@pytest.mark.usefixtures("small_pages")
def test_a_cancelled_plan_does_nothing_more(application: Application, stricter: Application) -> None:
    seed(application)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
    stricter.rescans.advance("test", seconds=0, plan_id=plan.id)

    stricter.rescans.cancel("default", plan.id, actor="ann")
    run(stricter, plan.id)

    assert stricter.rescans.find("default", plan.id).progress.done == 10
    with pytest.raises(ConflictError, match="is cancelled"):
        stricter.rescans.resume("default", plan.id, actor="ann")


def test_a_rate_is_kept(application: Application) -> None:
    seed(application, 30)
    plan = application.rescans.plan("default", PlanSpec("policy", rate=20), actor="test")
    PolicyPath_size, started = PolicyPath.size, time.monotonic()
    PolicyPath.size = 10
    try:
        run(application, plan.id)
    finally:
        PolicyPath.size = PolicyPath_size

    assert 0.9 < time.monotonic() - started < 5
    assert application.rescans.find("default", plan.id).progress.done == 30


def test_work_is_done_in_its_hours_only(application: Application) -> None:
    seed(application, 4)
    hour = datetime.now(UTC).hour
    shut = PlanSpec("policy", hours=f"{(hour + 2) % 24}-{(hour + 3) % 24}")
    plan = application.rescans.plan("default", shut, actor="test")
    assert not application.rescans.advance("test")
    assert application.rescans.find("default", plan.id).progress.done == 0

    plan = application.rescans.plan("default", PlanSpec("policy", hours=f"{hour}-{(hour + 2) % 24}"), actor="test")
    run(application, plan.id)
    assert application.rescans.find("default", plan.id).progress.done == 4


@pytest.mark.parametrize(
    ("hours", "hour", "is_open"),
    [("22-6", 23, True), ("22-6", 5, True), ("22-6", 6, False), ("9-17", 9, True), ("9-17", 17, False)],
)
def test_hours_may_pass_midnight(hours: str, hour: int, is_open: bool) -> None:
    assert PlanSpec("policy", hours=hours).open_at(datetime(2030, 1, 31, hour, tzinfo=UTC)) == is_open


def test_a_schedule_plans_a_run_when_it_is_due_and_none_over_an_open_one(application: Application) -> None:
    seed(application, 4)
    schedule = application.rescans.plan("default", PlanSpec("policy", cron="0 3 * * *"), actor="ann")
    assert schedule.state == "scheduled"
    assert application.rescans.due() == 0
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    assert application.rescans.due(now=tomorrow) == 1
    assert application.rescans.due(now=tomorrow) == 0
    assert application.rescans.due(now=tomorrow + timedelta(days=1)) == 0  # the first one is still open

    made = application.rescans.plans("default")[0]
    assert (made.plan.state, made.plan.schedule_id, made.progress.total) == ("running", schedule.id, 4)
    run(application, made.plan.id)
    assert application.rescans.due(now=tomorrow + timedelta(days=2)) == 1


def test_a_dry_run_says_what_would_happen_and_writes_nothing(application: Application, stricter: Application) -> None:
    seed(application, 60)
    before = [count(stricter, table) for table in (Scan, Event, RescanPlan)]

    dry = stricter.rescans.dry_run("default", PlanSpec("policy"), sample=60)

    assert [count(stricter, table) for table in (Scan, Event, RescanPlan)] == before
    assert (dry.path, dry.images) == ("policy", 60)
    assert dry.sampled > 20
    assert dry.sampled // 2 - 1 <= dry.changed <= dry.sampled // 2 + 1
    assert dry.seconds > 0
    assert {(change["from"], change["to"]) for change in dry.changes} == {("allow", "hold")}


def test_a_dry_run_of_nothing(application: Application) -> None:
    dry = application.rescans.dry_run("default", PlanSpec("policy"))

    assert (dry.images, dry.sampled, dry.changes) == (0, 0, ())


def test_a_sample_takes_the_same_share_each_time(application: Application) -> None:
    seed(application, 200)
    plan = application.rescans.plan("default", PlanSpec("policy", sample=0.25), actor="test")

    run(application, plan.id)

    assert plan.total == 50
    assert 25 <= application.rescans.find("default", plan.id).progress.done <= 75


def test_only_the_newest_judgement_of_a_posting_counts(application: Application, stricter: Application) -> None:
    seed(application, 4)
    run(stricter, stricter.rescans.plan("default", PlanSpec("policy"), actor="test").id)

    assert stricter.rescans.plan("default", PlanSpec("policy"), actor="test").total == 4
    assert stricter.rescans.plan("default", PlanSpec("policy", action="hold"), actor="test").total == 2


def test_tenants_see_their_own(application: Application) -> None:
    application.keys.create("other", ["scan"], tenant="other")
    seed(application, 4)
    plan = application.rescans.plan("other", PlanSpec("policy"), actor="test")

    assert plan.total == 0
    with pytest.raises(NotFoundError):
        application.rescans.find("default", plan.id)


def test_work_ends_after_its_seconds(application: Application) -> None:
    seed(application, 40)
    plan = application.rescans.plan("default", PlanSpec("policy"), actor="test")
    service = RescanService(application.database, application.rescans.paths, shard=10)

    assert service.work("chore", seconds=30) == 4
    assert service.find("default", plan.id).plan.state == "done"
    assert service.work("chore", seconds=30) == 0


@pytest.mark.parametrize(
    ("path", "total", "size"),
    [
        (PolicyPath, 0, 2_000),
        (PolicyPath, 10_000, 2_000),
        (PolicyPath, 100_000, 4_000),
        (PolicyPath, 10_000_000, 20_000),
        (ImagePath, 8, 8),
        (ImagePath, 400, 16),
        (ImagePath, 1_000_000, 800),
    ],
)
def test_a_plan_is_cut_for_many_workers_into_whole_pages(path: type[Path], total: int, size: int) -> None:
    assert shard_size(total, path) == size  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"using": "everything"},
        {"using": "head"},
        {"using": "policy", "detectors": ("nsfw",)},
        {"using": "policy", "sample": 0},
        {"using": "policy", "sample": float("nan")},
        {"using": "policy", "rate": -1},
        {"using": "policy", "hours": "25-3"},
        {"using": "policy", "hours": "3-3"},
        {"using": "policy", "cron": "never"},
        {"using": "policy", "cron": "* * * * * *"},
        {"using": "policy", "action": "ban"},
        {"using": "policy", "since": datetime(2030, 1, 1)},
    ],
)
def test_plans_that_cannot_be_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        PlanSpec(**values)

    assert refusal.value.hint


def test_a_policy_that_is_not_there_is_refused(application: Application) -> None:
    with pytest.raises(ModerationError, match="no policy 'strict'"):
        application.rescans.plan("default", PlanSpec("policy", policy="strict"), actor="test")


def test_a_spec_is_stored_as_it_is() -> None:
    spec = PlanSpec("model", detectors=("nsfw",), since=datetime(2030, 1, 1, tzinfo=UTC), source="kept", rate=2.5)

    assert PlanSpec.from_dict(spec.as_dict()) == spec
