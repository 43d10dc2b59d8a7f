"""Notes of a group of its own: rows, the file in any form, and the build's steps without Ray."""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from deepicd.notes.mimic.reader import write_cut
from deepicd.notes.mimic.row_checks import mark_repeats
from deepicd.notes.table.cutting import RowCutter
from deepicd.notes.table.reader import check_notes
from deepicd.notes.table.rows import check_file, read_rows

CODES = ("I21.4", "J189", "k35.80", "N17.9")
COLUMNS = {"note": "text", "patient": "pid", "admission": "stay", "code": "dx"}

Row = dict[str, Any]


def summary(number: int) -> str:
    """A whole discharge summary; what is of the stay has the word LATE."""
    return (
        f"Chief Complaint:\npain number {number}, for {number % 9} days\n\n"
        f'History of Present Illness:\nMs. ___ came with "pain"; worse since day {number}.\n\n'
        f"Past Medical History:\nHypertension, gout {number % 5}\n\n"
        f"Brief Hospital Course:\nLATE treated and better.\n\n"
        f"Discharge Medications:\n1. LATE aspirin\n\nDischarge Diagnosis:\nLATE\n"
    )


def rows_of(number: int = 40) -> list[Row]:
    """A row a patient, two patients with a second admission."""
    rows = [
        {
            "text": summary(one),
            "pid": 1000 + (one if one < number - 2 else one - number + 2),
            "stay": 5000 + one,
            "dx": CODES[one % len(CODES)],
            "age": 30 + one,
        }
        for one in range(number)
    ]
    return rows


def write_file(path: Path, rows: Sequence[Mapping[str, Any]], *, is_packed: bool = False) -> Path:
    """The rows in the form that the suffix names."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if is_packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def cut(
    path: Path, folder: Path, columns: Mapping[str, str] = COLUMNS, *, sections: Any = "cut"
) -> pa.Table:
    """What `table.reader.cut_table` does, in this process."""
    folder.mkdir(parents=True, exist_ok=True)
    check_file(path, columns)
    cutter = RowCutter(sections, has_ids="id" in columns)
    blocks = [write_cut(cutter.to_rows(block), folder) for block in read_rows(path, columns)]
    rows = pa.concat_tables(blocks)
    check_notes(rows, path, columns)
    return mark_repeats(rows.sort_by("note_id"))
