"""Traces as a Parquet file, and the rules that every trace keeps to, whoever wrote it.

In: rows of `COLUMNS`. Out: a file, or the rows of one; `DataError` for a trace that does not belong
to the notes. Decided here: `response` is what a model is to write after the `<think>` prefill. A
trace belongs to a training note, parses, and answers that note's code.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepicd import answers
from deepicd.errors import DataError, MissingError
from deepicd.files import replaced_file
from deepicd.records import Note

COLUMNS = ("note_id", "patient_id", "code", "response")
"""Columns of a row of traces."""


def check_traces(traces: Sequence[Mapping[str, Any]], notes: Sequence[Note]) -> None:
    """Raise DataError unless every trace belongs to a note, parses, and answers the note's code.

    Pass the training notes: a trace of a validation or test note is then refused as a leak.
    """
    known = {note.note_id: note for note in notes}
    for number, trace in enumerate(traces):
        _, reason = find_fault(trace, known)
        if reason:
            raise DataError(
                f"trace {number} of {len(traces)} {reason}. Traces are for training notes, end in "
                "</think> and one <diagnosis> with the gold code; drop or correct it."
            )


def write_traces(traces: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write traces as Parquet."""
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as aside:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in traces], schema=schema), aside)


def read_traces(path: Path) -> list[dict[str, str]]:
    """Traces of a Parquet file. Raises MissingError or DataError."""
    if not path.is_file():
        raise MissingError(
            f"no traces at {path}; they are a Parquet file with {', '.join(COLUMNS)}."
        )
    try:
        rows: list[dict[str, str]] = pq.read_table(path, columns=list(COLUMNS)).to_pylist()
        return rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} holds no traces ({type(error).__name__}); it needs the columns "
            f"{', '.join(COLUMNS)}."
        ) from None


def find_fault(trace: Mapping[str, Any], notes: Mapping[str, Note]) -> tuple[str, str]:
    """Name of what is wrong with a trace and a sentence's end for it; empty for nothing.

    Args:
        trace: a row.
        notes: note id → training note.
    """
    missing = [name for name in COLUMNS if not isinstance(trace.get(name), str)]
    if missing:
        return "incomplete", f"has no {', '.join(missing)}"
    note = notes.get(trace["note_id"])
    if note is None:
        return "other_note", "belongs to none of the training notes"
    if trace["patient_id"] != note.patient_id:
        return "other_note", "names another patient than its note"
    answer = answers.parse_answer(trace["response"], is_prefilled=True)
    if answer.faults:
        return "does_not_parse", f"does not parse ({', '.join(answer.faults)})"
    if answer.code != note.code:
        return "other_code", f"answers {answer.code}, not the note's code"
    return "", ""
