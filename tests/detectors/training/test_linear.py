"""The regression, the discriminant and the figures, against values known otherwise."""

import numpy as np
import pytest

from detectors.training.data import DataError
from detectors.training.figures import auc, balanced, calibration_error, recall_at, threshold_at
from detectors.training.linear import discriminate, fit


def test_auc_counts_pairs_and_halves_ties() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.9])
    positive = np.array([False, False, True, True])

    assert auc(scores, positive) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


def test_the_threshold_is_passed_by_no_more_than_the_share() -> None:
    negatives = np.arange(1000.0)

    assert (negatives >= threshold_at(negatives, 0.01)).sum() == 10
    assert (np.zeros(50) >= threshold_at(np.zeros(50), 0.01)).sum() == 0


def test_recall_of_a_perfect_and_a_blind_score() -> None:
    positive = np.arange(200) < 100

    assert recall_at(np.where(positive, 1.0, 0.0), positive, 0.01) == 1.0
    assert recall_at(np.zeros(200), positive, 0.01) == 0.0


def test_a_calibrated_score_has_no_calibration_error() -> None:
    random = np.random.default_rng(0)
    probability = random.uniform(size=200_000)
    positive = random.uniform(size=200_000) < probability

    assert calibration_error(probability, positive, np.ones(200_000)) < 0.01
    assert calibration_error(probability**4, positive, np.ones(200_000)) > 0.1


def test_the_fit_is_at_the_minimum_of_the_stated_loss() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(2, 3, size=(300, 4))
    positive = rows[:, 0] + random.normal(size=300) > 2
    model = fit(rows, positive, balanced(positive), 0.05)
    scaled = (rows - model.mean) / model.deviation
    pull = balanced(positive) * (1 / (1 + np.exp(-model(rows))) - positive)

    assert np.abs(scaled.T @ pull + 0.05 * model.weight).max() < 1e-3
    weight, bias = model.folded()
    assert np.allclose(rows @ weight + bias, model(rows))


def test_one_class_and_broken_features_are_refused() -> None:
    rows, both = np.ones((4, 2)), np.array([True, False, True, False])

    with pytest.raises(DataError, match="one class"):
        fit(rows, np.ones(4, dtype=bool), np.ones(4), 0.1)
    with pytest.raises(DataError, match="NaN"):
        fit(rows * np.nan, both, np.ones(4), 0.1)


def _of_two_sources(count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that generation moves along both axes; along the first, the two sources of real rows differ too."""
    random = np.random.default_rng(3)
    groups = np.array(["a", "b", "made", "made"])[np.arange(count) % 4]
    rows = random.normal(size=(count, 2))
    rows[groups == "a", 0] -= 2
    rows[groups == "made"] += [2, 1]
    return rows, groups == "made", groups


def test_the_discriminant_is_what_algebra_says() -> None:
    rows, positive, groups = _of_two_sources()

    found = discriminate(rows, positive, balanced(positive), groups, strength=0.5, spread=(0.0, 0.0))

    scaled = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    within = [np.cov(scaled[groups == name].T, bias=True) for name in ("a", "b", "made")]
    covariance = (within[0] + within[1]) / 4 + within[2] / 2 + 0.5 * np.eye(2)
    apart = scaled[positive].mean(axis=0) - scaled[~positive].mean(axis=0)
    expected = np.linalg.solve(covariance, apart)
    assert found.weight == pytest.approx(expected / np.sqrt(expected @ apart), rel=1e-4)
    assert found.weight @ covariance @ found.weight == pytest.approx(1, rel=1e-4)
    middle = (rows[positive].mean(axis=0) + rows[~positive].mean(axis=0)) / 2
    assert found(middle[None])[0] == pytest.approx(0, abs=1e-4)


def test_the_discriminant_shuns_what_sources_differ_in() -> None:
    rows, positive, groups = _of_two_sources()
    shares = []
    for apart in (0.0, 10.0):
        weight = discriminate(rows, positive, balanced(positive), groups, strength=0.1, spread=(apart, 1.0)).folded()[0]
        shares.append(abs(weight[0]) / np.abs(weight).sum())

    assert shares[1] < shares[0] / 2


def test_the_discriminant_needs_both_classes_and_finite_rows() -> None:
    rows, positive, groups = _of_two_sources()

    with pytest.raises(DataError, match="one class"):
        discriminate(rows, np.ones(len(rows), bool), np.ones(len(rows)), groups, strength=1.0, spread=(1.0, 1.0))
    with pytest.raises(DataError, match="NaN"):
        discriminate(rows * np.inf, positive, np.ones(len(rows)), groups, strength=1.0, spread=(1.0, 1.0))
