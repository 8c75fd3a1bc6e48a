"""Training: the curve, resuming to the same weights, and stopping at what is not a number."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from generator import concepts
from generator.errors import TrainingError
from generator.loop import Loop
from generator.model import make_tokenizer
from generator.pipelines import load
from generator.scenes import SCENES
from generator.training import Plan, train
from tests.generator.parts import pictures


def data(folder: Path) -> Path:
    origins = ["x:train/dress/a.png", "x:train/pants/b.png", "x:train/t-shirt/c.png"]
    lines = ["file,label,source,family,split,origin"]
    for path, origin in zip(pictures(folder / "images"), origins, strict=True):
        lines.append(f"images/{path.name},real,clothing,photo,train,{origin}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def loop(folder: Path, steps: int, *, minutes: float = float("inf"), rate: float = 0.1) -> tuple[Loop, list[str]]:
    torch.manual_seed(1)
    module, said = torch.nn.Linear(3, 1), list[str]()
    made = Loop("line", module, folder, steps, rate, every=2, minutes=minutes)

    def loss(step: int) -> torch.Tensor:
        batch = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        error: torch.Tensor = (module(batch) - batch.sum(1, keepdim=True)).square().mean()
        return error

    made.run(loss, said.append)
    return made, said


def contents(checkpoint: Path) -> tuple[dict[str, str], dict[str, list[float]]]:
    """Facts and numbers of a checkpoint; the order of its header is the library's to choose, and by chance."""
    with safe_open(checkpoint, "pt") as opened:
        facts = dict(opened.metadata() or {})
        return facts, {name: opened.get_tensor(name).flatten().tolist() for name in sorted(opened.keys())}


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, said = loop(tmp_path / "whole", 10)
    first, _ = loop(tmp_path / "parts", 10, minutes=0)
    second, _ = loop(tmp_path / "parts", 10)

    assert first.step == 2
    assert second.step == whole.step == 10
    assert contents(second.checkpoint) == contents(whole.checkpoint)
    assert [row["step"] for row in csv.DictReader((tmp_path / "parts" / "line.csv").open())] == [
        "2",
        "4",
        "6",
        "8",
        "10",
    ]
    assert "steps/s" in said[0]
    assert "min left" in said[0]


def test_not_a_number_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    good, _ = loop(tmp_path, 4)
    before = good.checkpoint.read_bytes()
    again = Loop("line", torch.nn.Linear(3, 1), tmp_path, 10, 0.1, every=2)

    with pytest.raises(TrainingError, match="loss is nan at step 4"):
        again.run(lambda _: torch.tensor(float("nan"), requires_grad=True), lambda _: None)
    assert good.checkpoint.read_bytes() == before


def test_a_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "line.safetensors").write_bytes(b"something else")
    with pytest.raises(TrainingError, match="not a checkpoint of this model"):
        loop(tmp_path, 2)


def test_training_writes_a_pipeline_that_loads(tmp_path: Path) -> None:
    plan = Plan(autoencoder_steps=2, diffusion_steps=2, batch=2, latents=4)
    said: list[str] = []

    train(data(tmp_path), tmp_path / "work", tmp_path / "out", plan, said.append)

    assert type(load(tmp_path / "out").pipeline).__name__ == "StableDiffusionPipeline"
    assert (tmp_path / "work" / "diffusion.csv").is_file()
    assert any(line.startswith("diffusion 2/2") for line in said)


def test_data_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no manifest"):
        concepts.load(tmp_path)
    folder = data(tmp_path)
    (folder / "images" / "picture_1.png").write_bytes(b"broken")
    with pytest.raises(TrainingError, match=r"picture_1\.png cannot be read"):
        concepts.load(folder)
    (folder / "manifest.csv").write_text("file,label,source,family,split,origin\n")
    with pytest.raises(TrainingError, match="no real picture"):
        concepts.load(folder)
    with pytest.raises(TrainingError, match="batch is 0"):
        Plan(batch=0)


def test_captions_come_from_labels_and_colours(tmp_path: Path) -> None:
    taught = {example.caption for example in concepts.load(data(tmp_path))}
    assert any(caption.endswith(" dress") for caption in taught)
    assert all(word in concepts.WORDS for caption in taught for word in caption.split())


@pytest.mark.parametrize("name", sorted(SCENES))
def test_scenes_are_deterministic_and_differ_by_seed(name: str) -> None:
    import numpy as np

    one, same, other = (SCENES[name](np.random.default_rng(seed), 64) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    assert one.min() >= 0
    assert one.max() <= 1


def test_each_word_is_one_token(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(concepts.WORDS, tmp_path)
    assert all(len(tokenizer.tokenize(word)) == 1 for word in concepts.WORDS)
    assert len(tokenizer.tokenize("zebra")) > 1
