"""Whatever a plan is for, postings are judged by the heads of now: those that an earlier plan left as they were too."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from detectors.base import Finding
from detectors.registry import DETECTORS
from detectors.runtime import Runtime
from moderation.application import Application
from moderation.banks.records import BankSpec, NewEntry, Signal
from moderation.rescans.records import PlanSpec
from moderation.scanner import Scanner
from moderation.tables import Scan, StoredImage
from tests.moderation.rescans.conftest import POLICY, make
from tests.moderation.rescans.heads import CartoonHead, embeddings
from tests.moderation.rescans.stored import findings, run, store

HEAD = PlanSpec("head", detectors=("cartoon",))
COUNT = 60

Start = Callable[[float], Application]


@pytest.fixture
def start(tmp_path: Path, database_url: str, runtime: Runtime) -> Iterator[Start]:
    """A process whose policy restricts cartoons from an `fpr` on."""
    started: list[Application] = []

    def begin(fpr: float) -> Application:
        rule = f"""  - name: cartoon
    when: cartoon.fpr <= {fpr}
    action: restrict
    reason: It is a cartoon.
examples:
"""
        text = POLICY.format(version=len(started) + 1, nsfw=0.01, synthetic=0.001).replace("examples:\n", rule)
        (tmp_path / "policies").mkdir(exist_ok=True)
        (tmp_path / "policies/house.yaml").write_text(text)
        made = make(tmp_path, database_url)
        made.__dict__["runtime"] = runtime
        made.__dict__["scanner"] = Scanner(runtime, detectors=(*DETECTORS, CartoonHead))
        made.database.migrate()
        started.append(made)
        return made

    yield begin
    for application in started:
        application.database.close()


def seed(app: Application, *, old: float | None) -> list[list[Finding]]:
    """Pictures of which nothing is known of cartoons, or what an older head found: an `fpr` of `old` each."""
    images = [findings(number) for number in range(COUNT)]
    for found in images if old is not None else ():
        found.append(Finding("cartoon", "cartoon", score=0.5, fpr=old, model="cartoon@older"))
    model = app.runtime.identity("clip_vit_b16")
    vectors = embeddings(COUNT, positive=np.arange(COUNT) % 3 == 0)
    store(app.database, app.policies.get(""), images, embeddings=vectors, embedding_model=model)
    return images


def fprs(app: Application) -> np.ndarray:
    """What the head of now finds of them."""
    head = app.scanner.detector("cartoon")
    assert isinstance(head, CartoonHead)
    return head.fprs(head.scores(embeddings(COUNT, positive=np.arange(COUNT) % 3 == 0)))


def actions(app: Application) -> list[str]:
    """As the pictures are judged last, in their order."""
    with app.database.read() as session:
        scans = session.execute(sa.select(Scan.external_id, Scan.action).order_by(Scan.id)).all()
    last = {scan.external_id: scan.action for scan in scans}
    return [last[f"pic-{number}"] for number in range(COUNT)]


def planned(app: Application, spec: PlanSpec) -> tuple[int, int, int]:
    """Run a plan to its end: how many postings it judged, changed and could not judge."""
    plan = app.rescans.plan("default", spec, actor="test")
    run(app, plan.id)
    progress = app.rescans.find("default", plan.id).progress
    return progress.done, progress.changed, progress.failed


@pytest.mark.parametrize("old", [0.5, 0.02, None])
def test_a_policy_after_a_head_judges_by_what_the_new_head_finds(start: Start, old: float | None) -> None:
    """Also where the head changed no verdict under the policy of then, and so was not written."""
    lenient = start(1e-9)
    seed(lenient, old=old)
    assert planned(lenient, HEAD) == (COUNT, 0, 0)
    assert set(actions(lenient)) == {"allow"}

    stricter = start(0.05)
    expected = ["restrict" if fpr <= 0.05 else "allow" for fpr in fprs(stricter)]
    assert planned(stricter, PlanSpec("policy")) == (COUNT, expected.count("restrict"), 0)

    assert actions(stricter) == expected
    assert 20 <= expected.count("restrict") < COUNT
    with stricter.database.read() as session:
        scans = session.scalars(sa.select(Scan).where(Scan.action == "restrict")).all()
        models = {f["model"] for scan in scans for f in scan.findings if f["detector"] == "cartoon"}
    assert models == {"cartoon@older" if old == 0.02 else "cartoon@test"}, "what a policy cannot tell apart stands"


def test_what_lists_find_is_judged_beside_the_heads_of_now(start: Start) -> None:
    app = start(0.05)
    images = seed(app, old=0.5)
    app.banks.create("default", BankSpec("wrong"), actor="test")
    hashes = [next(f for f in images[number] if f.label == "pdq").evidence["hash"] for number in (0, 1)]
    app.banks.add("default", "wrong", [NewEntry(Signal("pdq", bytes.fromhex(value))) for value in hashes], actor="test")

    planned(app, PlanSpec("banks"))

    with app.database.read() as session:
        scans = session.scalars(sa.select(Scan).where(Scan.reused)).all()
        found = {scan.external_id: [f["model"] for f in scan.findings if f["detector"] == "cartoon"] for scan in scans}
    assert found.get("pic-0") == ["cartoon@test"]  # a cartoon, though no list speaks of cartoons
    assert fprs(app)[0] <= 0.05


def test_an_embedding_of_another_model_leaves_the_stored_finding(start: Start) -> None:
    app = start(1e-9)
    seed(app, old=0.02)
    with app.database.write() as session:
        session.execute(sa.update(StoredImage).values(embedding_model="clip_vit_b16@older"))
    stricter = start(0.05)

    assert planned(stricter, PlanSpec("policy")) == (COUNT, COUNT, 0)
    assert set(actions(stricter)) == {"restrict"}


def test_heads_that_no_policy_reads_are_not_asked(
    application: Application, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    application.__dict__["scanner"] = Scanner(runtime, detectors=(*DETECTORS, CartoonHead))
    store(application.database, application.policies.get(""), [findings(number) for number in range(3)])
    head = application.scanner.detector("cartoon")
    asked: list[int] = []
    monkeypatch.setattr(head, "scores", lambda vectors: asked.append(len(vectors)))

    assert planned(application, PlanSpec("policy")) == (3, 0, 0)
    assert asked == []


def test_a_head_that_a_plan_names_scores_anew_though_its_model_has_the_same_name(start: Start) -> None:
    """Another calibration of the same weights."""
    app = start(0.05)
    images = [findings(number) for number in range(COUNT)]
    for found in images:
        found.append(Finding("cartoon", "cartoon", score=0.5, fpr=0.5, model="cartoon@test"))
    model = app.runtime.identity("clip_vit_b16")
    vectors = embeddings(COUNT, positive=np.arange(COUNT) % 3 == 0)
    store(app.database, app.policies.get(""), images, embeddings=vectors, embedding_model=model)

    assert planned(app, PlanSpec("policy")) == (COUNT, 0, 0)
    assert planned(app, HEAD) == (COUNT, int((fprs(app) <= 0.05).sum()), 0)
