"""Behaviour tests of the gate: what must not change an answer, what must, and what is easy.

In: notes of the promotion split, and the hand-written ones of `data/easy_notes.toml`; then the
model's answers to the `cases` made of them. Out: test → passed or not, case by case, the same cases
for every model. The three kinds are those of Ribeiro et al. (CheckList, 2020): invariance (a name,
a date, blanks, another order of sections leave the code alone), direction (without the decisive
finding the model is less sure of the code) and minimum function (an easy note gets a code of the
right chapter). Pure.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from deepicd import codes
from deepicd.notes.mimic.sections import SECTIONS
from deepicd.records import Note, Prediction

NUM_NOTES = 24
"""Notes of the split that are changed."""
DIRECTION, MINIMUM = "direction", "minimum_function"

# A look-ahead: the text is split before a header, which stays with its section.
_HEADER = re.compile(rf"^(?=(?:{'|'.join(SECTIONS)}):)", re.MULTILINE)


def add_name(text: str) -> str:
    """A line with a patient's name in front."""
    return f"Name: Maria Alvarez\n{text}"


def add_date(text: str) -> str:
    """A line with a date in front."""
    # MIMIC-IV shifts its dates into the years from 2100 on.
    return f"Admission Date: 2150-03-14\n{text}"


def add_blanks(text: str) -> str:
    """Two blanks for one, and an empty line between sections."""
    return "\n\n".join(
        section.strip().replace(" ", "  ") for section in _HEADER.split(text) if section
    )


def reorder_sections(text: str) -> str:
    """The last section comes second."""
    sections = [section.strip() for section in _HEADER.split(text.strip()) if section.strip()]
    # Of two sections the last one is second already.
    if len(sections) < 3:
        return text
    return "\n".join([sections[0], sections[-1], *sections[1:-1]])


INVARIANCES: Mapping[str, Callable[[str], str]] = {
    "invariance_names": add_name,
    "invariance_dates": add_date,
    "invariance_blanks": add_blanks,
    "invariance_section_order": reorder_sections,
}
"""Test → change that must leave the code alone."""


@dataclass(frozen=True)
class Case:
    """Two notes whose answers are compared; for the minimum function they are one."""

    test: str
    note: Note
    changed: Note


def build_cases(notes: Sequence[Note]) -> list[Case]:
    """Cases of every test; of a split only the first notes are taken, and those left alone by a
    change are no case of it.
    """
    cases = [
        Case(test, note, replace(note, text=changed))
        for test, change in INVARIANCES.items()
        for note in notes[:NUM_NOTES]
        if (changed := change(note.text)) != note.text
    ]
    for note, decisive in read_easy_notes():
        cases.append(Case(DIRECTION, note, replace(note, text=note.text.replace(decisive, ""))))
        cases.append(Case(MINIMUM, note, note))
    return cases


def read_easy_notes() -> list[tuple[Note, str]]:
    """The hand-written notes, each with the words that decide it."""
    text = files("deepicd").joinpath("data/easy_notes.toml").read_text(encoding="utf-8")
    return [
        (
            Note(row["name"], row["name"], row["name"], row["text"].strip(), row["code"]),
            row["decisive"],
        )
        for row in tomllib.loads(text)["notes"]
    ]


def judge(
    cases: Sequence[Case], answers: Mapping[str, Prediction | None]
) -> dict[str, tuple[bool, ...]]:
    """Test → passed or not. `answers` is by the text of the note; None where it did not fit."""
    results: dict[str, tuple[bool, ...]] = {}
    for case in cases:
        passed = _passes(case, answers[case.note.text], answers[case.changed.text])
        results[case.test] = (*results.get(case.test, ()), passed)
    return results


def _passes(case: Case, answer: Prediction | None, changed: Prediction | None) -> bool:
    # No code, no pass: a model that never names one would be invariant to everything.
    if answer is None or answer.prediction is None:
        return False
    if case.test == MINIMUM:
        return codes.chapter(answer.prediction) == codes.chapter(case.note.code)
    is_same = changed is not None and changed.prediction == answer.prediction
    if case.test == DIRECTION:
        return not is_same or _share(changed) < _share(answer)
    return is_same


def _share(answer: Prediction | None) -> float:
    return 0.0 if answer is None or answer.shares is None else answer.shares["code"]
