"""The formulas of every score, for n predictions with weights: 1 each, or how often a bootstrap
replicate sampled them.

- accuracy of a level: share of notes whose class at that level is right;
- micro-F1 of a level: 2 TP / (predicted + gold), NIL counted in gold only; equal to accuracy
  without NIL;
- macro-F1 of a level: mean over a label list of 2 TP / (predicted + gold) per class, 0 where a
  class was never right. The list is the labels in the gold of the scored split unless given
  (scikit-learn's `f1_score(labels=...)`);
- hierarchical precision, recall, F1 (Kiritchenko et al., 2006): gold and prediction are extended
  with their ancestors, the nodes tagged by level (chapter, category, full code), root left out;
  intersections over predicted nodes, over gold nodes, and their harmonic mean. A NIL prediction
  extends to nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepicd.errors import DataError
from deepicd.records import Prediction
from deepicd.scoring import bootstrap
from deepicd.scoring.levels import LEVELS, NIL, Encoded, Floats, Level, encode


def score_predictions(
    predictions: Sequence[Prediction],
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    num_bootstrap: int = 0,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Every score of predictions, with intervals if wanted.

    Args:
        predictions: n rows; several notes of one patient are resampled together.
        labels: level (`chapter`, `category`, `full`) → label list of its macro-F1; a level left
            out, or None, takes the labels in the gold. A label that never occurs counts with F1 0.
        num_bootstrap: replicates by patient for `*_low` and `*_high`; 0 gives none.
        seed: of the replicates.
        confidence: share in (0, 1) that an interval covers (percentile bootstrap).

    Returns:
        `accuracy_L`, `micro_f1_L`, `macro_f1_L` for each level L,
        `hierarchical_{precision,recall,f1}`, `share_unparsable` (all in [0, 1]), `num_notes`,
        `num_patients`; with replicates each score's `_low` and `_high`, and `has_few_patients`
        where they are widened because of that (`bootstrap.interval_of`).

    Raises:
        DataError: no predictions, a gold label that is no billable code, an unknown level, or an
        empty label list. ConfigError: `num_bootstrap` or `confidence` out of range.
    """
    encoded = encode(predictions)
    chosen = {name: choose_labels(encoded, name, labels or {}) for name in LEVELS}
    _check_levels(labels or {})
    scores = _weigh_scores(encoded, chosen, np.ones(encoded.num_notes))
    result = dict(scores)
    if num_bootstrap:
        replicates = bootstrap.resample_patients(
            encoded.patient, encoded.num_patients, num_bootstrap, seed=seed
        )
        rows = [list(_weigh_scores(encoded, chosen, weights).values()) for weights in replicates]
        low, high = bootstrap.interval_of(
            np.array(rows), num_patients=encoded.num_patients, confidence=confidence
        )
        for i, name in enumerate(scores):
            result[f"{name}_low"], result[f"{name}_high"] = float(low[i]), float(high[i])
        if bootstrap.has_few_patients(encoded.num_patients):
            result["has_few_patients"] = True
    return result | {"num_notes": encoded.num_notes, "num_patients": encoded.num_patients}


def hierarchical_f1(predictions: Sequence[Prediction]) -> float:
    """Hierarchical F1 alone, in [0, 1].

    Raises:
        DataError: as in `score_predictions`.
    """
    encoded = encode(predictions)
    return _weigh_hierarchy(encoded, np.ones(encoded.num_notes))["hierarchical_f1"]


@dataclass(frozen=True)
class Labels:
    """The label list of one level's macro-F1."""

    is_listed: NDArray[np.bool_]
    """Shape (classes,): whether a class that occurs is on the list."""
    num_absent: int
    """Labels on the list that are in no gold label of the split: they stay in the mean of every
    replicate."""


def choose_labels(encoded: Encoded, level: str, labels: Mapping[str, Sequence[str]]) -> Labels:
    """Label list of one level: the given one, or the labels in the gold."""
    classes, gold = encoded.levels[level].classes, set(encoded.levels[level].gold.tolist())
    if level not in labels:
        return Labels(np.array([i in gold for i in range(len(classes))]), 0)
    listed = set(labels[level])
    if not listed:
        raise DataError(
            f"the label list of level {level!r} is empty; leave it out to take the gold's"
        )
    seen = {classes[i] for i in gold}
    return Labels(np.array([name in listed for name in classes]), len(listed - seen))


def _weigh_scores(
    encoded: Encoded, labels: Mapping[str, Labels], weights: Floats
) -> dict[str, float]:
    """Every score of weighted predictions; weights (n,) ≥ 0, not all 0."""
    total = float(weights.sum())
    valid = float(weights[encoded.is_valid].sum())
    scores: dict[str, float] = {}
    for name, level in encoded.levels.items():
        right = float(weights[level.gold == level.predicted].sum())
        scores[f"accuracy_{name}"] = right / total
        scores[f"micro_f1_{name}"] = 2 * right / (valid + total)
        scores[f"macro_f1_{name}"] = macro_f1(level, labels[name], weights)
    scores |= _weigh_hierarchy(encoded, weights)
    scores["share_unparsable"] = 1.0 - valid / total
    return scores


def class_f1(level: Level, weights: Floats) -> tuple[Floats, Floats]:
    """F1 and gold weight (support) of every class of a level, both of shape (classes,)."""
    size = len(level.classes)
    right = level.gold == level.predicted
    valid = level.predicted != NIL
    hits = np.bincount(level.gold[right], weights[right], size)
    support = np.bincount(level.gold, weights, size).astype(np.float64)
    predicted = np.bincount(level.predicted[valid], weights[valid], size)
    # A class without support and without predictions has no denominator: its F1 is 0, not NaN.
    return 2 * hits / np.maximum(support + predicted, 1e-12), support


def macro_f1(level: Level, labels: Labels, weights: Floats) -> float:
    """Mean F1 over the label list, without the gold labels that a replicate did not sample."""
    f1, support = class_f1(level, weights)
    sampled = labels.is_listed & (support > 0)
    count = int(sampled.sum()) + labels.num_absent
    return float(f1[sampled].sum()) / count if count else 0.0


def _weigh_hierarchy(encoded: Encoded, weights: Floats) -> dict[str, float]:
    """Hierarchical precision, recall and F1 of weighted predictions."""
    # Nodes are tagged by level, so two paths share as many nodes as there are levels that agree.
    depth = len(encoded.levels)
    shared = sum(
        float(weights[level.gold == level.predicted].sum()) for level in encoded.levels.values()
    )
    predicted = depth * float(weights[encoded.is_valid].sum())
    gold = depth * float(weights.sum())
    return {
        "hierarchical_precision": shared / predicted if predicted else 0.0,
        "hierarchical_recall": shared / gold,
        "hierarchical_f1": 2 * shared / (predicted + gold),
    }


def _check_levels(labels: Mapping[str, Sequence[str]]) -> None:
    for name in labels:
        if name not in LEVELS:
            raise DataError(f"unknown level {name!r} in labels; known: {', '.join(LEVELS)}")
