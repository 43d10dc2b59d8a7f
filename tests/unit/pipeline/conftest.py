"""A run's folder with notes that others have answered, for tests of what stands beside a score."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deepicd.config import Experiment, parse_experiment
from deepicd.notes.corpus.mimic_tables import CEILING_ANSWERS
from deepicd.notes.split_files import read_split, write_split
from deepicd.paths import RunPaths
from deepicd.pipeline import context
from deepicd.records import Note, Prediction
from deepicd.scoring import format_predictions

CODES = ("I2510", "J189", "N390")
WORDS = ("chest pain", "cough and fever", "burning urine")
SIZES = {"train": 60, "validation": 40, "test": 80, "promotion": 20}


@pytest.fixture
def answer_split() -> Callable[[Path, int], list[Prediction]]:
    """A function: a split, and every how many notes one is answered wrongly → answers."""

    def answer(split: Path, every: int) -> list[Prediction]:
        return [
            Prediction(
                note.note_id,
                note.patient_id,
                note.code,
                "R69" if number % every == 0 else note.code,
                groups={"sex": note.sex or ""},
            )
            for number, note in enumerate(read_split(split))
        ]

    return answer


@pytest.fixture
def write_run(
    answer_split: Callable[[Path, int], list[Prediction]],
) -> Callable[..., tuple[RunPaths, Experiment]]:
    """A function that writes notes, the base model's and the start's answers, and the context.

    Of the start every third answer is wrong, of the base model every one.
    """

    def write(root: Path, **tables: dict[str, object]) -> tuple[RunPaths, Experiment]:
        paths = RunPaths(root)
        table = {"evaluation": {"num_zero_shot": 10}, **tables}
        experiment = parse_experiment(table, "here")
        paths.notes.mkdir(parents=True)
        for name, size in SIZES.items():
            write_split([note_of(name, number) for number in range(size)], paths.split(name))
        best = {note.note_id: note.code for note in read_split(paths.split("test"))[1:]}
        best |= {note.note_id: note.code for note in read_split(paths.split("validation"))}
        first = read_split(paths.split("test"))[0]
        (paths.notes / CEILING_ANSWERS).write_text(json.dumps(best | {first.note_id: "R69"}))
        # What the stage that asks vLLM leaves.
        for split in ("test", "validation"):
            folder = paths.evaluation / "context" / split
            folder.mkdir(parents=True)
            base = answer_split(paths.split(split), 1)[:10]
            (folder / "zero_shot.jsonl").write_text(format_predictions(base))
        start = {name: answer_split(paths.split(name), 3) for name in ("test", "validation")}
        context.write_context(
            paths, experiment, test=start["test"], validation=start["validation"][:10]
        )
        return paths, experiment

    return write


def note_of(split: str, number: int) -> Note:
    """Every second note is the first code's; two notes a patient."""
    which = 0 if number % 2 else number // 2 % len(CODES)
    text = f"CHIEF COMPLAINT: {WORDS[which]} {number}"
    note = Note(f"{split}{number}", f"{split}p{number // 2}", f"a{number}", text, CODES[which])
    return replace(note, sex="F" if number % 4 < 2 else "M")
