"""Copies by autoencoders: of the same size, near to the original, and the same each time."""

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("torch", reason="autoencoders need the `train` extra")
pytest.importorskip("diffusers", reason="autoencoders need the `train` extra")

from detectors.training.copies import FLUX, copiers
from tests.conftest import SHARED_DATA
from tests.factories import picture


@pytest.mark.filterwarnings("ignore")
def test_each_autoencoder_copies_a_picture() -> None:
    folder = SHARED_DATA / "weights"
    found = copiers(folder)
    original = picture(64, 48)

    assert [name.rpartition(" ")[0] for name in found] == ["embedded", *["FLUX.2 tiny"] * (folder / FLUX).is_file()]
    for copy in found.values():
        made = np.asarray(copy(PIL.Image.fromarray(original)))
        assert made.shape == original.shape
        assert 0 < np.abs(made.astype(float) - original).mean() < 40
        assert np.array_equal(made, np.asarray(copy(PIL.Image.fromarray(original))))
