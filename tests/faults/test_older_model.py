"""A worker with an older model beside newer ones: what it finds is its own model's, and is not taken for the newer one's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from detectors.base import Finding
from detectors.registry import DETECTORS
from detectors.signals import SignalsDetector
from moderation.application import Application
from moderation.jobs.records import Order
from moderation.rescans.records import PlanSpec
from moderation.scanner import Scanner
from moderation.scans.service import HostContext, Upload
from moderation.tables import Measurement, Scan
from tests.factories import encode, picture
from tests.faults.installation import SOON, Installation


class NewerSignals(SignalsDetector):
    """The same detector in a later release."""

    version = "999"


NEWER = tuple(NewerSignals if cls is SignalsDetector else cls for cls in DETECTORS)

POLICY = """name: light
version: 1
on_error: hold
on_skipped: allow
cascade: full
rules:
  - name: wide
    when: image.width >= 4000
    action: hold
    queue: wide
    reason: It is wide.
"""


def make(installation: Installation, *, newer: bool) -> Application:
    (installation.folder / "policies" / "light.yaml").write_text(POLICY)
    made = installation.application()
    detectors = [cls for cls in (NEWER if newer else DETECTORS) if not cls.weights or cls.name in ("faces", "likeness")]
    made.__dict__["scanner"] = Scanner(made.runtime, detectors=detectors)
    _ = made.scans, made.scanner.build()
    return made


def versions(app: Application) -> dict[str, set[str]]:
    """By external id, under which versions of `signals` its scans were measured, newest last."""
    found: dict[str, set[str]] = {}
    query = sa.select(Scan.external_id, Measurement.findings).join(Measurement, Measurement.id == Scan.measurement_id)
    with app.database.read() as session:
        for external_id, findings in session.execute(query.order_by(Scan.id)):
            stored = [Finding.from_dict(values) for values in findings]
            found.setdefault(external_id, set()).update(f.version for f in stored if f.detector == "signals")
    return found


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path, f"sqlite:///{tmp_path / 'palisade.db'}", "")


@pytest.fixture
def old(installation: Installation) -> Iterator[Application]:
    made = make(installation, newer=False)
    made.database.migrate()
    yield made
    made.database.close()


@pytest.fixture
def new(installation: Installation) -> Iterator[Application]:
    made = make(installation, newer=True)
    yield made
    made.database.close()


def test_findings_are_of_the_model_that_made_them(old: Application, new: Application) -> None:
    jobs = [old.jobs.submit("default", Order(SOON, context=HostContext(external_id=name))) for name in ("a", "b", "c")]

    states = [old.runner.run(jobs[0].id), new.runner.run(jobs[1].id), old.runner.run(jobs[2].id)]

    assert states == ["done"] * 3
    assert versions(old) == {"a": {SignalsDetector.version}, "b": {"999"}, "c": {SignalsDetector.version}}
    with old.database.read() as session:
        measured = session.scalars(sa.select(Measurement.models)).all()
        reused = session.scalars(sa.select(Scan.reused).order_by(Scan.id)).all()
    assert len(set(measured)) == len(measured) == 2, "one measurement by each"
    assert reused == [False, False, True], "the newer one did not take the older one's for its own"


def test_a_plan_that_an_older_worker_did_is_done_anew_by_a_newer_one(
    old: Application, new: Application, tmp_path: Path
) -> None:
    """What the older one measured says so; it is not what the newer one would have found."""
    (tmp_path / "hosted").mkdir()
    for seed in range(4):
        data = encode(picture(64, 64, seed=seed), "PNG")
        (tmp_path / "hosted" / f"{seed}.png").write_bytes(data)
        old.scans.scan("default", Upload(data, context=HostContext(external_id=f"{seed}.png")))
    source = (tmp_path / "hosted").as_uri() + "/{external_id}"

    for worker, wanted in ((old, {SignalsDetector.version}), (new, {SignalsDetector.version, "999"})):
        plan = worker.rescans.plan("default", PlanSpec("model", ("signals",), source=source), actor="test")
        while worker.rescans.advance("test", plan_id=plan.id):
            pass
        view = worker.rescans.find("default", plan.id)
        assert (view.plan.state, view.progress.done, view.progress.failed) == ("done", 4, 0)
        with old.database.read() as session:
            stored = [from_row(found) for found in session.scalars(sa.select(Measurement.findings))]
        assert set.union(*stored) == wanted
    assert sum("999" in versions for versions in stored) == 4


def from_row(findings: list[dict[str, Any]]) -> set[str]:
    """Under which version of `signals` a measurement was made."""
    return {values["version"] for values in findings if values["detector"] == "signals"}
