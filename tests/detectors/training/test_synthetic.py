"""Choosing, fitting, holding out, exporting and reporting, on made-up features."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from detectors.card import Card
from detectors.errors import ModelError
from detectors.runtime import Runtime
from detectors.synthetic import WEIGHTS
from detectors.training.corpus import OTHERS, Corpus
from detectors.training.data import DataError, Example, View
from detectors.training.evaluate import committee_learner, figures, measure_shipped, plain_clip_learner
from detectors.training.export import check_export, graph
from detectors.training.holdout import hold_out
from detectors.training.report import html
from detectors.training.shipping import train
from detectors.training.synthetic import Choice, Config, choose, fit_committee
from tests.detectors.training.corpora import INFORMED, VIEWS, make_corpus

SMALL = Config(blocks=(5, 9, 12), strengths=(0.1,), fewest=1, committee=2, folds=3)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(330)


@pytest.fixture(scope="module")
def everything(corpus: Corpus) -> np.ndarray:
    return np.ones(len(corpus.examples), dtype=bool)


def test_the_block_that_shows_generation_is_chosen(corpus: Corpus, everything: np.ndarray) -> None:
    assert INFORMED in choose(corpus, everything, SMALL).blocks


def test_left_out_families_never_train_the_model_that_scores_them(corpus: Corpus) -> None:
    seen = []

    def learner(rows: np.ndarray, left_out: str):
        seen.append((left_out, {example.group for example in corpus.chosen(rows)}))
        return lambda view: np.zeros(len(corpus.examples))

    hold_out(corpus, learner, 3)

    assert len(seen) == 3 * 3 + 2
    assert all(left_out.split(" ")[1] not in groups for left_out, groups in seen)


def _with_families(names: list[tuple[str, str]]) -> Corpus:
    """A corpus of a real picture and one generated one for each family and source."""
    examples = [Example(f"{n}.png", Path(f"{n}.png"), True, *name[::-1]) for n, name in enumerate(names)]
    real = Example("real.png", Path("real.png"), False, "camera", "photo")
    return Corpus((*examples, real), {}, "", "", "")


def test_families_of_few_pictures_are_left_out_together() -> None:
    few = [("rare", "elsewhere"), ("scarce", "elsewhere")]
    corpus = _with_families([("big", "one")] * 8 + [("large", "two")] * 8 + few)

    assert corpus.families == ["big", "large", OTHERS]
    assert {e.family for e in corpus.chosen(corpus.of_family(OTHERS))} == {"rare", "scarce"}
    assert {e.group for e in corpus.chosen(corpus.without_family(OTHERS))} == {"big", "large", "camera"}


def test_a_site_of_several_families_is_left_out_with_each() -> None:
    site = [("big", "site")] * 8 + [("large", "site")] * 8
    corpus = _with_families([*site, *[("own", "lab")] * 8, *[("own", "site")] * 2])

    assert {e.group for e in corpus.chosen(corpus.without_family("big"))} == {"own", "camera"}
    assert not any(e.source == "site" for e in corpus.chosen(corpus.without_family("big")))
    kept = corpus.chosen(corpus.without_family("own"))
    assert {e.group for e in kept} == {"big", "large", "camera"}, "not all of it is of the site"
    alone = _with_families(site)
    assert {e.group for e in alone.chosen(alone.without_family("big"))} == {"large", "camera"}, (
        "nothing else would remain"
    )


def test_views_that_were_not_seen_are_not_used(corpus: Corpus) -> None:
    view = View("laundered", 0)
    half = np.arange(len(corpus.examples)) % 2 == 0
    features = corpus.views[view]
    holed = {**corpus.views, view: type(features)(features.blocks * half[:, None, None], features.embedding, half)}
    partial = Corpus(corpus.examples, holed, corpus.data, corpus.backbone, corpus.model)

    held = hold_out(partial, committee_learner(partial, SMALL, Choice((9,), 0.1), print), 3)

    assert all(half[scored[view].rows].all() for scored in held.families.values())


def test_a_separable_corpus_has_good_figures_and_a_report(corpus: Corpus) -> None:
    held = hold_out(corpus, committee_learner(corpus, SMALL, Choice((9,), 0.1), print), 3)
    plain = hold_out(corpus, plain_clip_learner(corpus), 3)
    models = {"synthetic": figures(corpus, held, SMALL), "plain_clip": figures(corpus, plain, SMALL)}

    native = models["synthetic"]["native-0"]
    assert native["mean_auc"] > 0.95
    assert native["mean_auc_interval"][0] <= native["mean_auc"] <= native["mean_auc_interval"][1]
    assert set(native["families"]) == {"maker0", "maker1", "maker2"}
    assert abs(models["plain_clip"]["native-0"]["mean_auc"] - 0.5) < 0.15, "its features are noise"
    json.dumps(models)
    page = html({"images": 1, "generated": 1, "backbone": "<b>", "data": "0" * 64, "models": models}, {})
    assert page.count("<svg") == 4
    assert "features of <b>" not in page


def test_a_view_of_few_pictures_leaves_out_what_it_does_not_show(corpus: Corpus) -> None:
    native, laundered = VIEWS
    some = ~corpus.generated | corpus.of_family("maker1")
    some &= np.array([example.source != "camera0" for example in corpus.examples])
    holed = {
        view: dataclasses.replace(f, present=some & f.present) if view == laundered else f
        for view, f in corpus.views.items()
    }
    partial = dataclasses.replace(corpus, views=holed)
    held = hold_out(partial, committee_learner(partial, SMALL, Choice((9,), 0.1), print), 3)

    few = figures(partial, held, SMALL)[str(laundered)]
    assert list(few["families"]) == ["maker1"]
    assert list(few["sources"]) == ["camera1"]
    assert len(figures(partial, held, SMALL)[str(native)]["families"]) == 3


def test_the_graph_says_what_numpy_says(corpus: Corpus, everything: np.ndarray) -> None:
    committee = fit_committee(corpus, everything, Choice((5, 9), 1.0))
    blocks = corpus.views[VIEWS[0]].blocks
    served = graph(committee, 1.5, -0.25)

    assert check_export(served, committee, 1.5, -0.25, blocks) < 1e-4
    (votes,) = ort.InferenceSession(served).run(["votes"], {"blocks": blocks[:3]})
    assert np.allclose(votes, committee.votes(blocks[:3]), atol=1e-4)
    with pytest.raises(ModelError, match="differs"):
        check_export(served, committee, 1.5, -0.24, blocks)


def test_training_twice_gives_the_same_model(corpus: Corpus, tmp_path: Path) -> None:
    first, second = (train(corpus, SMALL, tmp_path / name, print) for name in ("a", "b"))

    assert first == second
    assert Card.read(tmp_path / "a", "synthetic").identity == first.identity
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["synthetic.calibration.json", "synthetic.card.json", "synthetic.onnx"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)


def test_the_shipped_model_is_measured_on_other_pictures(corpus: Corpus, runtime: Runtime) -> None:
    evaluation = measure_shipped(corpus, SMALL, runtime)

    ((name, model),) = evaluation["models"].items()
    assert name == Card.read(WEIGHTS, "synthetic").identity
    assert 0 <= model["native-0"]["mean_auc"] <= 1
    assert html(evaluation, {}).count("<svg") == 4


def test_the_shipped_model_is_not_measured_on_what_it_learned_from(corpus: Corpus, runtime: Runtime) -> None:
    seen = dataclasses.replace(corpus, data=Card.read(WEIGHTS, "synthetic").training["data"])

    with pytest.raises(DataError, match="was trained on"):
        measure_shipped(seen, SMALL, runtime)


def test_too_few_pictures_to_choose_by_are_refused() -> None:
    few = make_corpus(18)

    with pytest.raises(DataError, match="to choose by"):
        choose(few, np.ones(18, dtype=bool), SMALL)
