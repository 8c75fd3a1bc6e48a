"""Modes on real small models: sizes, masks, determinism, and what is refused."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from diffusers import AutoencoderTiny

from generator.errors import ModelError, TrainingError
from generator.modes import reconstruct, swap
from generator.modes.diffusion import Families, Request, drawn_mask
from generator.modes.invert import invert
from generator.modes.personalise import Consent, personalise
from generator.pipelines import Adapter, Options, load
from tests.generator.parts import pictures
from tests.generator.tiny import autoencoder

REQUEST = Request("a red dress", steps=4, seed=3)
CONSENT = Consent("a made-up face", "synthetic-face", "made by the embedded model, seed 7", date(2026, 1, 2))


@pytest.fixture(scope="module")
def families(tiny_folder: Path) -> Families:
    return Families(load(tiny_folder))


@pytest.fixture
def picture(tmp_path: Path) -> PIL.Image.Image:
    return PIL.Image.open(pictures(tmp_path / "pictures", 1)[0])


def test_strength_moves_away_from_the_picture(families: Families, picture: PIL.Image.Image) -> None:
    made = [families.image(picture, REQUEST, strength, parent="p") for strength in (0.25, 1.0)]
    source = np.asarray(picture.resize((64, 64)), float)
    distance = [float(np.abs(np.asarray(one.image, float) - source).mean()) for one in made]

    assert distance[0] != distance[1]
    assert made[0].parameters["strength"] == 0.25
    assert made[0].parent == "p"


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.5, 0.1])
def test_strength_that_does_nothing_is_refused(strength: float, families: Families, picture: PIL.Image.Image) -> None:
    with pytest.raises(ModelError, match="leaves nothing to do"):
        families.image(picture, REQUEST, strength)


def test_inpainting_keeps_all_outside_the_mask(families: Families, picture: PIL.Image.Image) -> None:
    source, mask = picture.resize((64, 64)), drawn_mask(1, 64, 64)

    made = families.inpaint(source, mask, REQUEST, 0.9)

    outside = np.asarray(mask) == 0
    assert (np.asarray(made.image)[outside] == np.asarray(source)[outside]).all()
    assert (np.asarray(made.image)[~outside] != np.asarray(source)[~outside]).any()


def test_drawn_masks_cover_a_part() -> None:
    shares = [float((np.asarray(drawn_mask(seed, 64, 96)) > 0).mean()) for seed in range(30)]
    assert 0.05 < min(shares) <= max(shares) < 0.5


def test_inversion_is_deterministic(families: Families, picture: PIL.Image.Image) -> None:
    one, two = (invert(families.loaded, picture, REQUEST) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert one.image.size == (64, 64)


@pytest.mark.parametrize(("width", "height"), [(60, 64), (64, 16), (4096, 64)])
def test_impossible_sizes_are_refused(width: int, height: int) -> None:
    with pytest.raises(ModelError, match="cannot be made"):
        Request("a dress", width=width, height=height)


def test_one_identity_becomes_a_lora(tiny_folder: Path, tmp_path: Path, picture: PIL.Image.Image) -> None:
    loaded = load(tiny_folder)
    before = Families(loaded).text([REQUEST])[0].image

    path = personalise(loaded, [picture], CONSENT, tmp_path / "lora", steps=5, rate=0.05)

    assert json.loads((tmp_path / "lora" / "consent.json").read_text())["basis"] == "synthetic-face"
    assert Families(loaded).text([REQUEST])[0].image.tobytes() == before.tobytes()
    taught = Families(load(tiny_folder, options=Options(loras=(Adapter(path),)))).text([REQUEST])[0].image
    assert taught.tobytes() != before.tobytes()


def test_an_identity_without_consent_is_refused() -> None:
    with pytest.raises(TrainingError, match="no subject or has no note"):
        Consent("someone", "written-consent-of-an-adult", "", date(2026, 1, 2))
    with pytest.raises(TrainingError, match="no basis"):
        Consent("someone", "public figure", "they are famous", date(2026, 1, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["kl", "tiny"])
@pytest.mark.parametrize("size", [(64, 64), (51, 37)])
def test_reconstruction_keeps_the_size(kind: reconstruct.Kind, size: tuple[int, int], tmp_path: Path) -> None:
    model = autoencoder() if kind == "kl" else AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4, upsampling_scaling_factor=2,
    )  # fmt: skip
    model.save_pretrained(tmp_path / "vae")
    trip = reconstruct.load(kind, tmp_path / "vae")
    image = PIL.Image.new("RGB", size, "teal")

    one, two = (reconstruct.reconstruct(image, trip, parent="p") for _ in range(2))

    assert one.image.size == size
    assert one.image.tobytes() == two.image.tobytes()


def test_flux2_tiny_restores_a_photograph(shared_data: Path) -> None:
    trip = reconstruct.load("flux2-tiny", shared_data / "weights")
    with PIL.Image.open(shared_data / "images/real/bsds/bsds_0000.jpg") as photo:
        crop = photo.convert("RGB").crop((0, 0, 251, 123))

    made = reconstruct.reconstruct(crop, trip)

    error = np.square(np.asarray(crop, float) - np.asarray(made.image, float)).mean()
    assert made.image.size == crop.size
    assert 10 * np.log10(255**2 / error) > 26


def test_reconstruction_says_what_is_missing_or_wrong(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights at"):
        reconstruct.load("flux2-tiny", tmp_path)
    (tmp_path / "taef2_encoder.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="is not FLUX"):
        reconstruct.load("flux2-tiny", tmp_path)
    autoencoder().save_pretrained(tmp_path / "vae")
    with pytest.raises(ModelError, match="cannot be reconstructed"):
        reconstruct.reconstruct(PIL.Image.new("RGB", (1600, 64)), reconstruct.load("kl", tmp_path / "vae"))


def faces(tmp_path: Path) -> list[PIL.Image.Image]:
    return [PIL.Image.open(path) for path in pictures(tmp_path / "faces", 2, swap.SIDE)]


@pytest.mark.parametrize("seed", range(8))
def test_swaps_change_the_face_and_record_how(seed: int, tmp_path: Path) -> None:
    first, second = faces(tmp_path)

    made, again = (swap.swapped(first, second, seed, parent="p") for _ in range(2))

    assert made.mask is not None
    assert made.image.tobytes() == again.image.tobytes()
    assert made.parameters == again.parameters
    mask = np.asarray(made.mask)
    assert 0.1 < (mask > 100).mean() < 0.8
    assert mask[0].max() == mask[:, 0].max() == 0
    changed = np.abs(np.asarray(made.image, int) - np.asarray(second, int)).sum(axis=2)
    assert changed[mask > 100].mean() > 3 * changed[mask == 0].mean()


@pytest.mark.parametrize("seed", range(8))
def test_self_blending_stays_near_the_face(seed: int, tmp_path: Path) -> None:
    face = faces(tmp_path)[0]

    made = swap.self_blended(face, seed)

    assert made.label == "self_blended"
    assert made.image.tobytes() != face.tobytes()
    assert np.abs(np.asarray(made.image, int) - np.asarray(face, int)).mean() < 40


def test_a_crop_of_another_size_is_refused() -> None:
    with pytest.raises(ModelError, match="160×160"):
        swap.self_blended(PIL.Image.new("RGB", (160, 160)), 1)


def test_colours_move_to_the_target() -> None:
    source, target = (np.full((swap.SIDE, swap.SIDE, 3), colour, np.uint8) for colour in ((200, 60, 60), (60, 60, 200)))
    moved = swap.match_colour(source, target, np.ones((swap.SIDE, swap.SIDE), np.float32))

    assert np.abs(moved.astype(int) - target).max() < 12
