"""Confidences and whether they were right → expected calibration error.

In: n confidences in [0, 1] and n truths. Out: one number. Decided here: bins of equal numbers of
answers (Nixon et al. 2019), because self-consistency takes few values and bins of equal width would
be mostly empty; answers of equal confidence are never parted, so the order of rows does not matter.
"""

from collections.abc import Sequence

import numpy as np

from deepicd.errors import DataError

NUM_BINS = 10


def expected_calibration_error(
    confidences: Sequence[float], is_right: Sequence[bool], *, num_bins: int = NUM_BINS
) -> float:
    """Mean distance between confidence and accuracy over bins, weighted by their size, in [0, 1].

    Raises:
        DataError: nothing is given, the lengths differ, or a confidence lies outside [0, 1].
    """
    given, right = np.asarray(confidences, float), np.asarray(is_right, float)
    if given.size == 0 or given.shape != right.shape:
        raise DataError(
            f"a calibration error needs as many truths as confidences, at least one; got "
            f"{given.size} and {right.size}."
        )
    if not ((given >= 0) & (given <= 1)).all():
        raise DataError("a confidence lies in [0, 1]; give shares, not percentages.")
    _, place, counts = np.unique(given, return_inverse=True, return_counts=True)
    # A value falls into the bin in which its answers lie on average.
    middle = np.cumsum(counts) - counts / 2
    bins = (middle * num_bins / given.size).astype(int)[place]
    gaps = np.bincount(bins, given - right, minlength=num_bins)
    return float(np.abs(gaps).sum() / given.size)
