"""Heads: labels of a host's own, trained from a few dozen examples and served like every other detector."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import ModelError
from detectors.heads import HeadDetector, check_name, heads_in, unit
from detectors.runtime import Runtime
from detectors.training.data import DataError
from detectors.training.head import FEWEST, Row, embedded, read_rows, train
from tests.factories import make_image, picture

Vectors = dict[str, np.ndarray]


def made(positives: int, negatives: int, apart: float = 6.0, seed: int = 0) -> tuple[list[Row], Vectors]:
    """Examples around two directions, as different as `apart` says."""
    rng = np.random.default_rng(seed)
    base, other = rng.normal(size=(2, 512))
    rows, vectors = [], {}
    for number in range(positives + negatives):
        name, positive = f"{number}.png", number < positives
        vectors[name] = rng.normal(size=512) * 3 + base + (other * apart / 6 if positive else 0)
        rows.append(Row(name, positive, name))
    return rows, vectors


@pytest.fixture
def folder(tmp_path: Path, runtime: Runtime) -> Path:
    rows, vectors = made(25, 40)
    train(
        "boats",
        embedded(rows, vectors.__getitem__),
        tmp_path,
        backbone=runtime.identity("clip_vit_b16"),
        about="A boat.",
    )
    return tmp_path


def test_a_head_is_trained_from_a_few_dozen_examples_and_served(folder: Path, runtime: Runtime) -> None:
    (kind,) = heads_in(folder)
    head = kind(runtime)
    _, vectors = made(60, 60)
    image = make_image(picture())
    image.features["embedding"] = vectors["3.png"][None].astype(np.float16)

    (finding,) = head.detect([image])[0]

    assert (finding.detector, finding.label, finding.model) == ("head_boats", "head_boats", head.model)
    assert (finding.score or 0) > 0.5
    assert 0 < (finding.fpr or 0) < 0.5
    assert kind.labels[0].help == "A boat."
    assert isinstance(head, HeadDetector)
    scores = head.scores(np.stack(list(vectors.values())).astype(np.float16))
    assert scores[:60].mean() > 0.8
    assert scores[60:].mean() < 0.3


def test_a_picture_that_was_not_embedded_is_skipped(folder: Path, runtime: Runtime) -> None:
    head = heads_in(folder)[0](runtime)

    assert [f.status for f in head.detect([make_image(picture())])[0]] == ["skipped"]


def test_the_same_examples_make_the_same_head(tmp_path: Path) -> None:
    for name in ("one", "two"):
        rows, vectors = made(25, 40)
        train("boats", embedded(rows, vectors.__getitem__), tmp_path / name, backbone="clip@1")
    files = [{p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two")]

    assert files[0] == files[1]
    assert sorted(files[0]) == ["boats.calibration.json", "boats.card.json", "boats.onnx"]


def test_another_model_does_not_move_a_policys_threshold(tmp_path: Path, runtime: Runtime) -> None:
    """Two models whose scores mean different things: at one `fpr` the same share of unseen negatives is flagged, within 20 %."""
    backbone, shares, middles = runtime.identity("clip_vit_b16"), [], []
    _, unseen = made(0, 3000, seed=0)
    for prevalence, count in ((0.5, 700), (0.02, 900)):
        rows, vectors = made(60, count, apart=1.2, seed=0)
        folder = tmp_path / str(count)
        train("boats", embedded(rows, vectors.__getitem__), folder, backbone=backbone, prevalence=prevalence)
        head = heads_in(folder)[0](runtime)
        assert isinstance(head, HeadDetector)
        scores = head.scores(np.stack(list(unseen.values())[1000:]))
        middles.append(float(np.median(scores)))
        shares.append(float(np.mean([head.calibration.fpr(float(score)) <= 0.2 for score in scores])))

    assert middles[0] > 3 * middles[1]
    assert shares[1] == pytest.approx(shares[0], rel=0.2)
    assert shares == pytest.approx([0.2, 0.2], rel=0.25)


def test_a_head_that_knows_nothing_says_so(tmp_path: Path) -> None:
    rows, vectors = made(30, 30, apart=0.0)
    card = train("noise", embedded(rows, vectors.__getitem__), tmp_path, backbone="clip@1")

    assert card.figures["auc"] < 0.75


def test_groups_stay_on_one_side(tmp_path: Path) -> None:
    """Copies in one group teach nothing about the group itself: the figure is of groups left out."""
    rng = np.random.default_rng(3)
    centres = {f"group {number}": rng.normal(size=512) for number in range(20)}
    rows = [Row(f"{group}/{n}", number % 2 == 0, group) for number, group in enumerate(centres) for n in range(5)]
    vectors = {row.name: centres[row.group] + rng.normal(size=512) * 0.05 for row in rows}
    by_group = train("a", embedded(rows, vectors.__getitem__), tmp_path, backbone="clip@1")
    alone = [Row(row.name, row.positive, row.name) for row in rows]
    leaking = train("b", embedded(alone, vectors.__getitem__), tmp_path, backbone="clip@1")

    assert leaking.figures["auc"] > 0.99
    assert by_group.figures["auc"] < 0.9


@pytest.mark.parametrize(("positives", "negatives"), [(FEWEST - 1, 60), (60, FEWEST - 1), (21, 21), (0, 80)])
def test_too_few_examples_are_refused(positives: int, negatives: int) -> None:
    rows, vectors = made(positives, negatives)

    with pytest.raises(DataError, match=f"{positives} examples of the label and {negatives} others"):
        embedded(rows, vectors.__getitem__)


def test_copies_count_once_and_may_not_disagree() -> None:
    rows, vectors = made(25, 40)
    copies = [Row("copy", False, "copy"), *rows]
    vectors["copy"] = vectors["30.png"]
    assert len(embedded(copies, vectors.__getitem__).rows) == 65
    vectors["copy"] = vectors["3.png"]

    with pytest.raises(DataError, match="both labels"):
        embedded(copies, vectors.__getitem__)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("label\nyes\n", "no columns"),
        ("file,label\na.png,maybe\n", ":2 has the label 'maybe'"),
        ("file,label\n,yes\n", ":2"),
    ],
)
def test_an_unusable_manifest_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.csv").write_text(text)

    with pytest.raises(DataError, match=said):
        read_rows(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["", "Boats", "a-b", "1a", "a" * 41, "../a"])
def test_a_name_that_policies_cannot_write_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="name of a head"):
        check_name(name)


def test_no_folder_is_no_heads(tmp_path: Path) -> None:
    assert heads_in(tmp_path / "none") == ()


def damage_graph(folder: Path) -> None:
    (folder / "boats.onnx").write_bytes(b"other")


def damage_backbone(folder: Path) -> None:
    card = json.loads((folder / "boats.card.json").read_text())
    (folder / "boats.card.json").write_text(json.dumps(card | {"backbone": "clip@other"}))


def drop_graph(folder: Path) -> None:
    (folder / "boats.onnx").unlink()


def drop_calibration(folder: Path) -> None:
    (folder / "boats.calibration.json").unlink()


@pytest.mark.parametrize("damage", [damage_graph, damage_backbone, drop_graph, drop_calibration])
def test_a_head_that_is_not_as_its_card_says_is_not_loaded(
    folder: Path, runtime: Runtime, damage: Callable[[Path], None]
) -> None:
    damage(folder)

    with pytest.raises(ModelError):
        heads_in(folder)[0](runtime)


def test_rows_are_brought_to_unit_length() -> None:
    assert np.allclose(np.linalg.norm(unit(np.full((3, 512), 7, np.float16)), axis=1), 1)
