"""Reconstructions and the forensic network at a tiny size, and what is refused on the way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

torch = pytest.importorskip("torch", reason="training needs the `train` extra")

from detectors.training import forensic, forensic_evaluation, forensic_training, reconstructions  # noqa: E402
from detectors.training.data import DataError, Example  # noqa: E402
from detectors.training.errors import TrainingError  # noqa: E402
from detectors.training.forensic_crops import SIDE, crops  # noqa: E402
from detectors.training.forensic_data import Laundering, batch, weakened  # noqa: E402
from detectors.training.residual_statistics import statistics  # noqa: E402
from tests.factories import picture  # noqa: E402

CONFIG = forensic.ForensicConfig(steps=4, pairs=2, save_every=2)
DESIGN = reconstructions.Design("tiny", "shuffle", 2, 6, width=8, steps=4, batch=2, side=32)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def real(count: int = 4) -> list[np.ndarray]:
    size = reconstructions.SIDE
    return [np.asarray(Pillow.fromarray(picture(seed=n)).resize((size, size))) for n in range(count)]


def flattened(pixels: np.ndarray) -> np.ndarray:
    """A stand-in for a reconstruction with plain traces: every 4 × 4 pixels alike."""
    return np.ascontiguousarray(pixels[::4, ::4].repeat(4, 0).repeat(4, 1))


def pairs() -> forensic.Pairs:
    pictures = real()
    return forensic.Pairs(pictures, {"blocks": [flattened(p) for p in pictures]}, ["a", "a", "b", "b"])


def weights(network: torch.nn.Module) -> list[np.ndarray]:
    return [value.detach().numpy() for value in network.state_dict().values()]


@pytest.fixture
def example(tmp_path: Path) -> Example:
    path = tmp_path / "one.png"
    Pillow.fromarray(picture(seed=1)).resize((900, 1000)).save(path)
    return Example("one.png", path, False, "s", "photo")


def test_every_design_gives_the_size_it_was_given() -> None:
    pictures = torch.rand(1, 3, 32, 48)
    for design in reconstructions.DESIGNS:
        assert reconstructions.SmallAutoencoder(replace(design, width=8)).eval()(pictures).shape == pictures.shape


def test_a_trained_autoencoder_is_taken_from_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    first = reconstructions.train_autoencoder(DESIGN, real(), path)
    again = reconstructions.train_autoencoder(DESIGN, real(), path)

    assert all(np.array_equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))


def test_a_checkpoint_of_another_design_is_refused(tmp_path: Path) -> None:
    reconstructions.train_autoencoder(DESIGN, real(), tmp_path / "tiny.pt")

    with pytest.raises(TrainingError, match="another design"):
        reconstructions.train_autoencoder(replace(DESIGN, latent=4), real(), tmp_path / "tiny.pt")


def test_reconstructions_are_made_once_and_a_damaged_one_again(tmp_path: Path, example: Example) -> None:
    cache = reconstructions.PairCache(tmp_path / "cache")
    crops = cache.crops([example])
    calls = []

    def trip(pictures: torch.Tensor) -> torch.Tensor:
        calls.append(pictures.shape)
        return 1 - pictures

    made = cache.reconstructions("inverted", [example], crops, trip)
    kept = next((tmp_path / "cache" / "inverted").iterdir())
    kept.write_bytes(kept.read_bytes()[:100])
    again = cache.reconstructions("inverted", [example], crops, trip)
    third = cache.reconstructions("inverted", [example], crops, trip)

    assert np.array_equal(made[0], 255 - crops[0])
    assert np.array_equal(made[0], again[0])
    assert np.array_equal(again[0], third[0])
    assert len(calls) == 2


def test_both_pictures_of_a_pair_are_laundered_alike() -> None:
    pictures = real()
    left, right = batch(pictures, {"same": pictures}, ["a"] * 4, 3, (0, 0))

    assert left.shape == (3, SIDE, SIDE, 3)
    assert np.array_equal(left, right)


def test_laundering_depends_on_its_draw_only() -> None:
    wash = Laundering.drawn(np.random.default_rng(3))

    assert np.array_equal(wash(real(1)[0]), wash(real(1)[0]))


def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = forensic.ForensicRun(pairs(), CONFIG, tmp_path / "whole.pt").train()

    def interrupt(step: int, steps: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forensic.ForensicRun(pairs(), CONFIG, tmp_path / "parts.pt").train(interrupt)
    again = forensic.ForensicRun(pairs(), CONFIG, tmp_path / "parts.pt")
    again.resume()
    assert again.step == 2

    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(weights(whole), weights(again.train()), strict=True))


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path) -> None:
    forensic.ForensicRun(pairs(), CONFIG, tmp_path / "run.pt").train()
    other = forensic.Pairs(real(3), {"blocks": real(3)}, ["a", "a", "b"])

    with pytest.raises(TrainingError, match="other data"):
        forensic.ForensicRun(other, CONFIG, tmp_path / "run.pt").resume()


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run = forensic.ForensicRun(pairs(), CONFIG, tmp_path / "run.pt")
    run.train()
    before = (tmp_path / "run.pt").read_bytes()
    with torch.no_grad():
        run.network.head.weight.fill_(float("nan"))

    with pytest.raises(TrainingError, match="loss is nan"):
        run.advance(run.batch(0))
    assert (tmp_path / "run.pt").read_bytes() == before


def test_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to learn"):
        forensic.ForensicRun(forensic.Pairs(real(), {}, ["a"] * 4), CONFIG, tmp_path / "run.pt")


def test_folds_leave_out_whole_sources_and_every_autoencoder_once() -> None:
    folds = forensic_evaluation.source_folds(["b", "a", "c", "a"], 2)

    assert folds[1] == folds[3]
    assert sorted(n for part in forensic_evaluation.name_folds(["x", "y", "z"], 2) for n in part) == ["x", "y", "z"]


def test_a_crude_reconstruction_is_weakened_and_a_good_one_left() -> None:
    pixels = real(1)[0]
    crude, good = 255 - pixels, np.where(pixels < 255, pixels + 1, pixels - 1).astype(np.uint8)
    apart = weakened(pixels, crude, 30).astype(float) - pixels

    assert 10 * np.log10(255**2 / (apart**2).mean()) == pytest.approx(30, abs=0.5)
    assert np.array_equal(weakened(pixels, good, 30), good)


def test_crops_are_of_the_places_with_most_detail() -> None:
    wide = np.zeros((SIDE, 4 * SIDE, 3), dtype=np.uint8)
    wide[:, SIDE : 2 * SIDE] = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3))

    assert np.array_equal(crops(wide, 1)[0], wide[:, SIDE : 2 * SIDE])
    assert crops(wide[:50, :60]).shape == (1, SIDE, SIDE, 3)


def test_statistics_do_not_tell_a_mirrored_picture() -> None:
    part = crops(real(1)[0])
    kept = statistics(part)
    mirrored = np.abs(kept - statistics(np.ascontiguousarray(part[:, :, ::-1]))).max()
    blocks = np.abs(kept - statistics(crops(flattened(real(1)[0])))).max()

    assert mirrored < 0.02  # halves are rounded to either side
    assert blocks > 0.1


def manifest(folder: Path, sources: int) -> Path:
    rows = ["file,label,source,family"]
    for number in range(4):
        Pillow.fromarray(picture(seed=number)).resize((220, 200)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,real,source-{number % sources},photo")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder / "manifest.csv"


def test_the_whole_training_leaves_out_each_autoencoder_and_can_be_taken_up(tmp_path: Path) -> None:
    designs = (DESIGN, replace(DESIGN, name="other", enlarging="nearest", levels=5))
    task = forensic_training.ForensicTraining(
        (manifest(tmp_path, 2),), tmp_path / "work", folds=2, config=replace(CONFIG, steps=2), designs=designs
    )
    figures = forensic_training.train(task, lambda _: None)
    said: list[str] = []

    assert figures == forensic_training.train(task, said.append)
    assert not [line for line in said if "step" in line]
    assert sorted(figures["left_out"]) == ["other", "tiny"]
    assert all(0 <= model["auc"] <= 1 for models in figures["left_out"].values() for model in models.values())


def test_one_source_of_real_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 sources"):
        forensic_training.real_pictures([manifest(tmp_path, 1)], 4)
