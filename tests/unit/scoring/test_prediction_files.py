"""Prediction files: read, written, refused."""

import json
from dataclasses import replace

import pytest
from prediction_rows import build_random_rows

from deepicd import scoring
from deepicd.errors import DataError, MissingError
from deepicd.records import Prediction


def test_predictions_that_are_written_are_read_again(tmp_path):
    rows = build_random_rows(5, 1)
    (tmp_path / "rows.jsonl").write_text(scoring.format_predictions(rows))
    assert scoring.read_predictions(tmp_path / "rows.jsonl") == rows


ROWS = [
    {"patient_id": 1, "gold": "I25.10", "prediction": "i25.9", "note_id": "n1"},
    {"patient_id": "b", "gold": "J18.9", "prediction": None, "reason": "truncated"},
    {"patient_id": "b", "gold": "J18.9", "prediction": ["J18.9"], "reason": 4},
]


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


def test_prediction_files_are_read_as_written(tmp_path):
    rows = scoring.read_predictions(write(tmp_path / "p.jsonl", ROWS))
    assert rows == [
        Prediction("n1", "1", "I2510", "I259"),
        Prediction("2", "b", "J189", None, "truncated"),
        Prediction("3", "b", "J189", None),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", r"p.jsonl:2: not a JSON object: '\{not json'"),
        ("[1, 2]", r"p.jsonl:2: a row needs patient_id, gold and prediction; got '\[1, 2\]'"),
        ('{"gold": "I10", "prediction": null}', "p.jsonl:2: a row needs"),
        (
            '{"patient_id": 1, "gold": ["I10"], "prediction": 1}',
            r"p.jsonl:2: gold must be one billable .* got \['I10'\]",
        ),
        ('{"patient_id": 1, "gold": "I25", "prediction": 1}', "gold must be one billable"),
        (
            '{"patient_id": 1, "gold": "I10", "prediction": 1, "groups": {"sex": 1}}',
            r"p.jsonl:2: groups must map an attribute .* got \{'sex': 1\}",
        ),
    ],
)
def test_a_broken_line_is_refused_with_its_place(tmp_path, line, message):
    path = write(tmp_path / "p.jsonl", ROWS[:1])
    path.write_text(path.read_text().strip() + "\n" + line)
    with pytest.raises(DataError, match=message):
        scoring.read_predictions(path)


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(MissingError, match="no predictions file at"):
        scoring.read_predictions(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="holds no predictions"):
        scoring.read_predictions(write(tmp_path / "empty.jsonl", []))


def sampled(*rows: tuple[float, bool], patients: int = 10**6) -> list[Prediction]:
    """Answers of (share, whether right); a wrong one is of another chapter."""
    return [
        Prediction(
            f"n{i}", f"p{i % patients}", "I2510", "I2510" if is_right else "J189",
            shares=dict.fromkeys(("code", "category", "chapter"), share),
        )
        for i, (share, is_right) in enumerate(rows)
    ]  # fmt: skip


def test_what_is_known_of_an_answer_survives_its_file(tmp_path):
    (row,) = sampled((0.5, True))
    full = replace(row, num_tokens=7, groups={"sex": "F"})
    path = tmp_path / "rows.jsonl"
    path.write_text(scoring.format_predictions([full, Prediction("a", "b", "I2510", None)]))
    read = [json.loads(line) for line in path.read_text().splitlines()]
    assert read[0]["shares"]["code"] == 0.5 and read[0]["num_tokens"] == 7
    assert set(read[1]) == {"note_id", "patient_id", "gold", "prediction", "reason"}
    found = scoring.read_predictions(path)
    assert [(row.prediction, row.groups) for row in found] == [("I2510", {"sex": "F"}), (None, {})]
