"""A model's scores on a split, and one answer's reward, as the commands ask for them."""

import json

import pytest

from deepicd.errors import ConfigError, MissingError
from deepicd.notes.split_files import write_split
from deepicd.pipeline.evaluation import MAJORITY, evaluate_model, explain_reward
from deepicd.records import Note

ANSWER = "chest pain</think><diagnosis>I25.10</diagnosis>"


def notes(*codes):
    return [
        Note(f"n{number}", f"p{number}", f"a{number}", "CHIEF COMPLAINT: pain", code)
        for number, code in enumerate(codes)
    ]


@pytest.fixture
def splits(tmp_path):
    write_split(notes("I2510", "I2510", "J189"), tmp_path / "train.parquet")
    write_split(notes("I2510", "J189", "J189", "I2510"), tmp_path / "test.parquet")
    return tmp_path


def test_the_majority_baseline_is_scored_and_written(splits):
    out = splits / "out"
    found = evaluate_model(MAJORITY, splits / "test.parquet", out, experiment=None, limit=0)
    assert found["num_notes"] == 4 and found["accuracy_full"] == pytest.approx(0.5)
    written = json.loads((out / "scores.json").read_text())
    assert {**written["scores"], "subgroups": written["subgroups"]} == found
    assert len((out / "predictions.jsonl").read_text().splitlines()) == 4


def test_a_limit_takes_the_first_notes_only(splits):
    found = evaluate_model(
        MAJORITY, splits / "test.parquet", splits / "out", experiment=None, limit=1
    )
    assert found["num_notes"] == 1 and found["accuracy_full"] == 1.0


@pytest.mark.parametrize("note", [None, "CHIEF COMPLAINT: pain"])
def test_an_answer_is_explained_with_its_note_or_without(tmp_path, note):
    file = None
    if note is not None:
        file = tmp_path / "note.txt"
        file.write_text(note)
    explanation = explain_reward(ANSWER, "I25.10", preset="default", hierarchy_curve=1.0, note=file)
    assert explanation.as_dict()["total"] > 0 and explanation.summary


def test_a_note_that_is_not_there_is_missed(tmp_path):
    with pytest.raises(MissingError, match=r"no note at .*none\.txt; --note takes a text file"):
        explain_reward(
            ANSWER, "I25.10", preset="default", hierarchy_curve=1.0, note=tmp_path / "none.txt"
        )


def test_a_preset_that_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="defaul"):
        explain_reward(ANSWER, "I25.10", preset="defaul", hierarchy_curve=1.0, note=None)
