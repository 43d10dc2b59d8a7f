"""Prediction files: read, written, refused."""

import json
from dataclasses import replace

import pytest
from prediction_rows import build_random_rows

from deepicd import scoring
from deepicd.errors import DataError, MissingError
from deepicd.records import Prediction
from deepicd.scoring import paired_bootstrap, read_predictions, score_predictions


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
        ("{not json", "p.jsonl:2: not a JSON object: Expecting .* at character 2"),
        ("[1, 2]", "p.jsonl:2: a row is a JSON object with patient_id, gold, prediction; this one"),
        ('{"gold": "I10", "prediction": null}', "this one lacks patient_id$"),
        (
            '{"patient_id": 1, "gold": ["I10"], "prediction": 1}',
            "p.jsonl:2: gold must be one billable .* it is of type list",
        ),
        ('{"patient_id": 1, "gold": "I25", "prediction": 1}', "it is 'I25', which is none"),
        (
            '{"patient_id": 1, "gold": "fall at home", "prediction": 1}',
            "it is text of 12 characters",
        ),
        (
            '{"patient_id": 1, "gold": "I10", "prediction": 1, "groups": {"sex": 1}}',
            "p.jsonl:2: groups must map an attribute .* a group is of type int",
        ),
        ('{"patient_id": 1, "gold": "I10", "prediction": 1, "groups": [1]}', "it is of type list"),
        (
            '{"patient_id": 1, "gold": "I10", "prediction": 1, "groups": {"sex": "F\\ud800"}}',
            "a text of it is broken: .* half of a surrogate pair",
        ),
        *(
            (
                f'{{"patient_id": 1, "gold": "I10", "prediction": 1, "groups": {{{groups}}}}}',
                "a text of it is longer than 128 characters, of several lines",
            )
            for groups in ('"sex": "\\u001b[2J"', '"a\\nb": "F"', f'"sex": "{"F" * 129}"')
        ),
        ('{"patient_id": 1, "gold": "I10", "prediction": 1, "groups": 0}', "it is of type int"),
        ('{"patient_id": 1, "gold": "Kowalski", "prediction": 1}', "it is text of 8 characters"),
        ('{"patient_id": 1, "gold": "b2019", "prediction": 1}', "it is text of 5 characters"),
        ('{"patient_id": 1, "x": ' + "9" * 5000 + "}", "a number of thousands of digits"),
    ],
)
def test_a_broken_line_is_refused_with_its_place(tmp_path, line, message):
    path = write(tmp_path / "p.jsonl", ROWS[:1])
    path.write_text(path.read_text().strip() + "\n" + line)
    with pytest.raises(DataError, match=message):
        scoring.read_predictions(path)


def test_a_row_whose_line_number_is_the_id_of_another_is_told_so(tmp_path):
    named, plain = f'{{"note_id": "2", "patient_id": 1, {ROW}}}', f'{{"patient_id": 1, {ROW}}}'
    (tmp_path / "p.jsonl").write_text(f"{named}\n{plain}\n")
    with pytest.raises(DataError, match=r"jsonl:2: this row has no note_id and takes its line"):
        scoring.read_predictions(tmp_path / "p.jsonl")


def test_patients_whose_letters_were_lost_are_not_made_one(tmp_path):
    lines = [f'{{"patient_id": "{name}", "gold": "I10", "prediction": "I10"}}' for name in "éè"]
    (tmp_path / "p.jsonl").write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(DataError, match=r"jsonl:1: patient_id .* its file is not UTF-8"):
        scoring.read_predictions(tmp_path / "p.jsonl")


def test_a_reason_that_is_half_a_character_is_no_reason(tmp_path):
    row = {"patient_id": 1, "gold": "I10", "prediction": "I10", "reason": "\ud800"}
    (read,) = scoring.read_predictions(write(tmp_path / "p.jsonl", [row]))
    assert read.reason is None


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


ROW = '"gold": "I25.10", "prediction": "I25.10"'


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (f'{{"patient_id": null, {ROW}}}', "patient_id must be text or a whole number; it is null"),
        (f'{{"patient_id": NaN, {ROW}}}', "patient_id .* it is a fraction or NaN"),
        (f'{{"patient_id": 7.0, {ROW}}}', "patient_id .* it is a fraction or NaN"),
        (f'{{"patient_id": "nan", {ROW}}}', "patient_id .* it is nothing or a word for it"),
        (f'{{"patient_id": "7.0", {ROW}}}', "patient_id .* it is written as a fraction"),
        (f'{{"note_id": "1e+05", "patient_id": 7, {ROW}}}', "note_id .* written as a fraction"),
        (f'{{"patient_id": "a\\nb", {ROW}}}', "patient_id .* it is of several lines"),
        (f'{{"patient_id": "{"a b " * 99}", {ROW}}}', "patient_id .* longer than 128 characters"),
        (f'{{"patient_id": " ", {ROW}}}', "patient_id .* it is nothing or a word for it"),
        (f'{{"patient_id": true, {ROW}}}', "patient_id .* it is true or false"),
        (f'{{"patient_id": ["a"], {ROW}}}', "patient_id .* it is of type list"),
        (f'{{"note_id": null, "patient_id": "a", {ROW}}}', "note_id must be text .* it is null"),
        (f'{{"note_id": "1", "note_id": "2", "patient_id": "a", {ROW}}}', "a key stands twice"),
        ("[" * 100_000, "not a JSON object"),
    ],
)
def test_ids_that_are_none_and_keys_that_repeat_are_refused(tmp_path, row, match):
    path = tmp_path / "p.jsonl"
    path.write_text(f'{{"patient_id": "a", {ROW}}}\n{row}\n')
    with pytest.raises(DataError, match=rf"p.jsonl:2: .*{match}"):
        read_predictions(path)


def test_a_note_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "p.jsonl"
    row = f'{{"note_id": "n", "patient_id": "a", {ROW}}}\n'
    path.write_text(row + row)
    with pytest.raises(DataError, match=r"p.jsonl:2: this note_id stood in an earlier line"):
        read_predictions(path)


def test_a_whole_number_is_an_id_and_a_byte_order_mark_goes(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(f'{{"note_id": 3, "patient_id": 7, {ROW}}}\n', encoding="utf-8-sig")
    (row,) = read_predictions(path)
    assert (row.note_id, row.patient_id) == ("3", "7")


@pytest.mark.parametrize("num_patients", [1, 2, 5, 19])
def test_an_interval_of_few_patients_is_wide_and_says_so(num_patients):
    rows = [Prediction(f"n{i}", f"p{i % num_patients}", "I2510", "I2510") for i in range(60)]
    scores = score_predictions(rows, num_bootstrap=50)
    assert scores["has_few_patients"] is True
    low, high = scores["hierarchical_f1_low"], scores["hierarchical_f1_high"]
    assert 0 <= low < high == 1.0 and high - low > 0.3
    paired = paired_bootstrap(rows, rows, num_bootstrap=50)
    assert paired["low"] < -0.5 and paired["high"] > 0.5


def test_twenty_patients_have_the_bootstraps_interval():
    rows = [Prediction(f"n{i}", f"p{i}", "I2510", "I2510") for i in range(20)]
    scores = score_predictions(rows, num_bootstrap=50)
    assert "has_few_patients" not in scores and scores["hierarchical_f1_low"] == 1.0
