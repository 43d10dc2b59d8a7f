"""Ids of all notes of a table together: whole, and unique where they are to be.

In: `mimic.columns.CUT_COLUMNS` of every note, and what the user calls the columns. Out: nothing, or
a refusal that counts rows. Decided here: what an id is, is said by `identifiers`; rows are counted
and not named, since they come back in no order.

No identifier of a row is put into an error: notes are patients'.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deepicd.errors import DataError
from deepicd.notes.id_columns import is_malformed, is_missing


def check_ids(rows: pa.Table, path: Path, names: Mapping[str, str]) -> None:
    """Raise DataError where note or patient ids are missing, or ids are none.

    Args:
        rows: with the columns of `names`.
        path: where they are from.
        names: `note_id`, `patient_id`, `admission_id` → what the user calls it.
    """
    missing = pc.or_kleene(is_missing(rows["note_id"]), is_missing(rows["patient_id"]))
    if num_missing := pc.sum(missing).as_py():
        raise DataError(
            f"every note needs {names['note_id']} and {names['patient_id']}; {num_missing} of "
            f"{rows.num_rows} lack one in {path}. Remove those rows, or export the table again."
        )
    for column, name in names.items():
        if num_wrong := pc.sum(is_malformed(rows[column])).as_py():
            raise DataError(
                f"an id is text of one line or a whole number; {num_wrong} values of {name} in "
                f"{path} are fractions or rounded (such as 20001.0 or 1.0E7), have lost a letter "
                f"(not UTF-8), so patients may have become one, or are no ids. Export the table "
                "with its ids as text."
            )


def check_unique(rows: pa.Table, path: Path) -> None:
    """Raise DataError where a note id stands twice."""
    if repeated := rows.num_rows - pc.count_distinct(rows["note_id"]).as_py():
        raise DataError(
            f"note ids must be unique; {repeated} repeat in {path}. "
            "Remove the duplicate rows, or export the table again."
        )
