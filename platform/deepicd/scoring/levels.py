"""Predictions → integer arrays at three levels: chapter, category, full code.

Decided here: a prediction that is missing, does not exist in any release, or is a header that is
billable in none is NIL (-1): never a class, always a miss. A gold label that is not a billable code
is an error of the data, not a miss.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepicd import codes
from deepicd.errors import DataError
from deepicd.records import Prediction

AGREEMENT_LEVELS: Mapping[Literal["code", "category", "chapter"], Callable[[str], str]] = {
    "code": str,
    "category": codes.category,
    "chapter": codes.chapter,
}
"""Level, deepest first → the node of a code there."""

LEVELS = ("chapter", "category", "full")
"""Levels of scoring, top first; each is one node of the hierarchical metrics."""

HEADLINE = ("hierarchical_f1", *(f"macro_f1_{level}" for level in LEVELS))
"""Scores that people compare first."""

NIL = -1
"""Index of what is not a class at a level."""

_Nodes = tuple[str, str, str]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """One level of an encoded set of n predictions."""

    classes: tuple[str, ...]
    gold: Ints
    """Shape (n,): index into `classes`."""
    predicted: Ints
    """Shape (n,): index into `classes`, NIL for no class."""


@dataclass(frozen=True)
class Encoded:
    """n predictions as arrays."""

    levels: Mapping[str, Level]
    patient: Ints
    """Shape (n,): patients numbered from 0."""
    num_patients: int

    @property
    def num_notes(self) -> int:
        """Number of predictions."""
        return len(self.patient)

    @property
    def is_valid(self) -> NDArray[np.bool_]:
        """Shape (n,): whether a prediction is a code."""
        return np.not_equal(self.levels["full"].predicted, NIL)


def encode(predictions: Sequence[Prediction]) -> Encoded:
    """Encode predictions.

    Raises:
        DataError: no predictions, or a gold label that is not a billable code.
    """
    if not predictions:
        raise DataError("there is nothing to score: 0 predictions")
    nodes: dict[str, _Nodes | None] = {}
    gold = [_nodes_of(p.gold, nodes) for p in predictions]
    for prediction, names in zip(predictions, gold, strict=True):
        if names is None:
            raise DataError(
                f"gold label of note {prediction.note_id} is not a billable ICD-10-CM code of any"
                f" release: {prediction.gold!r:.40}"
            )
    predicted = [_nodes_of(p.prediction, nodes) for p in predictions]
    levels = {
        level: _encode_level(
            [n[i] if n else None for n in gold], [n[i] if n else None for n in predicted]
        )
        for i, level in enumerate(LEVELS)
    }
    numbers: dict[str, int] = {}
    patient = np.array([numbers.setdefault(p.patient_id, len(numbers)) for p in predictions])
    return Encoded(levels=levels, patient=patient, num_patients=len(numbers))


def gold_labels(predictions: Sequence[Prediction]) -> dict[str, list[str]]:
    """Label list of each level as it is in the gold of a split, sorted: freeze it beside the
    scores."""
    return labels_of(prediction.gold for prediction in predictions)


def labels_of(labels: Iterable[str]) -> dict[str, list[str]]:
    """Label list of each level for any codes (a training vocabulary, gold and predicted together),
    sorted.

    Raises:
        DataError: one of them is not a billable code.
    """
    nodes: dict[str, _Nodes | None] = {}
    listed: tuple[set[str], ...] = tuple(set() for _ in LEVELS)
    for label in labels:
        names = _nodes_of(label, nodes)
        if names is None:
            raise DataError(f"label {label!r:.40} is not a billable ICD-10-CM code of any release")
        for level, name in zip(listed, names, strict=True):
            level.add(name)
    return {level: sorted(names) for level, names in zip(LEVELS, listed, strict=True)}


def _nodes_of(code: str | None, nodes: dict[str, _Nodes | None]) -> _Nodes | None:
    """Chapter, category and full code, or None for NIL; `nodes` keeps what was looked up."""
    if not isinstance(code, str):
        return None
    if code not in nodes:
        full = codes.normalise(code[:64])  # a prediction may be any text, a megabyte of it too
        is_usable = codes.is_billable(full)
        nodes[code] = (codes.chapter(full), codes.category(full), full) if is_usable else None
    return nodes[code]


def _encode_level(gold: Sequence[str | None], predicted: Sequence[str | None]) -> Level:
    # A set's order changes from process to process, and sums of floats with it.
    classes = sorted({name for name in (*gold, *predicted) if name is not None})
    index: dict[str | None, int] = {name: i for i, name in enumerate(classes)}
    index[None] = NIL
    return Level(
        classes=tuple(classes),
        gold=np.array([index[name] for name in gold], dtype=np.int64),
        predicted=np.array([index[name] for name in predicted], dtype=np.int64),
    )


def count_shares(named: Sequence[str | None]) -> dict[str, float]:
    """Name → share of all, most frequent first, ties by name; None counts in the total only."""
    counts = Counter(name for name in named if name is not None)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name: count / len(named) for name, count in ranked}


def agreement(answer: str, others: Sequence[str | None]) -> dict[str, float]:
    """Level → share of all answers, the first included, that name its node at that level."""
    shares: dict[str, float] = {}
    for level, node in AGREEMENT_LEVELS.items():
        same = sum(other is not None and node(other) == node(answer) for other in others)
        shares[level] = (1 + same) / (1 + len(others))
    return shares
