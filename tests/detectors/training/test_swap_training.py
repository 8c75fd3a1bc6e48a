"""Training of the `swap` network at a tiny size, and everything that is refused on the way to a served model."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from detectors.calibration import Calibration  # noqa: E402
from detectors.catalogue import CatalogueEntry  # noqa: E402
from detectors.embedding import EmbeddingDetector  # noqa: E402
from detectors.errors import ModelError  # noqa: E402
from detectors.runtime import Runtime  # noqa: E402
from detectors.swap import SwapDetector, SwapModel  # noqa: E402
from detectors.training import figures, linear, swap_head  # noqa: E402
from detectors.training import swap_evaluation as evaluation  # noqa: E402
from detectors.training.data import DataError  # noqa: E402
from detectors.training.errors import TrainingError  # noqa: E402
from detectors.training.features import FeatureCache  # noqa: E402
from detectors.training.swap import SwapConfig, SwapNetwork, SwapRun, logits_of  # noqa: E402
from detectors.training.swap_data import network_input, read_faces  # noqa: E402
from detectors.training.swap_export import difference, export  # noqa: E402
from detectors.training.swap_training import SwapTraining, reconstructor, train  # noqa: E402
from tests.detectors.training.factories import crop, people, tiny_clip, write_people  # noqa: E402

TINY = SwapConfig(steps=4, horizon=4, hard_from=2, pairs=2, save_every=2, half=False)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def weights(network: SwapNetwork) -> list[np.ndarray]:
    return [value.detach().numpy() for value in network.state_dict().values()]


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = SwapRun(people(), TINY, tmp_path / "whole.pt").train()

    def interrupt(step: int, steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SwapRun(people(), TINY, tmp_path / "parts.pt").train(interrupt)
    again = SwapRun(people(), TINY, tmp_path / "parts.pt")
    again.resume()
    assert again.step == 2

    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(weights(whole), weights(again.train()), strict=True))


def test_it_learns_from_obvious_blends(tmp_path: Path) -> None:
    run = SwapRun(
        people(), replace(TINY, steps=30, horizon=60, hard_from=60, pairs=6, save_every=30), tmp_path / "run.pt"
    )
    first = run.batch(0)
    before = run.advance(first)
    losses: list[float] = []

    run.train(lambda step, steps, loss: losses.append(loss))

    assert losses[-1] < before


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    SwapRun(people(), TINY, tmp_path / "run.pt").train()

    with pytest.raises(TrainingError, match="another config or other data"):
        SwapRun(people(), replace(TINY, seed=6), tmp_path / "run.pt").resume()


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run = SwapRun(people(), TINY, tmp_path / "run.pt")
    run.train()
    good = run.checkpoint.read_bytes()
    ready = run.batch(0)
    ready.crops[0, 0, 0, 0] = np.nan

    with pytest.raises(TrainingError, match="loss is nan at step 4"):
        run.advance(ready)

    assert run.checkpoint.read_bytes() == good


def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    SwapRun(people(), TINY, tmp_path / "run.pt").train()
    longer = SwapRun(people(), replace(TINY, steps=6), tmp_path / "run.pt")
    longer.resume()

    assert longer.step == 4
    with pytest.raises(TrainingError, match="after the last, 2"):
        SwapRun(people(), replace(TINY, steps=2), tmp_path / "run.pt").resume()


def test_one_person_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="one person"):
        SwapRun(people(number=1), TINY, tmp_path / "run.pt")


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="one class"):
        evaluation.fit_logistic(np.ones(8, dtype=np.int64), np.arange(8.0))


def test_figures_of_known_scores() -> None:
    labels, scores = np.array([0, 0, 0, 0, 1, 1]), np.array([0.0, 1.0, 2.0, 3.0, 2.0, 4.0])

    assert figures.auc(scores, labels == 1) == pytest.approx((2.5 + 4) / 8)
    assert figures.recall_at(scores, labels == 1, 0.05) == 0.5
    assert figures.calibration_error(np.full(4, 0.75), np.array([False, True, True, True])) == pytest.approx(0)
    assert figures.calibration_error(np.full(2, 0.9), np.array([False, False])) == pytest.approx(0.9)


def test_the_logistic_recovers_what_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-0.5 * logits))).astype(np.int64)

    fitted = evaluation.fit_logistic(labels, logits)

    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.offset == pytest.approx(0.0, abs=0.06)


def test_intervals_hold_the_value_and_are_reproducible() -> None:
    values = np.random.default_rng(0).normal(size=40)
    names = [f"person_{number % 5}" for number in range(40)]

    one, two = (evaluation.with_interval(lambda rows: float(values[rows].mean()), names) for _ in range(2))

    assert one == two
    assert one[1] < one[0] < one[2]


WIDTH = len(swap_head.BLOCKS) * 768
RANDOM = np.random.default_rng(0)
HEAD = linear.Linear(RANDOM.normal(size=WIDTH), np.full(WIDTH, 2.0), RANDOM.normal(size=WIDTH) / WIDTH, 0.3)
WEIGHED = linear.Linear(np.array([0.1, 0.2]), np.array([1.0, 2.0]), np.array([0.5, 1.5]), -0.2)


def served(network: SwapNetwork | None = None) -> swap_head.Served:
    """A network, untrained if none is given, and a random head."""
    return swap_head.Served(network or SwapNetwork(), HEAD, WEIGHED).eval()


def test_what_is_served_weighs_the_network_and_the_head() -> None:
    crops, network = [crop(1), crop(2)], SwapNetwork().eval()
    blocks = np.random.default_rng(1).normal(size=(2, 12, 768)).astype(np.float32)

    with torch.no_grad():
        logits, maps = served(network)(torch.from_numpy(network_input(crops)), torch.from_numpy(blocks))

    tokens = blocks[:, list(swap_head.BLOCKS)].reshape(2, -1)
    assert maps.shape == (2, 14, 14)
    assert np.allclose(logits, WEIGHED(np.stack([logits_of(network, crops), HEAD(tokens)], axis=1)), atol=1e-4)


def test_pairs_take_turns_and_are_computed_once(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "tokens", EmbeddingDetector(tiny_clip(tmp_path)))

    one, two = (swap_head.make_pairs(cache, people(2, 2), draws=2, seed=3) for _ in range(2))

    assert one.tokens.shape == (16, len(swap_head.BLOCKS) * 768)
    assert one.blended.tolist() == [False, True] * 8
    assert np.array_equal(one.tokens, two.tokens)
    assert len(list((tmp_path / "tokens").rglob("*.npz"))) == 16


def test_nothing_is_fitted_to_reconstructions() -> None:
    kinds, labels = ("clone", "reconstruction", "clone"), np.array([0, 1, 1])
    scored = evaluation.Scored(kinds, ("native",) * 3, ("a", "b", "c"), np.zeros(3, np.int64), labels, np.arange(3.0))

    assert (scored.swaps().person, scored.swaps().logit.tolist()) == (("a", "c"), [0.0, 2.0])


def test_photographs_weigh_as_much_as_portraits() -> None:
    reals = evaluation.Reals(np.full(5, 1.0), {"portrait": np.zeros(100), "photo": np.full(20, 1.0)})

    assert np.bincount(reals.negatives().astype(int)).tolist() == [100, 100]
    assert len(evaluation.Reals(np.zeros(0), {"portrait": np.zeros(7)}).negatives()) == 7


def test_a_calibration_on_half_of_the_faces_holds_on_the_other_half() -> None:
    rng = np.random.default_rng(0)
    parts = [evaluation.Reals(rng.normal(0, 2, 1000), {"portrait": rng.normal(0, 2, 1000)}) for _ in range(2)]

    shares = evaluation.reached(parts)

    assert shares["0.5"] == pytest.approx(0.5, abs=0.04)
    assert shares["0.05"] == pytest.approx(0.05, abs=0.02)


def test_the_exported_model_answers_as_the_trained_one(tmp_path: Path) -> None:
    assert export(served(), tmp_path / "swap.onnx") < 1e-3
    assert [path.name for path in tmp_path.iterdir()] == ["swap.onnx"]


def test_an_export_that_differs_is_refused(tmp_path: Path) -> None:
    model = served()
    export(model, tmp_path / "swap.onnx")
    model.bias += 0.01

    with pytest.raises(TrainingError, match=r"differs from the trained one by 0\.01"):
        difference(model, tmp_path / "swap.onnx")


def test_a_network_of_no_numbers_is_not_exported(tmp_path: Path) -> None:
    model = served()
    with torch.no_grad():
        model.network.head.bias += float("nan")

    with pytest.raises(TrainingError, match="differs"):
        export(model, tmp_path / "swap.onnx")

    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_whole_training_makes_a_model_that_is_served(tmp_path: Path) -> None:
    """Fifty crops, two steps: the figures mean nothing, the files are whole."""
    write_people(tmp_path / "faces", people(number=4, each=13))
    seen: set[str] = set()
    runtime = tiny_clip(tmp_path)
    task = SwapTraining(tmp_path / "faces", tmp_path / "work", tmp_path / "out", runtime, steps=2)

    card = train(task, lambda name, step, steps, loss: seen.add(name))

    assert seen == {"fold-0", "fold-1", "final", "CLIP's tokens"}
    assert card == json.loads((tmp_path / "out" / "swap.card.json").read_text())
    assert {row["kind"] for row in card["figures"]} == {"self-blend", "clone", "alike"}
    assert (card["people"], card["crops"]) == (4, {"portrait": 52})
    detector = SwapDetector(runtime, tmp_path / "out")
    logits, maps = detector.answers([crop(1), crop(2)])
    assert logits.shape == (2,)
    assert maps.shape == (2, 14, 14)
    assert isinstance(detector.calibration, Calibration)
    with pytest.raises(ModelError, match="reads tokens of"):
        SwapDetector(Runtime(tmp_path, entries={"clip_vit_b16": changed(runtime)}), tmp_path / "out")


def test_too_few_faces_to_calibrate_on_are_refused(tmp_path: Path) -> None:
    write_people(tmp_path / "faces", people(number=4, each=3))

    with pytest.raises(TrainingError, match="12 faces; 50 are needed"):
        train(SwapTraining(tmp_path / "faces", tmp_path / "work", tmp_path / "out", tiny_clip(tmp_path)), print)


def changed(runtime: Runtime) -> CatalogueEntry:
    """The same file, said to be prepared otherwise."""
    return runtime.entries["clip_vit_b16"].model_copy(update={"prepared": "fold"})


def test_a_missing_autoencoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="taef2_encoder"):
        reconstructor(tmp_path)


def test_the_autoencoder_gives_the_picture_back(shared_data: Path) -> None:
    face = read_faces(shared_data / "faces")[0].pixels

    (copy,) = reconstructor(shared_data / "weights")([face])

    error = np.mean((copy.astype(float) - face) ** 2)
    assert 25 < 10 * np.log10(255**2 / error) < 50


def test_a_model_without_its_card_is_not_loaded(tmp_path: Path) -> None:
    export(served(), tmp_path / "swap.onnx")

    with pytest.raises(ModelError, match="card"):
        SwapModel.read(tmp_path)
