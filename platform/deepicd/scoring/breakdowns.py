"""Scores by chapter and by frequency in training."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from deepicd import codes
from deepicd.records import Prediction
from deepicd.scoring.levels import encode
from deepicd.scoring.scores import class_f1

_THIRDS = ("head", "middle", "tail")


def score_chapters(predictions: Sequence[Prediction]) -> list[dict[str, float | str]]:
    """One row a chapter of the gold: `chapter`, `title`, `num_notes`, `accuracy_category`,
    `accuracy_full`, `f1`.

    `f1` is the chapter's own F1 as a class, over the whole split.

    Raises:
        DataError: as in `score_predictions`.
    """
    encoded = encode(predictions)
    level = encoded.levels["chapter"]
    f1, support = class_f1(level, np.ones(encoded.num_notes))
    rows: list[dict[str, float | str]] = []
    for index in sorted(
        set(level.gold.tolist()), key=lambda i: codes.CHAPTERS.index(level.classes[i])
    ):
        here = level.gold == index
        row: dict[str, float | str] = {
            "chapter": level.classes[index],
            "title": codes.title(level.classes[index]),
        }
        row |= {"num_notes": int(support[index]), "f1": float(f1[index])}
        for name in ("category", "full"):
            right = encoded.levels[name].gold == encoded.levels[name].predicted
            row[f"accuracy_{name}"] = float(right[here].mean())
        rows.append(row)
    return rows


def score_thirds(
    predictions: Sequence[Prediction], training_codes: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Head, middle and tail: the gold's full codes in three equal parts by frequency in training,
    most frequent first.

    Returns:
        Third → `num_labels`, `num_notes`, `macro_f1_full`, `accuracy_full`; ties in frequency go by
        code. A third without labels (fewer than three codes) is left out.

    Raises:
        DataError: as in `score_predictions`.
    """
    encoded = encode(predictions)
    level = encoded.levels["full"]
    f1, support = class_f1(level, np.ones(encoded.num_notes))
    counts = Counter(codes.normalise(code) for code in training_codes)
    present = [i for i in range(len(level.classes)) if support[i] > 0]
    ranked = sorted(present, key=lambda i: (-counts[level.classes[i]], level.classes[i]))
    result: dict[str, dict[str, float]] = {}
    # Where labels do not divide by three, array_split gives the first parts one more.
    for name, third in zip(_THIRDS, np.array_split(np.array(ranked), len(_THIRDS)), strict=True):
        if not len(third):
            continue
        here = np.isin(level.gold, third)
        right = level.gold == level.predicted
        result[name] = {
            "num_labels": len(third),
            "num_notes": int(here.sum()),
            "macro_f1_full": float(f1[third].mean()),
            "accuracy_full": float(right[here].mean()),
        }
    return result
