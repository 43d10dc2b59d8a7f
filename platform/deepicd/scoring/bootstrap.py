"""Percentile intervals by patient, and the paired comparison of two models on the same notes.

A replicate samples patients with replacement, as many as there are; all notes of a patient come
together. Both models of a pair are scored on the same samples.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepicd.errors import ConfigError, DataError
from deepicd.records import Prediction
from deepicd.scoring.levels import Encoded, Floats, Ints, encode

MIN_PATIENTS = 20
"""With fewer a percentile interval is too narrow to be called one; see `interval_of`."""

_KEPT_WEIGHTS = 2_000_000
"""Weights that are drawn at once, and kept for the next comparison of that size (16 MB)."""


def resample_patients(
    patient: Ints, num_patients: int, num_bootstrap: int, *, seed: int
) -> Iterator[Floats]:
    """Weights (n,) of each replicate: how often the patient of a row was sampled.

    Raises:
        ConfigError: `num_bootstrap` below 1.
    """
    if num_bootstrap < 1:
        raise ConfigError(
            f"num_bootstrap must be at least 1, or 0 for no interval; got {num_bootstrap}"
        )
    generator = np.random.default_rng(seed)
    for _ in range(num_bootstrap):
        sample = generator.integers(num_patients, size=num_patients)
        counts = np.bincount(sample, minlength=num_patients).astype(np.float64)
        yield counts[patient]


def has_few_patients(num_patients: int) -> bool:
    """Whether so few patients are behind an interval that it is widened, and has to say so."""
    return num_patients < MIN_PATIENTS


def mark_few(values: Mapping[str, Any], prefix: str = "") -> str:
    """What stands behind an interval in a text, by its field `has_few_patients`; empty where
    patients are enough.
    """
    return " (few patients)" if values.get(f"{prefix}has_few_patients") else ""


def interval_of(
    replicates: Floats, *, num_patients: int, confidence: float, span: float = 1.0
) -> tuple[Floats, Floats]:
    """Low and high end of the central `confidence` share over axis 0, of scores that come from so
    many patients.

    With few patients a bootstrap is too narrow: one gives [x, x]. Each end then moves out by
    Hoeffding's bound for the mean of so many patients, whose scores lie in a range of width `span`
    that ends at 1 (Hoeffding 1963); within that range.

    Args:
        replicates: a score, or several, in each bootstrap replicate, shape (num_bootstrap, …).
        num_patients: those that were resampled; of a difference between two groups the fewer.
        confidence: in (0, 1).
        span: 1 for a score in [0, 1], 2 for a difference in [-1, 1].

    Raises:
        ConfigError: `confidence` outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be between 0 and 1, for example 0.95; got {confidence}")
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    if not has_few_patients(num_patients):
        return low, high
    margin = span * sqrt(log(2 / (1 - confidence)) / (2 * num_patients))
    return np.maximum(low - margin, 1 - span), np.minimum(high + margin, 1.0)


@dataclass(frozen=True)
class PairedDifference:
    """Difference of hierarchical F1 of two models on the same notes, and how it scatters."""

    observed: float
    """Candidate minus champion, on the notes as they are."""
    replicates: Floats
    """The same in each bootstrap replicate, shape (num_bootstrap,)."""
    num_patients: int
    """Those that were resampled."""

    def interval(self, confidence: float) -> tuple[float, float]:
        """Percentile interval by patient (`interval_of`).

        Raises:
            ConfigError: `confidence` outside (0, 1).
        """
        low, high = interval_of(
            self.replicates, num_patients=self.num_patients, confidence=confidence, span=2.0
        )
        return float(low), float(high)

    @property
    def has_few_patients(self) -> bool:
        """Whether its interval is widened because of that."""
        return has_few_patients(self.num_patients)

    @property
    def p(self) -> float:
        """Two-sided: twice the smaller share of replicates on one side of 0, ties on both, one
        added for the observed sample; at most 1.
        """
        side = min(int((self.replicates <= 0).sum()), int((self.replicates >= 0).sum()))
        return min(1.0, 2 * (side + 1) / (len(self.replicates) + 1))


def compare_paired(
    candidate: Sequence[Prediction],
    champion: Sequence[Prediction],
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """Resample the patients of two models' predictions for the same notes.

    Raises:
        DataError: the two do not hold the same notes with the same gold labels and patients, or a
        note twice. ConfigError: `num_bootstrap` below 1.
    """
    pairs = match_notes(candidate, champion)
    first, second = encode([ours for ours, _ in pairs]), encode([theirs for _, theirs in pairs])
    sums = np.concatenate([patient_sums(first), patient_sums(second)])  # (4, patients)
    drawn = np.concatenate(
        [weights @ sums.T for weights in _draw_blocks(first.num_patients, num_bootstrap, seed=seed)]
    )
    return PairedDifference(
        float(_difference(sums.sum(axis=1))),
        np.asarray(_difference(drawn.T), dtype=np.float64),
        first.num_patients,
    )


def paired_bootstrap(
    candidate: Sequence[Prediction],
    champion: Sequence[Prediction],
    *,
    num_bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Difference of hierarchical F1, candidate minus champion, on the same notes.

    Returns:
        `difference`, `low`, `high` (`PairedDifference.interval`), `p` (two-sided), and
        `has_few_patients` where the interval is widened because of that.

    Raises:
        DataError, ConfigError: as `compare_paired`; ConfigError also for a `confidence` outside
        (0, 1).
    """
    compared = compare_paired(candidate, champion, num_bootstrap=num_bootstrap, seed=seed)
    low, high = compared.interval(confidence)
    few = {"has_few_patients": True} if compared.has_few_patients else {}
    return {"difference": compared.observed, "low": low, "high": high, "p": compared.p, **few}


def _draw_blocks(num_patients: int, num_bootstrap: int, *, seed: int) -> Iterator[Floats]:
    """The draws of `resample_patients` in blocks of shape (replicates, patients)."""
    if num_bootstrap < 1:
        raise ConfigError(
            f"num_bootstrap must be at least 1, or 0 for no interval; got {num_bootstrap}"
        )
    if num_bootstrap * num_patients <= _KEPT_WEIGHTS:
        yield _draw_kept(num_patients, num_bootstrap, seed)
        return
    generator = np.random.default_rng(seed)
    rows = max(1, _KEPT_WEIGHTS // num_patients)
    for start in range(0, num_bootstrap, rows):
        yield _draw_block(generator, num_patients, min(rows, num_bootstrap - start))


# The chapters and groups that a gate compares often have equally many patients, and simulations
# draw thousands of pairs of one size: the weights follow from the three numbers alone.
@lru_cache(maxsize=8)
def _draw_kept(num_patients: int, num_bootstrap: int, seed: int) -> Floats:
    return _draw_block(np.random.default_rng(seed), num_patients, num_bootstrap)


def _draw_block(generator: np.random.Generator, num_patients: int, num_rows: int) -> Floats:
    drawn = generator.integers(num_patients, size=(num_rows, num_patients))
    # One count for all rows: each row counts in a range of its own.
    places = drawn + num_patients * np.arange(num_rows)[:, np.newaxis]
    counts = np.bincount(places.ravel(), minlength=num_rows * num_patients)
    return counts.reshape(num_rows, num_patients).astype(np.float64)


def match_notes(
    candidate: Sequence[Prediction], champion: Sequence[Prediction]
) -> list[tuple[Prediction, Prediction]]:
    """Rows of two models side by side, in the candidate's order.

    Raises:
        DataError: see `paired_bootstrap`.
    """
    # A repeated id is lost in a dict, so its length shows it.
    others = {row.note_id: row for row in champion}
    if len(others) != len(champion) or len({row.note_id for row in candidate}) != len(candidate):
        raise DataError("a comparison needs each note once on both sides; a note id occurs twice")
    pairs = []
    for row in candidate:
        other = others.get(row.note_id)
        if other is None or (other.gold, other.patient_id) != (row.gold, row.patient_id):
            raise DataError(
                f"note {row.note_id} is missing on the other side, or has another gold label or"
                " patient there"
            )
        pairs.append((row, other))
    if len(pairs) != len(others):
        raise DataError(
            f"a comparison needs the same notes; got {len(candidate)} and {len(champion)}"
        )
    return pairs


def patient_sums(encoded: Encoded, is_counted: NDArray[np.bool_] | None = None) -> Floats:
    """Shape (2, patients): shared nodes, and predicted plus gold nodes; of the notes that
    `is_counted`, shape (n,), says, or of all.
    """
    depth = len(encoded.levels)
    shared = sum(
        (level.gold == level.predicted).astype(np.float64) for level in encoded.levels.values()
    )
    # Every note has gold nodes; one whose prediction is a code has as many predicted nodes.
    nodes = depth * (1.0 + encoded.is_valid)
    weights = 1.0 if is_counted is None else is_counted.astype(np.float64)
    size = encoded.num_patients
    return np.stack(
        [np.bincount(encoded.patient, values * weights, size) for values in (shared, nodes)]
    )


def _difference(sums: Floats) -> Floats:
    """From (4, …), both models' `patient_sums` one after the other, to hierarchical F1's
    difference.
    """
    difference: Floats = 2 * sums[0] / sums[1] - 2 * sums[2] / sums[3]
    return difference
