"""MIMIC-IV tables → cut notes in Parquet files, and one row an admission with why it is left out.

In: a folder that holds `note/` and `hosp/`. Out: files with `COLUMNS`, and an Arrow table of
`CUT_COLUMNS` sorted by note id, without text. Decided here: the label is the diagnosis with
`seq_num == 1` and `icd_version == 10` (billing priority: a noisy target); of several summaries of
an admission the first counts, addenda do not. The short tables are read into memory and joined to
every block of notes; the notes stream through Ray Data, each worker writes what it cut to a file,
and only ids, codes and digests come back: memory is bounded by blocks, not by the corpus.

No text and no identifier of a row is put into an error: MIMIC-IV is credentialed.
"""

import logging
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from deepicd import codes
from deepicd.clusters.ray_session import ray_session
from deepicd.errors import DataError
from deepicd.notes.mimic.sections import cut_sections, has_core, render_note
from deepicd.notes.mimic.tables import (
    as_strings,
    check_columns,
    find_table,
    has_column,
    read_batches,
    unreadable,
)

COLUMNS = (
    *("note_id", "patient_id", "admission_id", "text", "code"),
    *("age_band", "sex", "race", "insurance"),
)
"""Columns of a note; the last four may be null."""

CUT_COLUMNS = (
    *("note_id", "patient_id", "admission_id", "code", "note_seq", "reason"),
    *("digest", "num_characters", "part", "row"),
)
"""What is known of every note beside its text: why it is left out (empty where it is kept), digest
and length of the text, and where it was written (file name, row in it)."""

REASONS = (
    *("addendum", "no_admission_id", "no_icd10_principal", "unknown_code", "empty_text"),
    *("no_core_section", "later_summary", "repeated_text"),
)
"""Why an admission or note is left out."""

MAX_UNKNOWN_CODES = 0.5
"""Share of principal codes that no release knows above which the column is of something else."""

MAX_UNKNOWN = 0.2
"""Share of summaries whose admission `hosp/admissions` lacks above which releases are mixed."""

OBJECT_STORE_BYTES = 160 << 20
"""Ray's object store where a build starts Ray itself: blocks pass through it, nothing stays."""

BLOCK_BYTES = 8 << 20
"""Text that a worker holds at once, about."""

_CSV_BYTES = 2 << 20
"""Text that the CSV reader parses at once; one row must be smaller."""

_NOTES = "note/discharge"
_NOTE_IDS = ("note_id", "subject_id", "hadm_id", "note_type", "note_seq")
_NOTE_COLUMNS = (*_NOTE_IDS, "text")
_SHORT = {
    "hosp/diagnoses_icd": ("hadm_id", "seq_num", "icd_code", "icd_version"),
    "hosp/admissions": ("hadm_id", "subject_id", "race", "insurance"),
    "hosp/patients": ("subject_id", "gender", "anchor_age"),
}
_OPTIONAL = {"hosp/admissions": ("admittime",), "hosp/patients": ("anchor_year",)}
"""Columns that MIMIC-IV has and a table in its layout may lack; null where it does."""
_BATCH_ROWS = 1024
_NUMBERS = ("digest", "num_characters", "row")
_CUT = pa.schema([(name, pa.int64() if name in _NUMBERS else pa.string()) for name in CUT_COLUMNS])
_ROWS = pa.schema([(name, pa.string()) for name in (*COLUMNS, "note_seq", "reason")])


def cut_notes(root: Path, folder: Path) -> pa.Table:
    """Cut all notes under `root` into Parquet files in `folder` (`COLUMNS`; dropped ones with an
    empty text).

    `folder` must be one that every worker can write to; it is made.

    Returns:
        `CUT_COLUMNS` of every note, sorted by note id.

    Raises:
        MissingError: a table is not there.
        DataError: a column is missing, a file is broken, note ids or principal diagnoses repeat,
            most principal diagnoses are in no release of ICD-10-CM, or `note/` and `hosp/` are of
            different releases.
    """
    paths = {name: find_table(root, name) for name in (_NOTES, *_SHORT)}
    check_columns(paths[_NOTES], _NOTE_COLUMNS)
    short = {
        name: _read_short(paths[name], columns, _OPTIONAL.get(name, ()))
        for name, columns in _SHORT.items()
    }
    labels = principal_diagnoses(short["hosp/diagnoses_icd"], paths["hosp/diagnoses_icd"])
    facts = AdmissionFacts(labels, short["hosp/admissions"], short["hosp/patients"])
    folder.mkdir(parents=True)
    rows = _stream_notes(paths[_NOTES], facts, folder.resolve())
    check_rows(rows, short["hosp/admissions"], paths[_NOTES])
    return mark_repeats(rows.sort_by("note_id"))


class AdmissionFacts:
    """What the short tables know, laid out for joins: sorted by nothing, looked up by value."""

    def __init__(self, labels: pa.Table, admissions: pa.Table, patients: pa.Table) -> None:
        self.labels, self.admissions, self.patients = labels, admissions, patients
        distinct = pc.unique(labels["icd_code"]).to_pylist()
        self.billable = pa.array(
            [code for code in distinct if codes.is_billable(code)], pa.string()
        )

    def to_rows(self, notes: pa.Table) -> pa.Table:
        """One block of the notes table as `COLUMNS`, `note_seq` and `reason`."""
        ids = as_strings(notes, _NOTE_IDS)
        admission, patient = ids["hadm_id"], ids["subject_id"]
        code = _look_up(admission, self.labels, key="hadm_id", value="icd_code")
        reason = _reasons(ids["note_type"], admission, code, billable=self.billable)
        texts = pc.fill_null(notes["text"].cast(pa.string()), "").to_pylist()
        cut = [_cut_note(text, why) for text, why in zip(texts, reason, strict=True)]
        ages = self._ages(admission, patient)
        columns = {
            "note_id": ids["note_id"],
            "patient_id": patient,
            "admission_id": admission,
            "text": pa.array([text for text, _ in cut], pa.string()),
            "code": code,
            "age_band": pa.array([age_band(years) for years in ages], pa.string()),
            "sex": _look_up(patient, self.patients, key="subject_id", value="gender"),
            "race": _look_up(admission, self.admissions, key="hadm_id", value="race"),
            "insurance": _look_up(admission, self.admissions, key="hadm_id", value="insurance"),
            "note_seq": pc.utf8_lpad(pc.fill_null(ids["note_seq"], "0"), 6, "0"),
            "reason": pa.array([why for _, why in cut], pa.string()),
        }
        return pa.table(columns).cast(_ROWS)

    def _ages(self, admission: Any, patient: Any) -> list[str | None]:
        """Age at admission of each note, in years as text; null where it is unknown."""
        anchor = {
            name: _look_up(patient, self.patients, key="subject_id", value=name).to_pylist()
            for name in ("anchor_age", "anchor_year")
            if name in self.patients.column_names
        }
        times = [None] * len(anchor["anchor_age"])
        if "admittime" in self.admissions.column_names:
            times = _look_up(
                admission, self.admissions, key="hadm_id", value="admittime"
            ).to_pylist()
        years = anchor.get("anchor_year", [None] * len(times))
        return [
            age_at(time, age=age, year=year)
            for time, age, year in zip(times, anchor["anchor_age"], years, strict=True)
        ]


def write_cut(rows: pa.Table, folder: Path) -> pa.Table:
    """Write one block of cut notes; returns its `CUT_COLUMNS`.

    The name of the file follows from the notes, so a worker that tries again writes the same file.
    """
    ids = pc.fill_null(rows["note_id"], "").to_pylist()
    # Not a random name: a second attempt after a lost worker must not leave the notes twice.
    name = blake2b("\n".join(ids).encode(), digest_size=16).hexdigest()
    pq.write_table(rows.select(list(COLUMNS)), folder / name, row_group_size=_BATCH_ROWS)
    columns = {
        **{column: rows[column] for column in rows.column_names if column in CUT_COLUMNS},
        "digest": pa.array([_digest(text) for text in rows["text"].to_pylist()], pa.int64()),
        "num_characters": pc.utf8_length(rows["text"]).cast(pa.int64()),
        "part": pa.array([name] * rows.num_rows, pa.string()),
        "row": pa.array(range(rows.num_rows), pa.int64()),
    }
    return pa.table({column: columns[column] for column in CUT_COLUMNS}).cast(_CUT)


def check_rows(rows: pa.Table, admissions: pa.Table, path: Path) -> None:
    """Raise DataError where ids are missing or repeat, or tables do not belong together."""
    blank = pc.or_kleene(_is_blank(rows["note_id"]), _is_blank(rows["patient_id"]))
    if num_blank := pc.sum(blank).as_py():
        raise DataError(
            f"every note needs note_id and subject_id; {num_blank} lack one in {path}. "
            "Remove those rows, or download the table again."
        )
    if repeated := rows.num_rows - pc.count_distinct(rows["note_id"]).as_py():
        raise DataError(
            f"note ids must be unique; {repeated} repeat in {path}. "
            "Remove the duplicate rows, or download the table again."
        )
    summaries = rows.filter(pc.invert(pc.is_in(rows["reason"], pa.array(REASONS[:2]))))
    owner = _look_up(summaries["admission_id"], admissions, key="hadm_id", value="subject_id")
    unknown = owner.null_count
    other = pc.sum(pc.not_equal(owner, summaries["patient_id"])).as_py() or 0
    if unknown > MAX_UNKNOWN * summaries.num_rows or other:
        raise DataError(
            f"note/ and hosp/ must be of releases that belong together; of {summaries.num_rows} "
            f"summaries in {path} {unknown} name an admission that hosp/admissions lacks and "
            f"{other} another patient than it does. Bring both from the same release."
        )


def _stream_notes(path: Path, facts: AdmissionFacts, folder: Path) -> pa.Table:
    import ray
    from ray.data import DataContext

    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else it logs its plan on the screen
    with ray_session(object_store_memory=OBJECT_STORE_BYTES), DataContext.current(context):
        shared = ray.put(facts)

        def cut_block(block: pa.Table) -> pa.Table:  # in pieces: a worker stays small
            facts = ray.get(shared)
            starts = range(0, block.num_rows, _BATCH_ROWS)
            pieces = (block.slice(start, _BATCH_ROWS) for start in starts)
            done = [write_cut(facts.to_rows(piece), folder) for piece in pieces]
            pa.default_memory_pool().release_unused()
            return pa.concat_tables([_CUT.empty_table(), *done])

        try:
            rows = _read_notes(path).map_batches(
                cut_block, batch_format="pyarrow", batch_size=None, zero_copy_batch=True
            )
            blocks = list(rows.iter_batches(batch_size=None, batch_format="pyarrow"))
        except (ray.exceptions.RayError, pa.ArrowException, OSError, ValueError) as error:
            raise unreadable(path, error) from None
    filled = [block.cast(_CUT) for block in blocks if block.num_rows]
    return pa.concat_tables(filled) if filled else _CUT.empty_table()


def _read_notes(path: Path) -> Any:
    """The notes table as a Ray Dataset."""
    from ray.data import read_csv, read_parquet

    if path.suffix == ".parquet":
        return read_parquet(str(path), columns=list(_NOTE_COLUMNS))
    return read_csv(
        str(path),
        override_num_blocks=1,  # else every block is split by the number of cores
        ray_remote_args={"num_cpus": 0},  # it waits for the cutters most of the time
        read_options=pyarrow.csv.ReadOptions(block_size=_CSV_BYTES, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=list(_NOTE_COLUMNS),
            column_types=dict.fromkeys(_NOTE_COLUMNS, pa.string()),
            strings_can_be_null=False,
        ),
    )


def _read_short(path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> pa.Table:
    """Wanted columns of a table of short rows; of diagnoses the principal ICD-10 rows only."""
    columns += tuple(name for name in optional if has_column(path, name))
    blocks = [_principal(block) for block in read_batches(path, columns)]
    schema = pa.schema([(name, pa.string()) for name in columns])
    return pa.concat_tables(blocks) if blocks else schema.empty_table()


def _principal(block: pa.Table) -> pa.Table:
    if "seq_num" not in block.column_names:
        return block
    keep = pc.and_(pc.equal(block["seq_num"], "1"), pc.equal(block["icd_version"], "10"))
    return block.filter(keep)


def principal_diagnoses(table: pa.Table, path: Path) -> pa.Table:
    """hadm_id → canonical code of the principal ICD-10 diagnosis."""
    named = table.filter(pc.and_(pc.is_valid(table["hadm_id"]), pc.is_valid(table["icd_code"])))
    code = [codes.normalise(text) for text in named["icd_code"].to_pylist()]
    wrong = sum(not codes.exists(text) for text in code)
    if wrong > MAX_UNKNOWN_CODES * len(code):
        raise DataError(
            f"a principal diagnosis must be an ICD-10-CM code where icd_version is 10; of "
            f"{len(code)} in {path} {wrong} are in no release from FY{codes.RELEASES[0]} to "
            f"FY{codes.RELEASES[-1]}. Correct icd_code or icd_version."
        )
    if pc.count_distinct(named["hadm_id"]).as_py() < named.num_rows:
        repeated = named.num_rows - pc.count_distinct(named["hadm_id"]).as_py()
        raise DataError(
            f"an admission has one diagnosis with seq_num 1; {repeated} have more in {path}. "
            "Remove the duplicate rows, or download the table again."
        )
    return pa.table({"hadm_id": named["hadm_id"], "icd_code": pa.array(code, pa.string())})


def _look_up(keys: Any, table: pa.Table, *, key: str, value: str) -> Any:
    """Value of each key, null where the table does not hold it."""
    # A key that is not there has a null index, and taking null gives null.
    return pc.take(table[value], pc.index_in(keys, table[key]))


def _reasons(kinds: Any, admission: Any, code: Any, *, billable: pa.Array) -> list[str]:
    """First reason of each note to leave it out, empty where none is known yet."""
    is_listed = pc.is_in(code, billable).to_pylist()
    return [
        "addendum"
        if kind and kind != "DS"
        else "no_admission_id"
        if not hadm_id
        else "no_icd10_principal"
        if principal is None
        else ""
        if is_billable
        else "unknown_code"
        for kind, hadm_id, principal, is_billable in zip(
            kinds.to_pylist(), admission.to_pylist(), code.to_pylist(), is_listed, strict=True
        )
    ]


def _cut_note(text: str, reason: str) -> tuple[str, str]:
    """Admission note and reason: one of both is empty."""
    if reason or not text.strip():
        return "", reason or "empty_text"
    sections = cut_sections(text)
    return (render_note(sections), "") if has_core(sections) else ("", "no_core_section")


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


def _is_blank(values: Any) -> Any:
    return pc.equal(pc.fill_null(values, ""), "")


def age_at(time: str | None, *, age: str | None, year: str | None) -> str | None:
    """`anchor_age` + year of the admission − `anchor_year`; `anchor_age` where a year is unknown.

    MIMIC-IV gives a patient's age in one anchor year; an admission may be years before or after.
    """
    then = (time or "")[:4]
    if age is None or not (age.isdigit() and then.isdigit() and (year or "").isdigit()):
        return age
    return str(max(0, int(age) + int(then) - int(year or 0)))


def age_band(years: str | None) -> str | None:
    """Decade of an age in years, the oldest together; null where it is unknown."""
    if years is None or not years.isdigit():
        return None
    # Everybody under 20 is in the first band; MIMIC-IV has no patient under 18.
    decade = min(max(int(years), 10), 89) // 10 * 10
    return "80+" if decade >= 80 else f"{decade}-{decade + 9}"


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
