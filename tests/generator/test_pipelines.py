"""Real pipeline classes, saved, loaded and run; and everything that is refused before it is loaded."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from generator import pipelines
from generator.errors import ModelError
from generator.modes.diffusion import Families, Request
from generator.pipelines import Adapter, Options
from tests.generator import tiny


@pytest.mark.parametrize("family", ["stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3", "flux"])
def test_families_load_and_run_offline(family: str, tmp_path: Path) -> None:
    loaded = pipelines.load(getattr(tiny, family)(tmp_path))

    made = Families(loaded).text([Request("a red dress", steps=2, seed=5)])

    assert made[0].image.size == (64, 64)
    assert type(loaded.pipeline).__name__ in loaded.report()
    assert len(loaded.digest) == 64


def test_same_seed_same_image(tiny_folder: Path) -> None:
    families = Families(pipelines.load(tiny_folder))
    one, two, other = (families.text([Request("a dress", steps=2, seed=seed)])[0].image for seed in (1, 1, 2))

    assert one.tobytes() == two.tobytes() != other.tobytes()


def copy(folder: Path, to: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file():
            target = to / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return to


@pytest.mark.parametrize("name", ["unet/model.bin", "unet/model.ckpt", "vae/x.pt", "notes.txt"])
def test_pickles_are_refused_by_name_and_by_content(name: str, tiny_folder: Path, tmp_path: Path) -> None:
    folder = copy(tiny_folder, tmp_path / "copy")
    (folder / name).write_bytes(pickle.dumps({"weight": [1.0]}, protocol=4))

    with pytest.raises(ModelError, match="is a pickle"):
        pipelines.load(folder)


def test_weights_that_are_not_safetensors_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = copy(tiny_folder, tmp_path / "copy")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"nothing of the kind")

    with pytest.raises(ModelError, match="not a safetensors file"):
        pipelines.load(folder)


def test_missing_weights_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = copy(tiny_folder, tmp_path / "copy")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()

    with pytest.raises(ModelError, match="cannot be loaded"):
        pipelines.load(folder)


@pytest.mark.parametrize("revision", ["", "main", "v1.0", "abc123"])
def test_hub_ids_must_be_pinned(revision: str) -> None:
    with pytest.raises(ModelError, match="not pinned"):
        pipelines.load("someone/something", revision=revision)


def test_offline_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="not in the local cache"):
        pipelines.load("someone/something", revision="0" * 40)


def test_what_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model_index\.json"):
        pipelines.load(tmp_path)
    with pytest.raises(ModelError, match="there is no folder"):
        pipelines.load(tmp_path / "absent")


def test_scheduler_swap(tiny_folder: Path) -> None:
    loaded = pipelines.load(tiny_folder, options=Options(scheduler="EulerDiscreteScheduler"))

    assert loaded.scheduler == "EulerDiscreteScheduler"
    with pytest.raises(ModelError, match="does not fit"):
        pipelines.load(tiny_folder, options=Options(scheduler="FlowMatchEulerDiscreteScheduler"))


def test_placement_says_what_is_not_here() -> None:
    with pytest.raises(ModelError, match="no dtype"):
        pipelines.placement(Options(device="cpu", dtype="int3"))
    with pytest.raises(ModelError, match="offload needs"):
        pipelines.placement(Options(device="cpu", offload="model"))


def test_textual_inversion_becomes_a_token(tiny_folder: Path, tmp_path: Path) -> None:
    import torch

    save_file({"emb_params": torch.full((1, 96), 0.1)}, tmp_path / "thing.safetensors")

    loaded = pipelines.load(
        tiny_folder, options=Options(inversions=(Adapter(tmp_path / "thing.safetensors", token="<thing>"),))
    )

    assert "<thing>" in loaded.pipeline.tokenizer.get_vocab()
    plain = pipelines.load(tiny_folder)
    assert plain.digest != loaded.digest


def test_an_adapter_of_another_model_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    import torch

    save_file({"emb_params": torch.zeros(1, 7)}, tmp_path / "thing.safetensors")

    with pytest.raises(ModelError, match="does not fit"):
        pipelines.load(
            tiny_folder, options=Options(inversions=(Adapter(tmp_path / "thing.safetensors", token="<thing>"),))
        )


def test_batches_differ_from_single_images_by_rounding_only(tiny_folder: Path) -> None:
    families = Families(pipelines.load(tiny_folder))
    requests = [Request("a red dress", steps=2, seed=seed) for seed in (1, 2)]

    batch, single = families.text(requests)[0].image, families.text(requests[:1])[0].image

    assert np.abs(np.asarray(batch, int) - np.asarray(single, int)).max() <= 2
