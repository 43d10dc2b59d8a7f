"""One score of several models over the same draws of patients."""

import random

import numpy as np
import pytest

from deepicd import scoring
from deepicd.errors import DataError
from deepicd.records import Prediction

# Siblings, one category, one chapter and others, so that every level can be right or wrong.
POOL = [
    "I2510",
    "I25110",
    "I252",
    "I10",
    "I214",
    "J189",
    "J690",
    "C4A9",
    "O9A111",
    "S0262XA",
    "R69",
]


def build_rows(golds_and_predictions, notes_per_patient=1):
    return [
        Prediction(str(i), f"p{i // notes_per_patient}", gold, prediction)
        for i, (gold, prediction) in enumerate(golds_and_predictions)
    ]


def build_random_rows(size, seed, share_right=0.4):
    gold_rng, rng = random.Random(11), random.Random(seed)
    rows = []
    for _ in range(size):
        gold = gold_rng.choice(POOL)
        rows.append((gold, gold if rng.random() < share_right else rng.choice([*POOL, None])))
    return build_rows(rows, notes_per_patient=2)


@pytest.mark.parametrize("metric", ["hierarchical_f1", "macro_f1_category"])
def test_replicates_agree_with_the_intervals_of_score_predictions(metric):
    rows = build_random_rows(60, 1)
    scores = scoring.score_predictions(rows, num_bootstrap=1000)
    expected = (scores[f"{metric}_low"], scores[f"{metric}_high"])
    assert scoring.interval(rows, metric) == pytest.approx(expected, abs=1e-12)


def test_replicates_of_several_models_are_paired():
    one, other = build_random_rows(60, 1), build_random_rows(60, 2)
    columns = scoring.replicate([one, list(reversed(other)), one], num_bootstrap=300)
    assert columns.shape == (300, 3) and (columns[:, 0] == columns[:, 2]).all()
    low, high = np.quantile(columns[:, 0] - columns[:, 1], [0.025, 0.975])
    paired = scoring.paired_bootstrap(one, other, num_bootstrap=300)
    assert (low, high) == pytest.approx((paired["low"], paired["high"]), abs=1e-12)
    with pytest.raises(DataError, match="missing on the other side"):
        scoring.replicate([one, build_random_rows(59, 2)])
