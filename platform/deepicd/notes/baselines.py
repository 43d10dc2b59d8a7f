"""What a build of notes gives to compare a model with: the majority code, TF-IDF with an SVM, and
the Bayes-optimal reader where there is one.

In: the folder of a build, or its splits. Out: scores on the test split, or the baseline's answers.
Decided here: both learn from training notes only; the second is a linear support vector
machine (one against the rest) on TF-IDF of words and word pairs, as plain as a first attempt would
be. It is bounded: the `_MAX_WORDS` most frequent words and pairs, the `_MAX_LABELS` most frequent
codes, and the first notes of the training split, which are a sample of it because splits are
shuffled. 4,000 notes of 1,200 words with 300 codes took 35 s of one core and 0.8 GB.
"""

import json
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.dataset as pads

from deepicd import scoring
from deepicd.notes.corpus.mimic_tables import CEILING_ANSWERS
from deepicd.notes.split_files import read_first
from deepicd.records import Note, Prediction

_MAX_TRAIN, _MAX_TEST = 4000, 4000
"""Notes that are learnt from and scored."""

_MAX_LABELS = 300
"""The linear model learns the most frequent labels only: its cost grows with their number."""
_MAX_WORDS = 50_000
"""Words and word pairs that are features, the most frequent ones."""
_BATCH = 1024
"""Notes that are in memory at once when a split is answered."""

Scores = dict[str, float]


def score_baselines(folder: Path) -> dict[str, Scores]:
    """`majority` and `tfidf_linear` → `scoring.score_predictions` on the test split, and
    `num_train`, the notes that were learnt from."""
    train = read_first(folder / "train.parquet", _MAX_TRAIN)
    test = read_first(folder / "test.parquet", _MAX_TEST)
    majority = Counter(note.code for note in train).most_common(1)[0][0]
    answers = {
        "majority": [majority] * len(test),
        "tfidf_linear": _fit_linearly(train).predict([note.text for note in test]),
    }
    return {
        name: {**_score(test, codes), "num_train": len(train)} for name, codes in answers.items()
    }


@dataclass(frozen=True)
class LinearBaseline:
    """TF-IDF and a linear model, fitted."""

    predict: Callable[[Sequence[str]], list[str]]
    """Texts → codes."""
    num_train: int
    """Notes that it was fitted on."""
    num_labels: int
    """Codes that it can answer."""


def fit_linear(train: Path, *, num_notes: int = _MAX_TRAIN) -> LinearBaseline:
    """Fit the baseline on the first `num_notes` of a training split."""
    notes = read_first(train, num_notes)
    return _fit_linearly(notes)


def answer_split(
    baseline: LinearBaseline, split: Path, *, note_ids: Collection[str]
) -> list[Prediction]:
    """The baseline's answers to those notes of a split, in the file's order; the split is read in
    batches, so memory does not grow with it.
    """
    wanted = set(note_ids)
    answers: list[Prediction] = []
    for batch in pads.dataset(split, format="parquet").to_batches(batch_size=_BATCH):
        notes = [Note(**row) for row in batch.to_pylist() if row["note_id"] in wanted]
        if notes:
            answers += _as_predictions(notes, baseline.predict([note.text for note in notes]))
    return answers


def read_ceiling(split: Path, *, note_ids: Collection[str]) -> list[Prediction] | None:
    """What the Bayes-optimal reader answers to those notes of a split, in the file's order; None
    where nobody knows, which is with every source but the embedded corpus.
    """
    file = split.with_name(CEILING_ANSWERS)
    if not file.is_file():
        return None
    best, wanted = json.loads(file.read_text(encoding="utf-8")), set(note_ids)
    rows = pads.dataset(split, format="parquet").to_table(columns=["note_id", "patient_id", "code"])
    return [
        Prediction(row["note_id"], row["patient_id"], row["code"], best[row["note_id"]])
        for row in rows.to_pylist()
        if row["note_id"] in wanted
    ]


def _fit_linearly(train: Sequence[Note]) -> LinearBaseline:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    counts = Counter(note.code for note in train)
    frequent = [code for code, _ in counts.most_common(_MAX_LABELS)]
    # LinearSVC refuses to learn one class.
    if len(frequent) == 1:
        return LinearBaseline(lambda texts: frequent * len(texts), len(train), 1)
    learnt = set(frequent)
    notes = [note for note in train if note.code in learnt]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=_MAX_WORDS)
    features = words.fit_transform([note.text for note in notes])
    model = LinearSVC(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # good enough for a baseline
        model.fit(features, [note.code for note in notes])

    def predict(texts: Sequence[str]) -> list[str]:
        codes: list[str] = model.predict(words.transform(texts)).tolist()
        return codes

    return LinearBaseline(predict, len(train), len(learnt))


def _score(notes: Sequence[Note], codes: Sequence[str]) -> Scores:
    return dict(scoring.score_predictions(_as_predictions(notes, codes)))


def _as_predictions(notes: Sequence[Note], codes: Sequence[str]) -> list[Prediction]:
    return [
        Prediction(note.note_id, note.patient_id, note.code, prediction=code)
        for note, code in zip(notes, codes, strict=True)
    ]
