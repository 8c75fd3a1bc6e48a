"""Fine-tuning a tower: a tiny real one of open_clip, trained, interrupted, exported, and served by the same interface."""

import dataclasses
import json
from pathlib import Path

import PIL.Image
import PIL.ImageFilter
import pytest

torch = pytest.importorskip("torch", reason="towers need the `train` extra")
open_clip = pytest.importorskip("open_clip", reason="towers need the `train` extra")

from detectors.errors import ModelError  # noqa: E402
from detectors.runtime import Runtime  # noqa: E402
from detectors.synthetic import WEIGHTS, SyntheticDetector  # noqa: E402
from detectors.tower import TowerDetector, load_synthetic  # noqa: E402
from detectors.training.data import DataError, Example  # noqa: E402
from detectors.training.errors import TrainingError  # noqa: E402
from detectors.training.tower import Run, Tower, TowerConfig, difference, export, split, train  # noqa: E402
from tests.factories import make_image, picture  # noqa: E402

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
CONFIG = TowerConfig("palisade-tiny", steps=6, batch=4, save_every=2, blocks=1, folds=2, rate=1e-3)

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::torch.jit.TracerWarning"
)


@pytest.fixture(autouse=True, scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("towers")
    (folder / "palisade-tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Real pictures as they are, and "generated" ones of two families, smoothed."""
    folder, found = tmp_path_factory.mktemp("pictures"), []
    for number in range(150):
        drawn = PIL.Image.fromarray(picture(64, 48, seed=number))
        generated = number % 3 > 0
        if generated:
            drawn = drawn.filter(PIL.ImageFilter.GaussianBlur(2))
        path = folder / f"{number:03d}.png"
        drawn.save(path)
        family = f"maker{number % 3}" if generated else "photo"
        found.append(Example(path.name, path, generated, family if generated else f"camera{number % 2}", family))
    return found


@pytest.fixture(scope="module")
def trained(examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tower")
    train(examples, CONFIG, folder / "work", folder / "model")
    return folder / "model"


def test_what_is_tested_was_not_trained_on(examples: list[Example]) -> None:
    data = split(examples, "maker2", 2)

    assert not {e.file for e in data.train} & {e.file for e in data.test}
    assert {e.family for e in data.train if e.generated} == {"maker1"}
    assert {e.family for e in data.test if e.generated} == {"maker2"}
    with pytest.raises(DataError, match="cannot be left out"):
        split(examples, "nobody", 2)
    with pytest.raises(DataError, match="cannot be left out"):
        split([e for e in examples if e.family != "maker1"], "", 2)


def test_a_prompt_of_both_families_is_not_trained_on(examples: list[Example]) -> None:
    shared = [dataclasses.replace(e, prompt=f"p{n % 60}") if e.generated else e for n, e in enumerate(examples)]
    data = split(shared, "maker1", 2)

    assert not {e.prompt for e in data.train if e.generated} & {e.prompt for e in data.test if e.generated}


def test_the_served_detector_measures_with_a_trained_tower(trained: Path, runtime: Runtime) -> None:
    detector = load_synthetic(runtime, trained)
    assert isinstance(detector, TowerDetector)
    (one,), (two,) = detector.detect([make_image(picture()), make_image(picture(seed=3))])

    assert (one.label, one.model) == ("synthetic", detector.card.identity)
    assert 0 < one.score < 1
    assert 0 < one.fpr <= 1
    assert detector.detect([make_image(picture(seed=3))])[0] == [two]
    assert detector.card.training["export_difference"] <= 1e-3
    assert {"native-0", "laundered-0"} == set(detector.card.figures)
    assert isinstance(load_synthetic(runtime, WEIGHTS), SyntheticDetector)


def test_a_model_without_its_card_or_with_another_graph_is_not_loaded(
    trained: Path, tmp_path: Path, runtime: Runtime
) -> None:
    for path in trained.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "synthetic.onnx").write_bytes((trained / "synthetic.onnx").read_bytes() + b" ")
    with pytest.raises(ModelError, match="not what its card describes"):
        load_synthetic(runtime, tmp_path)
    (tmp_path / "synthetic.card.json").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_synthetic(runtime, tmp_path)


def test_an_interrupted_run_goes_on_to_the_same_weights(examples: list[Example], tmp_path: Path) -> None:
    data = split(examples, "", 2)
    whole = Run(CONFIG, data, tmp_path / "whole.pt").train()
    first = Run(CONFIG, data, tmp_path / "part.pt")
    for _ in range(3):
        first.advance(*first.batch(first.step))
    first.save()

    second = Run(CONFIG, data, tmp_path / "part.pt")
    second.resume()
    assert second.step == 3
    for one, two in zip(whole.parameters(), second.train().parameters(), strict=True):
        assert torch.equal(one, two)
    other = Run(dataclasses.replace(CONFIG, rate=1.0), data, tmp_path / "part.pt")
    with pytest.raises(TrainingError, match="another config"):
        other.resume()


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoint(examples: list[Example], tmp_path: Path) -> None:
    run = Run(CONFIG, split(examples, "", 2), tmp_path / "run.pt")
    run.save()
    kept = (tmp_path / "run.pt").read_bytes()
    with torch.no_grad():
        run.network.head.weight.fill_(float("nan"))

    with pytest.raises(TrainingError, match="nan at step 0"):
        run.train()
    assert (tmp_path / "run.pt").read_bytes() == kept


def test_a_graph_that_differs_is_refused(tmp_path: Path) -> None:
    network = Tower(CONFIG).eval()
    assert export(network, tmp_path / "one.onnx") <= 1e-3
    with torch.no_grad():
        network.head.bias.add_(0.01)

    with pytest.raises(TrainingError, match="differs"):
        difference(network, tmp_path / "one.onnx")


def test_only_the_last_blocks_learn(examples: list[Example], tmp_path: Path) -> None:
    run = Run(CONFIG, split(examples, "", 2), tmp_path / "run.pt")
    before = {name: value.clone() for name, value in run.network.visual.named_parameters()}
    run.advance(*run.batch(0))
    changed = {name for name, value in run.network.visual.named_parameters() if not torch.equal(value, before[name])}

    assert changed
    assert not any(name.startswith(("conv1", "transformer.resblocks.0")) for name in changed)


def test_an_unknown_tower_is_refused() -> None:
    with pytest.raises(TrainingError, match="no-such-tower"):
        Tower(dataclasses.replace(CONFIG, tower="no-such-tower"))


def test_weights_are_not_fetched_unless_allowed() -> None:
    with pytest.raises(TrainingError, match="no local file") as refusal:
        Tower(dataclasses.replace(CONFIG, pretrained="openai"))
    assert "--online" in refusal.value.hint


def test_weights_come_from_a_local_file(tmp_path: Path) -> None:
    model = open_clip.create_model(CONFIG.tower)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    network = Tower(dataclasses.replace(CONFIG, pretrained=str(tmp_path / "weights.pt"), seed=5))

    assert all(
        torch.equal(value, network.visual.state_dict()[name]) for name, value in model.visual.state_dict().items()
    )
