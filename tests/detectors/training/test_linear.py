"""The regression and the figures, against values known otherwise."""

import numpy as np
import pytest

from detectors.training.data import DataError
from detectors.training.figures import auc, balanced, calibration_error, recall_at, threshold_at
from detectors.training.linear import fit


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
