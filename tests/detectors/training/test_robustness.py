"""Laundering steps, copies, and the table of targets: of real files through the served graph, scored by small committees."""

import dataclasses
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from detectors.embedding import EmbeddingDetector
from detectors.nsfw import NsfwDetector
from detectors.runtime import Runtime
from detectors.synthetic import WEIGHTS, SyntheticDetector
from detectors.training import robustness, targets
from detectors.training.corpus import Corpus
from detectors.training.features import FeatureCache
from detectors.training.report import html
from detectors.training.robustness import STEPS, Trial, sample
from detectors.training.synthetic import Choice
from detectors.training.targets import added_time, nsfw_by_kind, shipped_cards
from tests.detectors.training.corpora import make_corpus
from tests.factories import picture


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Made-up features of small files that are there."""
    folder, made = tmp_path_factory.mktemp("files"), make_corpus(90)
    for number, example in enumerate(made.examples):
        PIL.Image.fromarray(picture(96, 72, seed=number)).save(folder / example.file)
    examples = tuple(dataclasses.replace(example, path=folder / example.file) for example in made.examples)
    return dataclasses.replace(made, examples=examples)


@pytest.fixture
def trial(corpus: Corpus, tmp_path: Path, runtime: Runtime) -> Trial:
    cache = FeatureCache(tmp_path / "cache", EmbeddingDetector(runtime))
    return Trial.of(corpus, cache, Choice((9,), 0.1), count=3, folds=3)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_gives_a_picture_and_always_the_same(name: str) -> None:
    source = PIL.Image.fromarray(picture(200, 120))
    first, second = (np.asarray(STEPS[name](source)) for _ in range(2))

    assert first.dtype == np.uint8
    assert first.shape[2] == 3
    assert np.array_equal(first, second)
    assert np.array_equal(np.asarray(source), picture(200, 120)), "the picture itself is left alone"
    assert (name == "as it is") == np.array_equal(first, np.asarray(source))


def test_a_sample_is_of_every_family_and_of_the_test_fold(corpus: Corpus) -> None:
    chosen = sample(corpus, 6, 3)

    assert {name: len(rows) for name, rows in chosen.families.items()} == {"maker0": 2, "maker1": 2, "maker2": 2}
    assert set(corpus.folds(3)[list(chosen.real)]) == {robustness.TEST_FOLD}
    assert not corpus.generated[list(chosen.real)].any()


def test_each_step_is_measured_and_kept(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "STEPS", {name: STEPS[name] for name in ("JPEG 50", "screenshot")})
    rows = trial.laundering()

    assert [row["step"] for row in rows] == ["JPEG 50", "screenshot"]
    assert all(0 <= row["auc"] <= 1 and 0 <= row["recall_at_0.05"] <= 1 for row in rows)
    monkeypatch.setattr(trial.cache.detector, "session", None)
    assert trial.laundering() == rows


def test_copies_are_told_from_their_originals_pair_by_pair(trial: Trial) -> None:
    found = trial.reconstruction(lambda one: one.filter(PIL.ImageFilter.GaussianBlur(2)), "blur")

    assert found["pairs"] == 3
    assert 0 <= found["auc"] <= 1
    same = trial.reconstruction(lambda one: one, "nothing")
    assert (same["auc"], same["copy_scores_higher"]) == (0.5, 0.0)


def test_time_and_kinds_are_measured(corpus: Corpus, runtime: Runtime) -> None:
    kinds = nsfw_by_kind(corpus, NsfwDetector(runtime), 2)

    assert {name: own["images"] for name, own in kinds.items()} == {"camera0": 2, "camera1": 2}
    assert added_time(corpus, EmbeddingDetector(runtime), SyntheticDetector(runtime)) > 0


def view(area: float) -> dict[str, object]:
    figures = dict.fromkeys(
        ("mean_auc", "worst_auc", "recall_at_0.01", "recall_at_0.001", "recall_at_0.05", "ece"), area
    )
    source = {"images": 4, "fpr_seen": 0.01, "fpr_unseen": 0.5}
    lists = {
        "families": {},
        "roc": {},
        "reliability": [],
        "mean_auc_interval": [0, 1],
        "recall_at_0.01_interval": [0, 1],
    }
    return {**figures, **lists, "sources": {"camera": source}, "errors": {}}


def test_the_table_says_what_was_measured_and_what_was_not(corpus: Corpus) -> None:
    bare = {"models": {"synthetic": {"native-0": view(0.9)}}, "no_reconstructions": "needs the extra"}
    rows = {row[0]: row[3] for row in targets.rows(bare)}

    assert rows["the same, laundered"] == "not measured"
    assert rows["real against its own copy, AUC"] == "needs the extra"
    assert rows["worst real source at the 1 % point, seen / never seen"] == "1.0% (camera) / 50.0% (camera)"
    copied = {"decoder": "tiny", "pairs": 8, "auc": 0.75}
    full = {**bare, "reconstructions": [copied], "shipped": shipped_cards(WEIGHTS)}
    rows = {row[0]: row[3] for row in targets.rows(full)}
    assert rows["real against its own copy by tiny, AUC"] == "0.75 (8 pairs)"
    assert 0 < float(rows["swap, other identities and other blender, AUC"]) < 1


def test_errors_are_shown_small_and_covered(corpus: Corpus) -> None:
    file = corpus.examples[0].file
    wrong = {"file": file, "source": "<camera>", "logit": 3.0}
    models = {
        "synthetic": {"native-0": {**view(0.9), "errors": {"maker0": {"real": [wrong, {**wrong, "file": "gone"}]}}}}
    }
    facts = {"images": 1, "generated": 1, "backbone": "b", "data": "0" * 64, "models": models}
    page = html(facts, {file: corpus.examples[0].path})

    assert page.count("<details>") == 2
    assert page.count("data:image/webp;base64,") == 1
    assert "<camera>" not in page
