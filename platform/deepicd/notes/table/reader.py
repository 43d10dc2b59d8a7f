"""A table of notes, or a FHIR export → cut notes in Parquet files, and why a note is left out.

In: `DataConfig` of the sources `table` and `fhir`. Out: what `mimic.reader.cut_notes` gives, for
the same splits, audit and card. Decided here: rows stream through Ray Data, one task reads and the
others cut; then all rows are looked at together. What MIMIC-IV's tables cannot be, a table can: an
admission of two patients or with two codes is refused, and so is one with several different notes
where nothing says which is the first: no order, none in one of them, or two that are equal.

A message counts rows and names columns, never a value: notes are patients'.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deepicd.config import DataConfig
from deepicd.errors import DataError
from deepicd.notes.mimic.admission_facts import check_known
from deepicd.notes.mimic.kinds import MAX_SHARE, check_kinds
from deepicd.notes.mimic.reader import looked_at, stream_notes
from deepicd.notes.mimic.row_checks import mark_repeats
from deepicd.notes.table.checks import check_ids, check_unique
from deepicd.notes.table.cutting import RowCutter
from deepicd.notes.table.fhir import check_export, read_export
from deepicd.notes.table.rows import check_file, read_rows

_Read = Callable[[], Iterator[pa.Table]]
_FHIR = {
    "id": "DocumentReference.id",
    "patient": "DocumentReference.subject",
    "admission": "DocumentReference.context.encounter",
    "code": "the principal diagnosis",
    "order": "DocumentReference.date",
}
"""What is read → where FHIR has it."""


def cut_table(config: DataConfig, folder: Path) -> pa.Table:
    """Cut all notes of a source into Parquet files in `folder`, which is made.

    Returns:
        `CUT_COLUMNS` of every note, sorted by note id.

    Raises:
        MissingError: the file or folder is not there.
        DataError: it cannot be read, ids are missing or contradict each other, most codes are in
            no release of ICD-10-CM, or most notes are no English summaries.
    """
    path, names = config.place, _names(config)
    assert path is not None, "a source without a place is refused when it is read"
    if config.source == "table":
        check_file(path, names)
        read: _Read = partial(read_rows, path, names)
    else:
        check_export(path)
        read = partial(read_export, path, sections=config.sections)
    cutter = RowCutter(config.sections, has_ids="id" in names)
    rows = stream_notes(read, cutter, folder, path=path)
    check_notes(rows, path, names)
    return mark_repeats(rows.sort_by("note_id"))


def check_notes(rows: pa.Table, path: Path, names: Mapping[str, str]) -> None:
    """Raise DataError for what is wrong with all notes together.

    Args:
        rows: `CUT_COLUMNS` of every note.
        path: where they are from.
        names: what is read → what the user calls it.
    """
    ids = {
        "note_id": names.get("id", "an id"),
        "patient_id": names["patient"],
        "admission_id": names["admission"],
    }
    check_ids(rows, path, ids)
    if "id" in names:
        check_unique(rows, path)
    _check_codes(rows, path, names)
    _check_one(rows, "patient_id", "patient", path=path)
    _check_one(rows, "code", "principal code", path=path)
    check_kinds(looked_at(rows), path)
    _check_late(rows, path)
    _check_first(rows, path, names.get("order"))


def _names(config: DataConfig) -> dict[str, str]:
    return config.columns.named() if config.source == "table" else _FHIR


def _check_codes(rows: pa.Table, path: Path, names: Mapping[str, str]) -> None:
    check_known(
        rows["code"].drop_null().to_pylist(),
        path,
        rule="a note needs its principal ICD-10-CM code",
        way_out=f"Correct {names['code']}, or name the right column (--columns code=COLUMN).",
    )


def _check_one(rows: pa.Table, column: str, what: str, *, path: Path) -> None:
    """Raise DataError where an admission has several of what it has one of."""
    known = rows.filter(pc.and_(pc.is_valid(rows["admission_id"]), pc.is_valid(rows[column])))
    counts = known.group_by("admission_id").aggregate([(column, "count_distinct")])
    if several := pc.sum(pc.greater(counts[f"{column}_count_distinct"], 1)).as_py():
        raise DataError(
            f"an admission has one {what}; {several} of {counts.num_rows} in {path} have several. "
            "Correct the column of admissions, or keep the rows of the principal diagnosis only."
        )


def _check_first(rows: pa.Table, path: Path, order: str | None) -> None:
    """Raise DataError where it is open which note of an admission is the first."""
    kept = rows.filter(pc.equal(rows["reason"], ""))
    columns = (kept[name].to_pylist() for name in ("admission_id", "note_seq", "digest"))
    first: dict[str, tuple[str, set[int]]] = {}
    for admission, key, digest in zip(*columns, strict=True):
        least, texts = first.get(admission, (key, set()))
        # The key of no order is empty: it stays the least, and every text stays beside it.
        if not key or not least or key == least:
            first[admission] = (min(key, least), texts | {digest})
        elif key < least:
            first[admission] = (key, {digest})
    if several := sum(len(texts) > 1 for _, texts in first.values()):
        way_out = (
            f"Give each note of an admission its own {order}."
            if order
            else "Name a column with a number or a time: --columns order=COLUMN "
            "(data.columns.order)."
        )
        raise DataError(
            f"of an admission the first note counts; {several} of {len(first)} in {path} "
            f"have several different ones, and {'no or the same order' if order else 'nothing'} "
            f"says which is the first. {way_out}"
        )


def _check_late(rows: pa.Table, path: Path) -> None:
    """Raise DataError where most notes are no admission notes, as they were said to be."""
    reasons = [reason for reason in rows["reason"].to_pylist() if reason in ("", "late_section")]
    late = reasons.count("late_section")
    if late > MAX_SHARE * len(reasons):
        raise DataError(
            f"sections = 'keep' takes admission notes; {late / len(reasons):.0%} of "
            f"{len(reasons)} notes in {path} have a section of the stay or of the discharge. "
            "Leave --sections out (data.sections = 'cut'), so that they are cut."
        )
