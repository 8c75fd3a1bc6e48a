"""A new policy on stored findings."""

import pytest
import sqlalchemy as sa

from moderation.application import Application
from moderation.rescans.records import PlanSpec
from moderation.tables import CaseImage, Event, ReviewCase, Scan
from tests.moderation.rescans.stored import findings, run, store


def seed(application: Application, count: int = 60) -> list[str]:
    """Every third picture is explicit at 0.05: held by the stricter policy only."""
    images = [findings(i, nsfw=0.05 if i % 3 == 0 else 0.5) for i in range(count)]
    return store(application.database, application.policies.get(""), images)


def test_a_stricter_policy_changes_the_verdicts_it_should_and_no_other(
    application: Application, stricter: Application
) -> None:
    old = seed(application)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")

    run(stricter, plan.id)

    view = stricter.rescans.find("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.changed, view.progress.left) == ("done", 60, 20, 0)
    with stricter.database.read() as session:
        new = session.scalars(sa.select(Scan).where(Scan.id.not_in(old)).order_by(Scan.id)).all()
        events = session.scalars(sa.select(Event).where(Event.kind == "verdict.changed")).all()
    assert len(new) == 20
    assert {(scan.action, scan.policy_version, scan.reused) for scan in new} == {("hold", 2, True)}
    changes = [change for event in events for change in event.payload["changes"]]
    assert sorted(change["scan"] for change in changes) == sorted(scan.id for scan in new)
    assert sorted(change["previous"] for change in changes) == sorted(old[::3])
    assert {(change["from"], change["to"]) for change in changes} == {("allow", "hold")}


def test_a_changed_verdict_opens_a_case_as_an_upload_would(application: Application, stricter: Application) -> None:
    seed(application)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")

    run(stricter, plan.id)

    with stricter.database.read() as session:
        cases = session.scalars(sa.select(ReviewCase)).all()
        images = session.scalars(sa.select(CaseImage)).all()
        held = set(session.scalars(sa.select(Scan.id).where(Scan.action == "hold")))
    assert {case.queue for case in cases} == {"explicit"}
    assert {image.scan_id for image in images} <= held
    assert len({image.image_id for image in images}) == 20


def test_the_same_plan_again_changes_nothing(application: Application, stricter: Application) -> None:
    seed(application)
    for expected in (20, 0):
        plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
        run(stricter, plan.id)
        progress = stricter.rescans.find("default", plan.id).progress
        assert (progress.done, progress.changed) == (60, expected)


def test_every_verdict_is_the_one_that_the_policy_itself_gives(application: Application, stricter: Application) -> None:
    fprs = [0.5, 0.1, 0.1001, 0.05, 0.01, 0.01001, 0.001, 0.0005]
    images = [findings(i, nsfw=fprs[i % 8], synthetic=fprs[i // 8]) for i in range(64)]
    store(application.database, application.policies.get(""), images)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")

    run(stricter, plan.id)

    policy = stricter.policies.get("")
    with stricter.database.read() as session:
        for number, found in enumerate(images):
            query = sa.select(Scan).where(Scan.external_id == f"pic-{number}").order_by(Scan.id.desc()).limit(1)
            newest = session.scalars(query).one()
            assert newest.action == policy.decide(found, {}, {}).action, number


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (PlanSpec("policy", action="hold"), 0),
        (PlanSpec("policy", surface="avatar"), 0),
        (PlanSpec("policy", action="allow"), 60),
    ],
)
def test_a_plan_looks_at_its_scope_only(application: Application, spec: PlanSpec, expected: int) -> None:
    seed(application)
    plan = application.rescans.plan("default", spec, actor="test")

    run(application, plan.id)

    assert application.rescans.find("default", plan.id).progress.done == plan.total == expected
