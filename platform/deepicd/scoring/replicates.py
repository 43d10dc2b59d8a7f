"""One score of several models on the same bootstrap samples: what intervals, paired differences and
rankings are computed from.

In: predictions of m models for the same notes. Out: an array (replicates, m) of one score. A row is
one bootstrap replicate by patient (`bootstrap`), the same for all models, so that columns can be
subtracted, averaged and compared.
"""

from collections.abc import Sequence

import numpy as np

from deepicd.records import Prediction
from deepicd.scoring.bootstrap import (
    interval_of,
    match_notes,
    patient_sums,
    resample_patients,
)
from deepicd.scoring.levels import Encoded, Floats, encode
from deepicd.scoring.scores import choose_labels, macro_f1

_MACRO = "macro_f1_"
_NUM_REPLICATES = 1000


def replicate(
    models: Sequence[Sequence[Prediction]],
    metric: str = "hierarchical_f1",
    *,
    num_bootstrap: int = _NUM_REPLICATES,
    seed: int = 0,
) -> Floats:
    """Shape (num_bootstrap, m): the metric of every model in every replicate.

    Args:
        models: predictions of m models, at least one; rows are matched by note.
        metric: `hierarchical_f1`, or `macro_f1_L` for a level L.
        num_bootstrap: replicates.
        seed: of the samples; equal seeds sample equal patients of equal notes.

    Raises:
        DataError: the models do not hold the same notes with the same gold labels and patients.
    """
    same_order = [[row for _, row in match_notes(models[0], model)] for model in models]
    encoded = [encode(rows) for rows in same_order]
    if metric.startswith(_MACRO):
        return _replicate_macro(encoded, metric.removeprefix(_MACRO), num_bootstrap, seed=seed)
    sums = np.stack([patient_sums(model) for model in encoded])
    size = encoded[0].num_patients
    # Sums by patient, so that a replicate costs one product and not a pass over the notes.
    samples = resample_patients(np.arange(size), size, num_bootstrap, seed=seed)
    resampled = np.stack([sums @ weights for weights in samples])
    scores: Floats = 2 * resampled[:, :, 0] / resampled[:, :, 1]
    return scores


def interval(
    predictions: Sequence[Prediction], metric: str = "hierarchical_f1", *, confidence: float = 0.95
) -> tuple[float, float]:
    """Low and high end of one model's score, by patient (`bootstrap.interval_of`)."""
    column = replicate([predictions], metric)[:, 0]
    num_patients = len({row.patient_id for row in predictions})
    low, high = interval_of(column, num_patients=num_patients, confidence=confidence)
    return float(low), float(high)


def _replicate_macro(
    encoded: Sequence[Encoded], level: str, num_bootstrap: int, *, seed: int
) -> Floats:
    levels = [model.levels[level] for model in encoded]
    labels = [choose_labels(model, level, {}) for model in encoded]
    pairs = list(zip(levels, labels, strict=True))
    samples = resample_patients(
        encoded[0].patient, encoded[0].num_patients, num_bootstrap, seed=seed
    )
    return np.array(
        [[macro_f1(classes, listed, weights) for classes, listed in pairs] for weights in samples]
    )
