"""Scores of two simple baselines on a build of notes: the majority code, and TF-IDF with an SVM.

In: the folder of a build. Out: scores on the test split. Decided here: both learn from training
notes only; the second is a linear support vector machine (one against the rest) on TF-IDF of words
and word pairs, as plain as a first attempt would be. Splits are shuffled, so the first notes of one
are a sample of it: at most `MAX_TRAIN` and `MAX_TEST` are read, which bounds the time to seconds.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow.dataset as pads

from deepicd import scoring
from deepicd.records import Note, Prediction

MAX_TRAIN, MAX_TEST = 4000, 4000
"""Notes that are learnt from and scored."""

_MAX_LABELS = 300
"""The linear model learns the most frequent labels only: its cost grows with their number."""

Scores = dict[str, float]


def score_baselines(folder: Path) -> dict[str, Scores]:
    """`majority` and `tfidf_linear` → `scoring.score_predictions` on the test split, and
    `num_train`, the notes that were learnt from."""
    train = _read_first(folder / "train.parquet", MAX_TRAIN)
    test = _read_first(folder / "test.parquet", MAX_TEST)
    majority = Counter(note.code for note in train).most_common(1)[0][0]
    answers = {
        "majority": [majority] * len(test),
        "tfidf_linear": predict_linearly(train, [note.text for note in test]),
    }
    return {
        name: {**_score(test, codes), "num_train": len(train)} for name, codes in answers.items()
    }


def predict_linearly(train: Sequence[Note], texts: Sequence[str]) -> list[str]:
    """Codes that the linear model gives to texts."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    counts = Counter(note.code for note in train)
    frequent = {code for code, _ in counts.most_common(_MAX_LABELS)}
    # LinearSVC refuses to learn one class.
    if len(frequent) == 1:
        return [*frequent] * len(texts)
    notes = [note for note in train if note.code in frequent]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=50_000)
    features = words.fit_transform([note.text for note in notes])
    model = LinearSVC(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # good enough for a baseline
        model.fit(features, [note.code for note in notes])
    codes: list[str] = model.predict(words.transform(texts)).tolist()
    return codes


def _read_first(path: Path, num_notes: int) -> list[Note]:
    """The first notes of a split (a file or a folder of parts)."""
    rows = pads.dataset(path, format="parquet").head(num_notes, batch_size=num_notes)
    return [Note(**row) for row in rows.to_pylist()]


def _score(notes: Sequence[Note], codes: Sequence[str]) -> Scores:
    return dict(
        scoring.score_predictions(
            [
                Prediction(note.note_id, note.patient_id, note.code, prediction=code)
                for note, code in zip(notes, codes, strict=True)
            ]
        )
    )
