"""A plan is worked on by processes that have the models and policies that it was made for, and by no other."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detectors.registry import DETECTORS
from detectors.runtime import Runtime
from moderation.application import Application
from moderation.rescans.basis import difference
from moderation.rescans.records import PlanSpec
from moderation.scanner import Scanner
from tests.moderation.rescans.conftest import make
from tests.moderation.rescans.heads import CartoonHead, embeddings
from tests.moderation.rescans.stored import findings, run, store

SPEC = PlanSpec("head", detectors=("cartoon",))


Begin = Callable[[type[CartoonHead] | None], Application]


class OlderHead(CartoonHead):
    """The same label by an older model."""

    version = "0"


@pytest.fixture
def begin(tmp_path: Path, database_url: str, runtime: Runtime) -> Iterator[Begin]:
    """Starts another process, with this head or none."""
    started: list[Application] = []

    def start(head: type[CartoonHead] | None) -> Application:
        made = make(tmp_path, database_url)
        made.__dict__["runtime"] = runtime
        made.__dict__["scanner"] = Scanner(runtime, detectors=(*DETECTORS, head) if head else DETECTORS)
        started.append(made)
        return made

    yield start
    for made in started:
        made.database.close()


def hosted(application: Application) -> None:
    model = application.runtime.identity("clip_vit_b16")
    images = [findings(number, nsfw=0.05) for number in range(6)]
    policy = application.policies.get("")
    store(application.database, policy, images, embeddings=embeddings(6), embedding_model=model)


@pytest.mark.parametrize("head", [OlderHead, None])
def test_a_worker_with_an_older_model_leaves_a_plan_to_others(
    application: Application, begin: Begin, head: type[CartoonHead] | None, capfd: pytest.CaptureFixture[str]
) -> None:
    hosted(application)
    new, old = begin(CartoonHead), begin(head)
    plan = new.rescans.plan("default", SPEC, actor="test")
    assert plan.basis["models"] == {"cartoon": new.scanner.identity(CartoonHead)}

    assert not old.rescans.has_work()
    assert not old.rescans.advance("old", plan_id=plan.id)
    assert not old.rescans.advance("old", plan_id=plan.id)
    said = capfd.readouterr()
    assert (said.out + said.err).count("re-scan left to other processes") == 1
    assert "cartoon" in old.rescans.find("default", plan.id).note
    assert new.rescans.find("default", plan.id).note == ""

    run(new, plan.id)
    view = old.rescans.find("default", plan.id)
    assert (view.plan.state, view.progress.done, view.note) == ("done", 6, "")


def test_a_worker_that_has_not_read_the_policy_leaves_a_plan_to_others(
    application: Application, stricter: Application
) -> None:
    hosted(application)
    plan = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")

    assert not application.rescans.advance("old", plan_id=plan.id)
    run(stricter, plan.id)

    assert stricter.rescans.find("default", plan.id).progress.changed == 6


def test_a_plan_for_something_newer_ends_the_one_for_the_older(application: Application, stricter: Application) -> None:
    hosted(application)
    older, other = (
        application.rescans.plan("default", spec, actor="test")
        for spec in (PlanSpec("policy"), PlanSpec("policy", surface="avatar"))
    )

    newer = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")
    again = stricter.rescans.plan("default", PlanSpec("policy"), actor="test")

    states = {view.plan.id: view.plan.state for view in stricter.rescans.plans("default")}
    assert states == {older.id: "cancelled", other.id: "running", newer.id: "running", again.id: "running"}
    ended = stricter.rescans.find("default", older.id)
    assert newer.id in ended.note
    assert ended.plan.ended_at is not None


def test_another_policy_that_changes_does_not_keep_a_plan_for_one_policy_waiting(
    application: Application, begin: Begin, tmp_path: Path
) -> None:
    hosted(application)
    plan = application.rescans.plan("default", PlanSpec("policy", policy="house"), actor="test")
    text = (tmp_path / "policies/house.yaml").read_text().replace("name: house", "name: guest")
    (tmp_path / "policies/guest.yaml").write_text(text)
    restarted = begin(None)

    run(restarted, plan.id)

    assert restarted.rescans.find("default", plan.id).plan.state == "done"


def test_plans_of_before_take_any_process(application: Application, stricter: Application) -> None:
    hosted(application)
    plan = application.rescans.plan("default", PlanSpec("policy"), actor="test")
    with application.database.write() as session:
        session.merge(plan).basis = {}

    run(stricter, plan.id)

    assert application.rescans.find("default", plan.id).plan.state == "done"


def test_what_is_lacking_is_said_by_name() -> None:
    made_for = {"models": {"synthetic": "3", "swap": "1"}, "policies": {"house": "ab"}}

    assert difference(made_for, made_for) == ""
    own = {"models": {"synthetic": "2", "swap": "1"}, "policies": {"guest": "cd"}}
    assert difference(made_for, own) == ("synthetic 3, here 2; guest absent, here cd; house ab, here absent")
