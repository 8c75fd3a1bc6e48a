"""A new head on stored embeddings."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from detectors.base import Finding
from detectors.registry import DETECTORS
from detectors.runtime import Runtime
from moderation.application import Application
from moderation.errors import InvalidRequestError
from moderation.rescans.records import PlanSpec
from moderation.scanner import Scanner
from moderation.tables import Measurement, Scan, StoredImage
from tests.moderation.rescans.conftest import POLICY, make
from tests.moderation.rescans.heads import CartoonHead, embeddings
from tests.moderation.rescans.stored import findings, run, store

RULE = """
  - name: cartoon
    when: cartoon.fpr <= 0.001
    action: restrict
    reason: It is a cartoon.
examples:
"""

SPEC = PlanSpec("head", detectors=("cartoon",))


@pytest.fixture
def with_head(tmp_path: Path, database_url: str, runtime: Runtime) -> Iterator[Application]:
    """An application with a head more, and a policy that reads it."""
    (tmp_path / "policies").mkdir()
    text = POLICY.format(version=1, nsfw=0.01, synthetic=0.001).replace("examples:\n", RULE.lstrip("\n"))
    (tmp_path / "policies/house.yaml").write_text(text)
    made = make(tmp_path, database_url)
    made.__dict__["runtime"] = runtime
    made.__dict__["scanner"] = Scanner(runtime, detectors=(*DETECTORS, CartoonHead))
    made.database.migrate()
    yield made
    made.database.close()


def seed(application: Application, count: int = 90, *, known: bool = True) -> np.ndarray:
    """Every third one is a cartoon, which the old head did not see; gives which."""
    positive = np.arange(count) % 3 == 0
    images = [findings(i) for i in range(count)]
    for found in images if known else ():
        found.append(Finding("cartoon", "cartoon", score=0.2, fpr=0.5, model="cartoon@older"))
    model = application.runtime.identity("clip_vit_b16")
    vectors = embeddings(count, positive=positive)
    store(application.database, application.policies.get(""), images, embeddings=vectors, embedding_model=model)
    return positive


@pytest.mark.parametrize("known", [True, False])
def test_stored_embeddings_get_the_verdicts_of_the_new_head(with_head: Application, known: bool) -> None:
    positive = seed(with_head, known=known)
    plan = with_head.rescans.plan("default", SPEC, actor="test")
    assert plan.path == "head"

    run(with_head, plan.id)

    head = with_head.scanner.detector("cartoon")
    assert isinstance(head, CartoonHead)
    fprs = head.fprs(head.scores(embeddings(90, positive=positive)))
    progress = with_head.rescans.find("default", plan.id).progress
    assert (progress.done, progress.changed) == (90, int((fprs <= 0.001).sum()))
    assert progress.changed > 20
    with with_head.database.read() as session:
        for number, fpr in enumerate(fprs):
            query = sa.select(Scan).where(Scan.external_id == f"pic-{number}").order_by(Scan.id.desc()).limit(1)
            scan = session.scalars(query).one()
            assert scan.action == ("restrict" if fpr <= 0.001 else "allow")
            if scan.action == "restrict":
                found = next(f for f in scan.findings if f["detector"] == "cartoon")
                assert (found["model"], len(scan.findings)) == ("cartoon@test", len(findings(0)) + 1)


def test_unchanged_images_are_not_written(with_head: Application) -> None:
    seed(with_head)
    plan = with_head.rescans.plan("default", SPEC, actor="test")

    run(with_head, plan.id)

    changed = with_head.rescans.find("default", plan.id).progress.changed
    with with_head.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Scan)) == 90 + changed
        assert session.scalar(sa.select(sa.func.count()).select_from(Measurement)) == 90 + changed


def test_an_embedding_of_another_model_is_listed_not_skipped(with_head: Application) -> None:
    seed(with_head, 9)
    with with_head.database.write() as session:
        first = session.scalars(sa.select(StoredImage).order_by(StoredImage.id).limit(1)).one()
        first.embedding_model = "clip_vit_b16@older"
    plan = with_head.rescans.plan("default", SPEC, actor="test")

    run(with_head, plan.id)

    view = with_head.rescans.find("default", plan.id)
    (failure,) = with_head.rescans.failures("default", plan.id)
    assert (view.plan.state, view.progress.done, view.progress.failed) == ("done", 8, 1)
    assert (failure.code, failure.next_at) == ("no_embedding", None)


def test_animations_are_judged_by_their_worst_frame(with_head: Application) -> None:
    vectors = embeddings(3, positive=np.array([False, True, False]))
    found = findings(1)
    pdq = next(f for f in found if f.label == "pdq")
    phash = next(f for f in found if f.label == "phash")
    frames = [
        Finding("signals", f.label, frame=frame, evidence=f.evidence) for frame in (0, 4, 9) for f in (pdq, phash)
    ]
    found = [f for f in found if f.label not in ("pdq", "phash")] + frames
    store(
        with_head.database,
        with_head.policies.get(""),
        [found],
        embeddings=vectors[None],
        embedding_model=with_head.runtime.identity("clip_vit_b16"),
    )
    plan = with_head.rescans.plan("default", SPEC, actor="test")

    run(with_head, plan.id)

    with with_head.database.read() as session:
        scan = session.scalars(sa.select(Scan).order_by(Scan.id.desc()).limit(1)).one()
    assert next(f["frame"] for f in scan.findings if f["detector"] == "cartoon") == 4


def test_a_head_that_reads_more_than_is_stored_asks_for_the_images(with_head: Application) -> None:
    with pytest.raises(InvalidRequestError, match="has to read the images"):
        with_head.rescans.plan("default", PlanSpec("head", detectors=("synthetic",)), actor="test")

    plan = with_head.rescans.plan("default", PlanSpec("head", detectors=("synthetic",), source="kept"), actor="test")

    assert plan.path == "images"
    assert "synthetic reads blocks: that is not stored" in plan.why


def test_a_detector_that_is_not_there_is_refused(with_head: Application) -> None:
    with pytest.raises(InvalidRequestError, match="'nsfv' is no detector"):
        with_head.rescans.plan("default", PlanSpec("head", detectors=("nsfv",)), actor="test")
