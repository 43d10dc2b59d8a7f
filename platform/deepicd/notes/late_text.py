"""A judge of late text that is not the grammar: which passages of a note read like the stay.

In: passages that the reader kept, and ones that it left out as late, of the corpus at hand
(`mimic.late_passages`). Out: two linear models on TF-IDF of words and word pairs, and the score
above which a passage is doubtful. Decided here: no outside data and no list of words, so the judge
shares no blind spot with the grammar; a note is judged by the model that learnt from the other half
of the notes, so that a leak is not learnt as kept; words are hashed, so the file beside the splits
holds no word of a note. It learns from the reader's own cut: a kind of leak in most notes looks
right to it. Doubtful is a score that one kept passage in a thousand has, and at least `_MIN_SCORE`.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import crc32

import numpy as np
import pyarrow.dataset as pads
from numpy.typing import NDArray

from deepicd.errors import ConfigError, DataError
from deepicd.notes.mimic.late_passages import split_passages

JUDGE = "late_text.npz"
"""File beside the splits; no word of a note is in it."""

_NUM_FEATURES = 1 << 16
_MAX_PASSAGES = 40_000
"""A linear model needs no more, and a fit takes seconds."""
_MIN_PASSAGES = 40
"""Of each side and half; with fewer there is no judge."""
_DOUBTFUL = 0.999
"""Share of kept passages that score lower than a doubtful one."""
_MIN_SCORE = 0.5
"""Logarithm of the odds; a passage of words that the model has never seen stays below it."""

_SHAPES = {
    "idf": (_NUM_FEATURES,),
    "weights": (2, _NUM_FEATURES),
    "intercepts": (2,),
    "threshold": (),
    "num_passages": (),
}

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Doubt:
    """A passage that reads like the stay."""

    section: str
    number: int
    """Of the passage in its section, from 1."""
    score: float


@dataclass(frozen=True)
class LateTextJudge:
    """Two models; each judges the notes that the other one learnt from."""

    idf: _Floats
    """Shape (features,)."""
    weights: _Floats
    """Shape (2, features)."""
    intercepts: _Floats
    threshold: float
    num_passages: int
    recall: float
    """Share of the late passages that are doubtful, each judged by the model that has not seen its
    note: how much such a judge can find. Not a number with another threshold than the learnt one.
    """

    def find_doubts(self, note_ids: Sequence[str], texts: Sequence[str]) -> list[list[Doubt]]:
        """Doubtful passages of each of n rendered notes."""
        named = [
            (note, section, number, passage)
            for note, text in enumerate(texts)
            for section, _, said in (line.partition(": ") for line in text.splitlines())
            for number, passage in enumerate(split_passages(said), start=1)
        ]
        doubts: list[list[Doubt]] = [[] for _ in texts]
        if not named:
            return doubts
        halves = np.array([_half_of(note_ids[note]) for note, *_ in named])
        scores = self._score([passage for *_, passage in named], halves)
        for (note, section, number, _), score in zip(named, scores.tolist(), strict=True):
            if score > self.threshold:
                doubts[note].append(Doubt(section, number, score))
        return doubts

    def _score(self, passages: Sequence[str], halves: NDArray[np.int64]) -> _Floats:
        both = _weigh(passages, self.idf) @ self.weights.T + self.intercepts
        scores: _Floats = both[np.arange(len(passages)), halves]
        return scores

    def summary(self) -> dict[str, float | None]:
        """For the reports of build and audit: what it learnt from and what it can find."""
        return {
            "num_passages": self.num_passages,
            "recall": None if math.isnan(self.recall) else self.recall,
            "threshold": self.threshold,
        }

    def save(self, path: Path) -> None:
        """Write the judge."""
        np.savez_compressed(path, **{one.name: getattr(self, one.name) for one in fields(self)})


def load_judge(folder: Path, *, threshold: float | None = None) -> LateTextJudge | None:
    """The judge of a build; None where a build has none.

    Args:
        folder: holds the splits.
        threshold: score (logarithm of the odds) above which a passage is doubtful, in place of the
            one that the build learnt.

    Raises:
        ConfigError: a threshold that is not finite. DataError: a broken file.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise ConfigError(f"a score of doubt is a finite number; got {threshold}. Correct it.")
    path = folder / JUDGE
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:
            values = {one.name: stored[one.name] for one in fields(LateTextJudge)}
    except (OSError, EOFError, ValueError, KeyError, zlib.error, BadZipFile) as error:
        raise _no_judge(path, type(error).__name__) from None
    if {name: values[name].shape for name in _SHAPES} != _SHAPES:
        raise _no_judge(path, "its arrays are of other shapes")
    if not all(np.isfinite(values[name]).all() for name in _SHAPES):
        raise _no_judge(path, "a number of it is not finite")
    scalars = {name: value.item() for name, value in values.items() if not value.ndim}
    judge = LateTextJudge(**{**values, **scalars})
    return judge if threshold is None else replace(judge, threshold=threshold, recall=math.nan)


def _no_judge(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is no judge of late text ({why}). Build the notes anew: deepicd notes build"
    )


def fit_judge(folder: Path) -> LateTextJudge | None:
    """Learn from the passages in a folder; None where there are too few.

    Which ones are read follows from their notes' ids, not from the order of the files.
    """
    if not folder.is_dir():
        return None
    rows = _sample(folder)
    late = np.array([row["is_late"] for row in rows], np.bool_)
    half = np.array([_half_of(row["note_id"]) for row in rows], np.int64)
    for side in (0, 1):
        counts = np.bincount(late[half == side], minlength=2)
        if counts.min() < _MIN_PASSAGES:
            return None
    idf, features = _fit_idf([row["text"] for row in rows])
    models = [_fit_linear(features[half != side], late[half != side]) for side in (0, 1)]
    weights, intercepts = (np.array(values) for values in zip(*models, strict=True))
    scores = np.empty(len(rows))
    for side in (0, 1):
        scores[half == side] = features[half == side] @ weights[side] + intercepts[side]
    threshold = max(_MIN_SCORE, float(np.quantile(scores[~late], _DOUBTFUL)))
    recall = float((scores[late] > threshold).mean())
    return LateTextJudge(idf, weights, intercepts, threshold, len(rows), recall)


def _half_of(note_id: str) -> int:
    # Not the lowest bits: they decide already which notes are sampled.
    return crc32(note_id.encode()) >> 16 & 1


def _sample(folder: Path) -> list[dict[str, Any]]:
    """At most about `_MAX_PASSAGES`, in the order of their notes' ids."""
    dataset = pads.dataset(folder, format="parquet")
    share = min(1.0, _MAX_PASSAGES / max(1, dataset.count_rows()))
    bound = int(share * (1 << 32))

    def chosen() -> Iterator[dict[str, Any]]:
        for batch in dataset.to_batches():
            for row in batch.to_pylist():
                # Backwards, for another hash: the id's own decides already who has passages at all.
                if crc32(row["note_id"].encode()[::-1]) < bound or share == 1.0:
                    yield row

    return sorted(chosen(), key=lambda row: (row["note_id"], row["is_late"], row["text"]))


def _count_words(passages: Sequence[str]) -> Any:
    """Sparse counts of hashed words and word pairs, shape (passages, features)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    # Without signs, which would let two words that share a feature cancel out.
    hasher = HashingVectorizer(
        n_features=_NUM_FEATURES, ngram_range=(1, 2), alternate_sign=False, norm=None
    )
    return hasher.transform(passages)


def _fit_idf(passages: Sequence[str]) -> tuple[_Floats, Any]:
    counts = _count_words(passages)
    in_passages = np.bincount(counts.nonzero()[1], minlength=_NUM_FEATURES)
    # As scikit-learn's `TfidfTransformer` smooths it.
    idf = np.log((1 + len(passages)) / (1 + in_passages)) + 1
    return idf, _normalise(counts, idf)


def _weigh(passages: Sequence[str], idf: _Floats) -> Any:
    return _normalise(_count_words(passages), idf)


def _normalise(counts: Any, idf: _Floats) -> Any:
    """TF-IDF with logarithmic counts, each passage of length 1."""
    from sklearn.preprocessing import normalize

    counts.data = np.log(counts.data) + 1
    return normalize(counts.multiply(idf).tocsr())


def _fit_linear(features: Any, late: NDArray[np.bool_]) -> tuple[_Floats, float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0, class_weight="balanced", solver="liblinear", random_state=0)
    model.fit(features, late)
    return model.coef_[0], float(model.intercept_[0])
