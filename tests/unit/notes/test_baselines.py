"""What a model is compared with: majority code, the linear baseline, the ceiling."""

import json
from pathlib import Path

import pytest

from deepicd import scoring
from deepicd.notes import baselines
from deepicd.notes.baselines import answer_split, fit_linear, read_ceiling, score_baselines
from deepicd.notes.corpus.mimic_tables import CEILING_ANSWERS
from deepicd.notes.split_files import write_split
from deepicd.records import Note, Prediction

TEXTS = {"I214": "CHIEF COMPLAINT: chest pain", "J189": "CHIEF COMPLAINT: cough"}


def notes_of(num_notes: int, start: int = 0) -> list[Note]:
    """Two of three notes are I214."""
    golds = ["J189" if number % 3 == 2 else "I214" for number in range(num_notes)]
    return [
        Note(f"n{start + i}", f"p{start + i}", f"a{start + i}", f"{TEXTS[gold]} {i}", gold)
        for i, gold in enumerate(golds)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 notes to learn from, 6 to answer."""
    write_split(notes_of(30), tmp_path / "train.parquet")
    write_split(notes_of(6, 100), tmp_path / "test.parquet")
    return tmp_path


def test_floor_and_baseline_are_scored_on_the_test_split(folder: Path) -> None:
    scores = score_baselines(folder)
    assert scores["majority"]["accuracy_full"] == pytest.approx(4 / 6)
    assert scores["tfidf_linear"]["accuracy_full"] == 1.0
    golds = ("I214", "I214", "J189") * 2
    floor = [Prediction(str(i), str(i), gold, "I214") for i, gold in enumerate(golds)]
    expected = scoring.score_predictions(floor)
    assert expected.items() <= scores["majority"].items()
    assert scores["majority"]["num_train"] == 30


def test_the_baseline_answers_the_notes_that_are_asked_for_in_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "_BATCH", 2)
    baseline = fit_linear(folder / "train.parquet")
    assert (baseline.num_train, baseline.num_labels) == (30, 2)
    asked = ["n105", "n100", "n102", "n103"]
    answers = answer_split(baseline, folder / "test.parquet", note_ids=asked)
    assert [(row.note_id, row.patient_id, row.gold, row.prediction) for row in answers] == [
        ("n100", "p100", "I214", "I214"),
        ("n102", "p102", "J189", "J189"),
        ("n103", "p103", "I214", "I214"),
        ("n105", "p105", "J189", "J189"),
    ]


def test_the_baseline_learns_from_the_first_notes_only_and_one_label_needs_no_model(
    folder: Path,
) -> None:
    baseline = fit_linear(folder / "train.parquet", num_notes=2)
    assert (baseline.num_train, baseline.num_labels) == (2, 1)
    assert baseline.predict(["x", "cough"]) == ["I214"] * 2


def test_the_ceiling_is_known_where_the_build_knows_it(folder: Path) -> None:
    split = folder / "test.parquet"
    assert read_ceiling(split, note_ids=["n100"]) is None
    best = {note.note_id: "J189" for note in notes_of(6, 100)}
    (folder / CEILING_ANSWERS).write_text(json.dumps(best))
    assert read_ceiling(split, note_ids=["n103", "n100"]) == [
        Prediction("n100", "p100", "I214", "J189"),
        Prediction("n103", "p103", "I214", "J189"),
    ]
