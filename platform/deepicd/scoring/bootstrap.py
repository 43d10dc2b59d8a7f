"""Percentile intervals by patient, and the paired comparison of two models on the same notes.

A replicate samples patients with replacement, as many as there are; all notes of a patient come
together. Both models of a pair are scored on the same samples.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from deepicd.errors import ConfigError, DataError
from deepicd.records import Prediction
from deepicd.scoring.levels import Encoded, Floats, Ints, encode


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


def percentiles(replicates: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Low and high end of the central `confidence` share over axis 0.

    Raises:
        ConfigError: `confidence` outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be between 0 and 1, for example 0.95; got {confidence}")
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=0)
    return low, high


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
        `difference`, `low`, `high` (percentile interval by patient) and `p`, two-sided: twice the
        smaller share of replicates on one side of 0, ties on both, one added for the observed
        sample; at most 1.

    Raises:
        DataError: the two do not hold the same notes with the same gold labels and patients, or a
        note twice. ConfigError: `num_bootstrap` below 1, or `confidence` outside (0, 1).
    """
    rows = match_notes(candidate, champion)
    encoded = [encode(side) for side in zip(*rows, strict=True)]
    sums = np.stack([patient_sums(predictions) for predictions in encoded])
    observed = _difference(sums.sum(axis=2))
    patients = np.arange(encoded[0].num_patients)
    replicates = np.array(
        [
            _difference(sums @ weights)
            for weights in resample_patients(patients, len(patients), num_bootstrap, seed=seed)
        ]
    )
    low, high = percentiles(replicates, confidence)
    # One is added for the observed sample, so that p is never 0.
    side = min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
    p = min(1.0, 2 * (side + 1) / (num_bootstrap + 1))
    return {"difference": observed, "low": float(low), "high": float(high), "p": p}


def match_notes(
    candidate: Sequence[Prediction], champion: Sequence[Prediction]
) -> list[tuple[Prediction, Prediction]]:
    """Rows of two models side by side, in the candidate's order.

    Raises:
        DataError: see `paired_bootstrap`.
    """
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


def patient_sums(encoded: Encoded) -> Floats:
    """Shape (2, patients): shared nodes, and predicted plus gold nodes."""
    depth = len(encoded.levels)
    shared = sum(
        (level.gold == level.predicted).astype(np.float64) for level in encoded.levels.values()
    )
    # Every note has gold nodes; one whose prediction is a code has as many predicted nodes.
    nodes = depth * (1.0 + encoded.is_valid)
    size = encoded.num_patients
    return np.stack([np.bincount(encoded.patient, values, size) for values in (shared, nodes)])


def _difference(sums: Floats) -> float:
    """From (2 models, 2 sums) to the difference of hierarchical F1."""
    f1 = 2 * sums[:, 0] / sums[:, 1]
    return float(f1[0] - f1[1])
