"""Models from candidate to active and back: what is refused, what every process serves, what is counted."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from detectors.base import Finding
from detectors.errors import ModelError
from detectors.runtime import Runtime
from detectors.synthetic import WEIGHTS, SyntheticDetector
from moderation.database import Database
from moderation.errors import ConflictError, InvalidRequestError, NotFoundError, StorageError
from moderation.registry import service as module
from moderation.registry.records import EDGES, Day, bin_of, failed_gates, stability
from moderation.registry.repository import ModelRepository
from moderation.registry.service import ModelRegistry
from moderation.registry.serving import ServedModels, part
from moderation.scanner import Scanner
from moderation.tables import utc_now
from tests.factories import make_image, picture

SHA256 = "ab" * 32


def variant(folder: Path, number: int, **figures: float) -> Path:
    """The shipped model under another digest: its graph with another producer's version, its card to match."""
    import onnx

    from detectors.runtime import file_sha256

    folder = folder / f"variant-{number}"
    folder.mkdir(parents=True)
    graph = onnx.load(WEIGHTS / "synthetic.onnx")
    graph.producer_version = str(number)
    onnx.save(graph, folder / "synthetic.onnx")
    digest = file_sha256(folder / "synthetic.onnx")
    card = json.loads((WEIGHTS / "synthetic.card.json").read_text())
    passing = {"mean_auc": 0.97, "worst_auc": 0.94, "recall_at_0.01": 0.6, "ece": 0.02}
    native = card["figures"]["native-0"] | passing | figures
    (folder / "synthetic.card.json").write_text(
        json.dumps(card | {"sha256": digest, "figures": card["figures"] | {"native-0": native}})
    )
    calibration = json.loads((WEIGHTS / "synthetic.calibration.json").read_text())
    calibration["model"] = f"synthetic@{digest[:12]}"
    (folder / "synthetic.calibration.json").write_text(json.dumps(calibration))
    return folder


@pytest.fixture
def registry(database: Database, runtime: Runtime) -> ModelRegistry:
    return ModelRegistry(database, runtime)


@pytest.fixture
def register(registry: ModelRegistry, tmp_path: Path) -> Callable[..., str]:
    """Registers a variant; its digest."""

    def make(number: int, **figures: float) -> str:
        return registry.register("synthetic", variant(tmp_path, number, **figures), actor="tests").digest

    return make


def promoted(registry: ModelRegistry, digest: str, steps: int, share: float = 0.05) -> str:
    return [registry.promote("synthetic", digest, actor="tests", share=share).state for _ in range(steps)][-1]


def test_a_model_goes_step_by_step_and_back_at_once(registry: ModelRegistry, register: Callable[..., str]) -> None:
    first, second = register(1), register(2)
    assert registry.find("synthetic", first[:8]).state == "candidate"
    assert [promoted(registry, first, 1) for _ in range(3)] == ["shadow", "canary", "active"]
    assert promoted(registry, second, 3) == "active"
    assert registry.find("synthetic", first).state == "retired"

    assert registry.roll_back("synthetic", actor="tests") == f"synthetic@{first[:12]}"
    assert (registry.find("synthetic", first).state, registry.find("synthetic", second).state) == ("active", "retired")
    assert registry.roll_back("synthetic", actor="tests") == "the shipped model"
    with pytest.raises(ConflictError, match="shipped"):
        registry.roll_back("synthetic", actor="tests")
    with pytest.raises(ConflictError, match="is retired"):
        promoted(registry, first, 1)


def test_registered_again_a_model_stays_what_it_is(
    registry: ModelRegistry, register: Callable[..., str], tmp_path: Path
) -> None:
    digest = register(1)
    promoted(registry, digest, 1)

    assert registry.register("synthetic", tmp_path / "variant-1", actor="tests").state == "shadow"
    assert len(registry.models()) == 1


def test_a_model_that_does_not_pass_the_gates_is_not_promoted(
    registry: ModelRegistry, register: Callable[..., str]
) -> None:
    digest = register(1, mean_auc=0.93)

    with pytest.raises(ConflictError, match=r"`native mean_auc` is 0\.930"):
        promoted(registry, digest, 1)
    assert registry.find("synthetic", digest).state == "candidate"


def damaged_graph(folder: Path) -> None:
    (folder / "synthetic.onnx").write_bytes(b"other")


def no_card(folder: Path) -> None:
    (folder / "synthetic.card.json").unlink()


def no_calibration(folder: Path) -> None:
    (folder / "synthetic.calibration.json").unlink()


@pytest.mark.parametrize("damage", [damaged_graph, no_card, no_calibration, shutil.rmtree])
def test_what_cannot_be_loaded_is_not_registered(
    registry: ModelRegistry, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    folder = variant(tmp_path, 1)
    damage(folder)

    with pytest.raises(ModelError):
        registry.register("synthetic", folder, actor="tests")
    assert registry.models() == []


def test_unknown_detectors_digests_and_shares_are_refused(
    registry: ModelRegistry, register: Callable[..., str], tmp_path: Path
) -> None:
    digest = register(1)
    with pytest.raises(InvalidRequestError, match="no models to choose from"):
        registry.register("nsfw", tmp_path, actor="tests")
    with pytest.raises(NotFoundError):
        registry.promote("synthetic", "00", actor="tests")
    with pytest.raises(NotFoundError):
        registry.retire("synthetic", "", actor="tests")
    with pytest.raises(InvalidRequestError, match="canary"):
        registry.promote("synthetic", digest, actor="tests", share=0.9)


def test_every_process_serves_what_is_active_and_follows_a_roll_back(
    registry: ModelRegistry, register: Callable[..., str], database: Database, runtime: Runtime
) -> None:
    now = [0.0]
    elsewhere = ServedModels(ModelRegistry(database, runtime), clock=lambda: now[0])
    assert elsewhere.choose("synthetic", SHA256) is None
    assert elsewhere.state("synthetic") == ""
    digest = register(1)
    promoted(registry, digest, 3)
    now[0] += 6

    chosen = elsewhere.choose("synthetic", SHA256)
    assert chosen is not None
    assert chosen.model == f"synthetic@{digest[:12]}"
    assert elsewhere.state("synthetic") != ""
    registry.roll_back("synthetic", actor="tests")
    now[0] += 6
    assert elsewhere.choose("synthetic", SHA256) is None


def test_a_canary_measures_its_share_of_the_images(registry: ModelRegistry, register: Callable[..., str]) -> None:
    promoted(registry, register(1), 2, share=0.25)
    served = ServedModels(registry)

    hashes = [f"{number:064x}" for number in range(2000)]
    chosen = [served.choose("synthetic", sha256) is not None for sha256 in hashes]

    assert 0.2 < sum(chosen) / len(chosen) < 0.3
    assert chosen == [part("synthetic", sha256) < 0.25 for sha256 in hashes]


def test_a_shadow_runs_beside_and_nothing_follows_from_it(
    registry: ModelRegistry, register: Callable[..., str], runtime: Runtime
) -> None:
    digest = register(1)
    promoted(registry, digest, 1)
    served = ServedModels(registry)
    scanner = Scanner(runtime)
    before = scanner.models("default")
    scanner.serve(served)
    image = make_image(picture(seed=4))
    image.features["tenant"] = "default"
    scanner.detector("embedding").detect([image])

    findings = scanner._measured("synthetic", image)

    assert scanner.models("default") == before
    assert [f.model for f in findings] == [SyntheticDetector(runtime).model]
    assert served.write_down() == 2
    assert registry.disagreement("synthetic") == {
        f"synthetic@{digest[:12]}": {
            "shadowed": 1,
            "both": int((findings[0].fpr or 1) <= 0.01),
            "only_active": 0,
            "only_shadow": 0,
        }
    }


def test_another_active_model_makes_stored_findings_old(
    registry: ModelRegistry, register: Callable[..., str], runtime: Runtime
) -> None:
    now = [0.0]
    scanner = Scanner(runtime)
    scanner.serve(ServedModels(registry, clock=lambda: now[0]))
    before = scanner.models("default")
    promoted(registry, register(1), 3)
    now[0] += 6

    assert scanner.models("default") != before


def test_a_model_that_cannot_be_loaded_leaves_what_serves(
    registry: ModelRegistry, register: Callable[..., str], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(registry, register(1), 3)

    def broken(runtime: Runtime, folder: Path) -> SyntheticDetector:
        raise ModelError("no memory")

    monkeypatch.setattr(module, "KINDS", {"synthetic": broken})

    assert ServedModels(registry).choose("synthetic", SHA256) is None


def finding(fpr: float, model: str) -> Finding:
    return Finding("synthetic", "synthetic", score=0.5, fpr=fpr, model=model)


def test_disagreement_and_drift_are_counted_by_day(registry: ModelRegistry, database: Database) -> None:
    served = ServedModels(registry)
    for active, shadow in ((0.001, 0.5), (0.5, 0.001), (0.001, 0.001), (0.5, 0.5)):
        served.note("synthetic", [finding(active, "synthetic@a")], [finding(shadow, "synthetic@b")])
    served.note("synthetic", [], None)
    assert served.write_down() == 2
    assert served.write_down() == 0
    assert registry.disagreement("synthetic")["synthetic@b"] == {
        "shadowed": 4, "both": 1, "only_active": 1, "only_shadow": 1,
    }  # fmt: skip

    today = utc_now().date()
    calm, changed = [0] * (len(EDGES) + 1), [0] * (len(EDGES) + 1)
    calm[bin_of(0.5)], changed[bin_of(0.001)] = 1000, 1000
    with database.write() as session:
        repository = ModelRepository(session)
        repository.note([Day("synthetic", "synthetic@a", today - timedelta(days=20), calm)])
        repository.note([Day("synthetic", "synthetic@a", today, changed)])

    (found,) = [drift for drift in registry.drift("synthetic") if drift.model == "synthetic@a"]
    assert (found.images, found.images_before) == (1004, 1000)
    assert found.flagged > 0.9
    assert found.flagged_before == 0
    assert (found.psi or 0) > 1
    assert [drift.psi for drift in registry.drift("synthetic") if drift.model == "synthetic@b"] == [None]


def test_a_process_writes_down_by_itself(registry: ModelRegistry) -> None:
    now = [0.0]
    served = ServedModels(registry, clock=lambda: now[0])
    served.note("synthetic", [finding(0.5, "synthetic@a")], None)
    assert registry.drift("synthetic") == []
    now[0] += 31
    served.note("synthetic", [finding(0.5, "synthetic@a")], None)

    assert registry.drift("synthetic")[0].images == 2


def test_what_cannot_be_written_is_counted_on(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    served = ServedModels(registry)
    served.note("synthetic", [finding(0.5, "synthetic@a")], None)
    with monkeypatch.context() as broken:
        broken.setattr(ModelRepository, "note", lambda *_: 1 / 0)
        with pytest.raises(StorageError, match="ZeroDivisionError"):
            served.write_down()
    served.note("synthetic", [finding(0.5, "synthetic@a")], None)

    served.write_down()

    assert registry.drift("synthetic")[0].images == 2


def test_the_index_is_nothing_for_the_same_shape_and_grows() -> None:
    assert stability([10, 20], [10, 20]) == 0
    assert stability([100, 200], [10, 20]) < 0.01
    assert stability([200, 100], [10, 20]) > 0.2


def test_gates_that_a_card_cannot_answer_are_named() -> None:
    assert "no `native ece`" in " ".join(failed_gates("synthetic", {"figures": {}}))
    assert (
        failed_gates("swap", {"ece": 0.01, "figures": [{"kind": "clone", "protocol": "native", "auc": [0.9, 0, 1]}]})
        == []
    )
