"""All rows of a notes table together: do tables belong together, what repeats.

In: `columns.CUT_COLUMNS` of every note. Out: the rows with repeats marked, or a refusal that names
the table and counts rows. Decided here: of an admission that has several summaries the first
counts.

No identifier of a row is put into an error: MIMIC-IV is credentialed.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deepicd.errors import DataError
from deepicd.notes.mimic.admission_facts import look_up
from deepicd.notes.mimic.columns import REASONS

_MAX_UNKNOWN = 0.2
"""Share of summaries whose admission `hosp/admissions` lacks above which releases are mixed."""


def check_owners(rows: pa.Table, admissions: pa.Table, path: Path) -> None:
    """Raise DataError where notes and admissions do not belong together."""
    # Neither addenda nor notes without an admission's id have an owner to be compared.
    summaries = rows.filter(pc.invert(pc.is_in(rows["reason"], pa.array(REASONS[:2]))))
    owner = look_up(summaries["admission_id"], admissions, key="hadm_id", value="subject_id")
    unknown = owner.null_count
    # The sum of no row is null.
    other = pc.sum(pc.not_equal(owner, summaries["patient_id"])).as_py() or 0
    if unknown > _MAX_UNKNOWN * summaries.num_rows or other:
        raise DataError(
            f"note/ and hosp/ must be of releases that belong together; of {summaries.num_rows} "
            f"summaries in {path} {unknown} name an admission that hosp/admissions lacks and "
            f"{other} another patient than it does. Bring both from the same release."
        )


def mark_repeats(rows: pa.Table) -> pa.Table:
    """Mark later summaries of an admission and texts seen before; rows are sorted by note id."""
    reasons = rows["reason"].to_pylist()
    admissions = rows["admission_id"].to_pylist()
    sequence = rows["note_seq"].to_pylist()
    first: dict[str, int] = {}
    for row, reason in enumerate(reasons):
        if not reason:
            best = first.setdefault(admissions[row], row)
            # As text: the numbers were padded to one width when the notes were cut.
            if sequence[row] < sequence[best]:
                first[admissions[row]] = row
    seen: set[int] = set()
    for row, digest in enumerate(rows["digest"].to_pylist()):
        if reasons[row]:
            continue
        if first[admissions[row]] != row:
            reasons[row] = "later_summary"
        elif digest in seen:
            reasons[row] = "repeated_text"
        else:
            seen.add(digest)
    index = rows.schema.get_field_index("reason")
    return rows.set_column(index, "reason", pa.array(reasons, pa.string()))
