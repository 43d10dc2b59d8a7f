"""The behaviour tests of the gate, by models whose behaviour is known."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd import codes
from deepicd.errors import CheckpointError
from deepicd.promotion import behaviour_tests
from deepicd.promotion.calibration_file import CALIBRATION, read_calibration, write_calibration
from deepicd.records import Calibration, Curve, Note, Prediction

TEXT = """CHIEF COMPLAINT: cough
PRESENT ILLNESS: ___ yo with fever, see CHIEF COMPLAINT: above
ALLERGIES: none
PHYSICAL EXAM: crackles"""
NOTES = [Note(f"n{i}", f"p{i}", f"a{i}", f"{TEXT} {i}", "J189") for i in range(30)]


def judge(answer: Callable[[Note], Prediction | None]) -> dict[str, tuple[bool, ...]]:
    cases = behaviour_tests.build_cases(NOTES)
    notes = {note.text: note for case in cases for note in (case.note, case.changed)}
    return behaviour_tests.judge(cases, {text: answer(note) for text, note in notes.items()})


def predict(note: Note, code: str | None, share: float = 1.0) -> Prediction:
    return Prediction(note.note_id, note.patient_id, note.code, code, shares={"code": share})


def test_a_model_that_knows_everything_passes_everything() -> None:
    decisive = {note.text: words for note, words in behaviour_tests.read_easy_notes()}
    found = judge(lambda note: predict(note, note.code, 1.0 if note.text in decisive else 0.5))
    assert {test: set(passed) for test, passed in found.items()} == {
        **{test: {True} for test in behaviour_tests.INVARIANCES}, "direction": {True},
        "minimum_function": {True},
    }  # fmt: skip
    assert len(found["invariance_names"]) == behaviour_tests.NUM_NOTES


def test_a_model_that_always_says_the_same_is_steady_and_knows_nothing() -> None:
    found = judge(lambda note: predict(note, "J189"))
    assert all(all(found[test]) for test in behaviour_tests.INVARIANCES)
    assert not any(found["direction"])
    assert sum(found["minimum_function"]) == 2  # pneumonia and the lung disease


def test_a_model_that_reads_the_date_fails_that_test_alone() -> None:
    found = judge(lambda note: predict(note, "I509" if "2150" in note.text else "J189"))
    assert not any(found["invariance_dates"])
    assert all(found["invariance_names"]) and all(found["invariance_section_order"])


@pytest.mark.parametrize("answer", [lambda note: None, lambda note: predict(note, None)])
def test_an_unusable_answer_passes_nothing(answer: Callable[[Note], Prediction | None]) -> None:
    assert not any(any(passed) for passed in judge(answer).values())


def test_changes_are_what_they_say() -> None:
    assert behaviour_tests.reorder_sections(TEXT).splitlines() == [
        "CHIEF COMPLAINT: cough", "PHYSICAL EXAM: crackles",
        "PRESENT ILLNESS: ___ yo with fever, see CHIEF COMPLAINT: above", "ALLERGIES: none",
    ]  # fmt: skip
    assert behaviour_tests.add_blanks(TEXT).count("\n\n") == 3
    assert behaviour_tests.add_name(TEXT).endswith(TEXT) and behaviour_tests.add_date(
        TEXT
    ).endswith(TEXT)


@given(st.text())
def test_changes_keep_every_word(text: str) -> None:
    for change in (behaviour_tests.add_blanks, behaviour_tests.reorder_sections):
        assert sorted(change(text).split()) == sorted(text.split())


def test_a_note_that_a_change_leaves_alone_is_no_case() -> None:
    short = replace(NOTES[0], text="CHIEF COMPLAINT: cough")
    tests = [case.test for case in behaviour_tests.build_cases([short])]
    assert "invariance_section_order" not in tests and "invariance_names" in tests


def test_easy_notes_hold_what_decides_them_and_codes_that_can_be_billed() -> None:
    for note, decisive in behaviour_tests.read_easy_notes():
        assert codes.is_billable(note.code) and note.text.count(decisive) == 1
        assert decisive.strip() == decisive[1:]  # its blank goes with it


def test_a_calibration_survives_its_file_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None
    curves = {"code": Curve((0.1, 1.0), (0.2, 0.9))}
    known = Calibration(curves=curves, num_notes=60, num_samples=8, errors={"code": 0.1})
    write_calibration(tmp_path, known)
    assert read_calibration(tmp_path) == known
    (tmp_path / CALIBRATION).write_text('{"curves": {"code": 1}}')
    with pytest.raises(CheckpointError, match="is broken"):
        read_calibration(tmp_path)
