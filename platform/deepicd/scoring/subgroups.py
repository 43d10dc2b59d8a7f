"""Hierarchical F1 by subgroup of patients, and the gap to everybody else, both with intervals.

In: predictions that know their patients' groups. Out: one row for each attribute (`sex`,
`age_band`, `race`, `insurance`) and group with enough notes. Decided here: patients of an attribute
are resampled together, so that a group and the others of one replicate belong to one sample, and a
patient with notes in two age bands counts in both. A group with fewer than `_MIN_NOTES` notes is
left out, because its numbers say little and may identify people; it still belongs to the others. A
gap is a reason to look, not a verdict: the groups have other diseases too.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from deepicd.records import Prediction
from deepicd.scoring.bootstrap import (
    has_few_patients,
    interval_of,
    patient_sums,
    resample_patients,
)
from deepicd.scoring.levels import Encoded, Floats, encode

_MIN_NOTES = 30


def compare_groups(
    predictions: Sequence[Prediction],
    *,
    min_notes: int = _MIN_NOTES,
    num_bootstrap: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """Rows of `attribute`, `group`, `num_notes`, `num_patients`, `hierarchical_f1` and `gap` (minus
    that of all other notes whose group of that attribute is known; None where there are none), by
    attribute and group.

    With replicates also `low`, `high`, `gap_low` and `gap_high`: intervals by patient, None for a
    gap to nobody; and `has_few_patients`, `gap_has_few_patients` where that interval is widened
    because the group, or for the gap the others, have few (`bootstrap.interval_of`).

    Raises:
        DataError: as in `score_predictions`.
        ConfigError: `num_bootstrap` or `confidence` out of range.
    """
    rows: list[dict[str, Any]] = []
    for attribute in sorted({name for row in predictions for name in row.groups}):
        known = [row for row in predictions if attribute in row.groups]
        counts = Counter(row.groups[attribute] for row in known)
        large = sorted(group for group, count in counts.items() if count >= min_notes)
        if not large:
            continue
        encoded = encode(known)
        names = np.array([row.groups[attribute] for row in known])
        observed, drawn = _replicate(encoded, names, large, num_bootstrap=num_bootstrap, seed=seed)
        for number, group in enumerate(large):
            row = {"attribute": attribute, "group": group, "num_notes": counts[group]}
            sizes = [len(np.unique(encoded.patient[at])) for at in (names == group, names != group)]
            scores = _describe(
                observed[:, number], drawn[..., number], sizes=sizes, confidence=confidence
            )
            rows.append(row | {"num_patients": sizes[0]} | scores)
    return rows


def _replicate(
    encoded: Encoded, names: Any, groups: Sequence[str], *, num_bootstrap: int, seed: int
) -> tuple[Floats, Floats]:
    """Score of each group and of its others: observed (2, groups), in replicates (B, 2, groups)."""
    members = [patient_sums(encoded, names == group) for group in groups]
    others = [patient_sums(encoded, names != group) for group in groups]
    sums = np.stack([np.stack(members), np.stack(others)])  # (2, groups, 2, patients)
    size = encoded.num_patients
    if not num_bootstrap:
        return _hierarchical_f1(sums.sum(axis=-1)), np.empty((0, 2, len(groups)))
    samples = resample_patients(np.arange(size), size, num_bootstrap, seed=seed)
    drawn = np.stack([_hierarchical_f1(sums @ weights) for weights in samples])
    return _hierarchical_f1(sums.sum(axis=-1)), drawn


def _hierarchical_f1(sums: Floats) -> Floats:
    """From (…, 2) shared and all nodes; NaN where a replicate sampled no patient of the group."""
    with np.errstate(invalid="ignore"):
        scores: Floats = 2 * sums[..., 0] / sums[..., 1]
    return scores


def _describe(
    observed: Floats, drawn: Floats, *, sizes: Sequence[int], confidence: float
) -> dict[str, float | None]:
    """One group's score and gap, from (2,) and (B, 2), and patients: the group, and the others."""
    has_others = bool(np.isfinite(observed[1]))
    row: dict[str, float | None] = {
        "hierarchical_f1": float(observed[0]),
        "gap": float(observed[0] - observed[1]) if has_others else None,
    }
    if not len(drawn):
        return row
    fewest = min(sizes) if has_others else sizes[0]
    for name, values, num_patients, span in (
        ("", drawn[:, 0], sizes[0], 1.0),
        ("gap_", drawn[:, 0] - drawn[:, 1], fewest, 2.0),
    ):
        # Of the replicates that have a value; there may be none.
        known = values[np.isfinite(values)]
        low, high = (
            interval_of(known, num_patients=num_patients, confidence=confidence, span=span)
            if len(known)
            else (None, None)
        )
        row[f"{name}low"] = None if low is None else float(low)
        row[f"{name}high"] = None if high is None else float(high)
        if low is not None and has_few_patients(num_patients):
            row[f"{name}has_few_patients"] = True
    return row
