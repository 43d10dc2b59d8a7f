"""A file of traces → what is wrong with it, and what is in it.

In: the file, its card, the folder of its notes. Out: plain values, without text unless one trace is
asked for. Decided here: traces with a card are held to the rules that they were built with; others
to what every trace must keep to: it belongs to a training note, parses, and answers its code.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepicd import codes
from deepicd.config import TracesConfig
from deepicd.errors import ConfigError, DataError
from deepicd.notes.split_files import read_split
from deepicd.records import Note
from deepicd.traces.card import check_card, read_card
from deepicd.traces.trace_file import find_fault, read_traces
from deepicd.traces.verifier import Verifier, parse_reply


def check_file(file: Path, notes: Path | None = None) -> dict[str, Any]:
    """What is wrong with a file of traces.

    Args:
        file: the traces.
        notes: folder of the build that they belong to; the folder `notes` beside them unless given.

    Returns:
        `num_traces`, `faults` (reason → count), `card` (`fits`, `none`, or what does not fit) and
        `is_sound`.

    Raises:
        MissingError: no such file, or no training notes.
        DataError: it holds no traces.
    """
    rows = read_traces(file)
    train = read_split((notes or file.parent / "notes") / "train.parquet")
    faults = _count_faults(rows, train, read_card(file))
    card = _judge_card(file, rows, train)
    is_sound = bool(rows) and not faults and card in ("fits", "none")
    return {"num_traces": len(rows), "faults": faults, "card": card, "is_sound": is_sound}


def describe_file(file: Path) -> dict[str, Any]:
    """Counts of a file of traces, and its card where it has one."""
    rows = read_traces(file)
    words = [len(parse_reply(row["response"]).think.split()) for row in rows]
    chapters = Counter(codes.chapter(row["code"]) for row in rows)
    return {
        "num_traces": len(rows),
        "num_patients": len({row["patient_id"] for row in rows}),
        "num_labels": len({row["code"] for row in rows}),
        "words_median": statistics.median(words) if words else 0,
        "chapters": dict(sorted(chapters.items())),
        "card": read_card(file),
    }


def read_row(file: Path, row: int, *, is_text_shown: bool) -> dict[str, str]:
    """One trace, counted from 0; its text is about a patient.

    Raises:
        ConfigError: there is no such row, or nobody asked for text.
    """
    if not is_text_shown:
        raise ConfigError(
            "a trace tells of a patient and is not printed; add --show-text where nobody reads "
            "over your shoulder and nothing is logged"
        )
    rows = read_traces(file)
    if not 0 <= row < len(rows):
        raise ConfigError(f"--row must be from 0 to {len(rows) - 1} in {file}; got {row}")
    return rows[row]


def _count_faults(
    rows: Sequence[Mapping[str, Any]], train: Sequence[Note], card: Mapping[str, Any] | None
) -> dict[str, int]:
    notes = {note.note_id: note for note in train}
    verifier = _verifier_of(card["settings"]) if card else None
    reasons = Counter(_reason(row, notes, verifier) for row in rows)
    return {reason: count for reason, count in sorted(reasons.items()) if reason}


def _verifier_of(settings: Mapping[str, Any]) -> Verifier:
    """A verifier with the rules of a card; nobody is asked, so there is no model."""
    return Verifier(TracesConfig(**{**settings, "model": ""}))


def _reason(row: Mapping[str, Any], notes: Mapping[str, Note], verifier: Verifier | None) -> str:
    """What is wrong with one row, as a name; empty for nothing."""
    if reason := find_fault(row, notes)[0]:
        return reason
    return verifier.check(row["response"], notes[row["note_id"]])[0] if verifier else ""


def _judge_card(file: Path, rows: Sequence[Mapping[str, Any]], train: Sequence[Note]) -> str:
    if read_card(file) is None:
        return "none"
    try:
        check_card(file, rows, train)
    except DataError as error:
        return str(error)
    return "fits"
