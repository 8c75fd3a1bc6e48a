"""Features of real pictures by the served graph: kept, resumed, and made anew where a file is damaged."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from detectors.embedding import EmbeddingDetector
from detectors.runtime import Runtime
from detectors.training.corpus import build
from detectors.training.data import View
from detectors.training.features import FeatureCache
from tests.factories import picture

VIEW = View("native", 0)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = ["file,label,source,family"]
    for number in range(4):
        PIL.Image.fromarray(picture(120, 90, seed=number)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'real' if number % 2 else 'generated'},site,kind")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(rows))
    return path


@pytest.fixture
def cache(tmp_path: Path, runtime: Runtime) -> FeatureCache:
    return FeatureCache(tmp_path / "cache", EmbeddingDetector(runtime))


def test_features_are_computed_once(manifest: Path, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build([manifest], cache, {VIEW: 1})
    monkeypatch.setattr(cache.detector, "session", None)

    again = build([manifest], cache, {VIEW: 1})

    assert np.array_equal(first.views[VIEW].blocks, again.views[VIEW].blocks)
    assert first.views[VIEW].blocks.any(axis=(1, 2)).all()
    assert (first.data, first.backbone) == (again.data, again.backbone)


def test_a_damaged_file_is_computed_again(manifest: Path, cache: FeatureCache) -> None:
    first = build([manifest], cache, {VIEW: 1})
    next(cache.folder.rglob("*.npz")).write_bytes(b"PK\x03\x04 broken")

    assert np.array_equal(build([manifest], cache, {VIEW: 1}).views[VIEW].blocks, first.views[VIEW].blocks)


def test_every_second_picture_may_be_enough(manifest: Path, cache: FeatureCache) -> None:
    told = []

    corpus = build([manifest], cache, {VIEW: 2}, lambda *what: told.append(what))

    assert corpus.views[VIEW].present.tolist() == [True, False, True, False]
    assert told == [("native-0", 1, 4), ("native-0", 3, 4)]
