"""One score of several models over the same draws of patients."""

import numpy as np
import pytest
from prediction_rows import build_random_rows

from deepicd import scoring
from deepicd.errors import DataError


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


def test_a_column_does_not_depend_on_the_models_beside_it():
    models = [build_random_rows(40, seed) for seed in (1, 2, 3)]
    together = scoring.replicate(models, num_bootstrap=50)
    assert (scoring.replicate(models[1:2], num_bootstrap=50)[:, 0] == together[:, 1]).all()
    assert (scoring.replicate(models[::-1], num_bootstrap=50) == together[:, ::-1]).all()


@pytest.mark.parametrize("level", scoring.LEVELS)
def test_replicates_of_macro_f1_scatter_around_the_score(level):
    rows = build_random_rows(200, 1)
    replicates = scoring.replicate([rows], f"macro_f1_{level}", num_bootstrap=200)[:, 0]
    score = scoring.score_predictions(rows)[f"macro_f1_{level}"]
    assert ((replicates >= 0) & (replicates <= 1)).all()
    assert replicates.mean() == pytest.approx(score, abs=0.05)
