"""Calibration: how far confidences are from what was right, and probabilities from agreement.

In: n confidences (or shares of agreeing answers) in [0, 1] and n truths. Out: one number, or a
`records.Calibration`. Decided here: bins of equal numbers of answers (Nixon et al. 2019), because
self-consistency takes few values and bins of equal width would be mostly empty; answers of equal
confidence are never parted, so the order of rows does not matter. A calibration is an isotonic
regression for each level of the tree (Zadrozny and Elkan 2002); each share counts as if one more
answer had been seen there, right as often as all are, so that no probability is 0 or 1 by chance.
A level whose calibration is worse than none on answers that it was not fitted on is not calibrated.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from deepicd.errors import DataError
from deepicd.records import Calibration, Curve, Prediction
from deepicd.scoring.levels import AGREEMENT_LEVELS

_NUM_BINS = 10
_NUM_FOLDS = 5
_MIN_CALIBRATION_NOTES = 50
"""Fewer usable answers say too little about how often they are right."""


def expected_calibration_error(
    confidences: Sequence[float], is_right: Sequence[bool], *, num_bins: int = _NUM_BINS
) -> float:
    """Mean distance between confidence and accuracy over bins, weighted by their size, in [0, 1].

    Raises:
        DataError: nothing is given, the lengths differ, or a confidence lies outside [0, 1].
    """
    values, right = np.asarray(confidences, float), np.asarray(is_right, float)
    if values.size == 0 or values.shape != right.shape:
        raise DataError(
            f"a calibration error needs as many truths as confidences, at least one; got "
            f"{values.size} and {right.size}."
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError("a confidence lies in [0, 1]; give shares, not percentages.")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    # A value falls into the bin in which its answers lie on average.
    middle = np.cumsum(counts) - counts / 2
    bins = (middle * num_bins / values.size).astype(int)[inverse]
    # Within a bin too much and too little confidence cancel; between bins they do not.
    gaps = np.bincount(bins, values - right, minlength=num_bins)
    return float(np.abs(gaps).sum() / values.size)


def fit_calibration(predictions: Sequence[Prediction]) -> Calibration:
    """How often an answer is right, by how many of its samples agree with it. A level at which the
    bare share is nearer to the truth, each answer left out of its own fit, has no curve.

    Args:
        predictions: of a split that the model was not fitted on, with `shares`; those without a
            usable code need none, they are known to be wrong.

    Raises:
        DataError: fewer than `_MIN_CALIBRATION_NOTES` predictions have shares.
    """
    sampled = [row for row in predictions if row.shares is not None and row.prediction is not None]
    if len(sampled) < _MIN_CALIBRATION_NOTES:
        raise DataError(
            f"a calibration needs {_MIN_CALIBRATION_NOTES} usable answers with samples; got "
            f"{len(sampled)} of {len(predictions)}. Give more notes, or a better model."
        )
    curves: dict[str, Curve] = {}
    errors: dict[str, float] = {}
    for level, node in AGREEMENT_LEVELS.items():
        shares, is_right = _observe(sampled, level, node)
        folds = [_fold(row.patient_id) for row in sampled]
        errors[f"{level}_raw"] = expected_calibration_error(shares, is_right)
        errors[level] = expected_calibration_error(_cross_fit(shares, is_right, folds), is_right)
        if errors[level] <= errors[f"{level}_raw"]:
            curves[level] = _fit_curve(shares, is_right)
    return Calibration(curves=curves, num_notes=len(sampled), errors=errors)


def _fit_curve(shares: Sequence[float], is_right: Sequence[bool]) -> Curve:
    """Isotonic regression of truth on share."""
    from scipy.optimize import isotonic_regression

    right = np.asarray(is_right, float)
    values, inverse, counts = np.unique(
        np.asarray(shares, float), return_inverse=True, return_counts=True
    )
    # One more answer at each share, right as often as all are: no probability is 0 or 1 by chance.
    weights = counts + 1.0
    rates = (np.bincount(inverse, right) + right.mean()) / weights
    fitted = isotonic_regression(rates, weights=weights).x
    return Curve(tuple(map(float, values)), tuple(map(float, fitted)))


def calibrate(curve: Curve, share: float) -> float:
    """Probability that an answer of that share is right; straight lines between the points."""
    return float(np.interp(share, curve.shares, curve.accuracies))


def is_calibrated(calibration: Calibration | None, level: str) -> bool:
    """Whether a share of answers at that level can be turned into a probability."""
    return calibration is not None and level in calibration.curves


def _observe(
    sampled: Sequence[Prediction], level: str, node: Callable[[str], str]
) -> tuple[list[float], list[bool]]:
    shares = [_shares(row)[level] for row in sampled]
    return shares, [node(row.prediction or "") == node(row.gold) for row in sampled]


def _shares(row: Prediction) -> Mapping[str, float]:
    assert row.shares is not None, "only predictions with samples are asked for their shares"
    return row.shares


def _fold(patient: str) -> int:
    """Fold of a patient: by hash, so that all notes of a patient are left out together."""
    return hashlib.sha256(patient.encode()).digest()[0] % _NUM_FOLDS


def _cross_fit(
    shares: Sequence[float], is_right: Sequence[bool], folds: Sequence[int]
) -> list[float]:
    """Each answer's probability by a curve that was fitted without its patient's fold."""
    curves = {}
    for fold in set(folds):
        # Where all patients are in one fold there is nothing else to learn from.
        kept = [i for i, other in enumerate(folds) if other != fold] or range(len(folds))
        curves[fold] = _fit_curve([shares[i] for i in kept], [is_right[i] for i in kept])
    return [calibrate(curves[fold], share) for fold, share in zip(folds, shares, strict=True)]
