"""MIMIC-IV tables → one row an admission, with the reason where it is left out.

In: a folder that holds `note/` and `hosp/`. Out: an Arrow table with `COLUMNS`, sorted by note id.
Decided here: columns are found by header name; the label is the diagnosis with `seq_num == 1` and
`icd_version == 10` (billing priority: a noisy target); of several summaries of an admission the
first counts, addenda do not. The small tables are read into memory and joined to every block of
notes; the notes themselves stream through Ray Data, which never holds the full summaries at once.

No text and no identifier of a row is put into an error: MIMIC-IV is credentialed.
"""

import gzip
import logging
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from deepicd import codes
from deepicd.errors import DataError, MissingError
from deepicd.notes.sections import cut_sections, has_core, render_note
from deepicd.session import ray_session

COLUMNS = (
    *("note_id", "patient_id", "admission_id", "text", "code"),
    *("age_band", "sex", "race", "insurance"),
)
"""Columns of a row; the last four may be null."""

REASONS = (
    *("addendum", "no_admission_id", "no_icd10_principal", "unknown_code"),
    *("no_core_section", "later_summary", "repeated_text"),
)
"""Why an admission or note is left out."""

_NOTES = "note/discharge"
_NOTE_COLUMNS = ("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "text")
_SMALL = {
    "hosp/diagnoses_icd": ("hadm_id", "seq_num", "icd_code", "icd_version"),
    "hosp/admissions": ("hadm_id", "race", "insurance"),
    "hosp/patients": ("subject_id", "gender", "anchor_age"),
}
_SUFFIXES = (".csv.gz", ".csv")
_MAX_ROW_BYTES = 16 << 20
_SHAPE = re.compile(r"[A-Z][0-9][0-9A-Z](?:[0-9A-Z]{0,4})")
_OUT = pa.schema([(name, pa.string()) for name in (*COLUMNS, "note_seq", "reason")])


def read_admissions(root: Path) -> pa.Table:
    """All notes under `root` as rows of `COLUMNS` and `reason` (empty where the note is kept).

    Rows come sorted by note id. Text of dropped rows is empty.

    Raises:
        MissingError: a table is not there.
        DataError: a column is missing, a file is broken, note ids or principal diagnoses repeat, or
            a principal diagnosis is not shaped like an ICD-10-CM code.
    """
    paths = {name: find_table(root, name) for name in (_NOTES, *_SMALL)}
    check_columns(paths[_NOTES], _NOTE_COLUMNS)
    small = {name: _read_small(paths[name], columns) for name, columns in _SMALL.items()}
    labels = principal_diagnoses(small["hosp/diagnoses_icd"], paths["hosp/diagnoses_icd"])
    known = Known(labels, small["hosp/admissions"], small["hosp/patients"])
    table = _stream_notes(paths[_NOTES], known)
    if pc.count_distinct(table["note_id"]).as_py() < table.num_rows:
        repeated = table.num_rows - pc.count_distinct(table["note_id"]).as_py()
        raise DataError(
            f"note ids must be unique; {repeated} repeat in {paths[_NOTES]}. "
            "Remove the duplicate rows, or download the table again."
        )
    return mark_repeats(table.sort_by("note_id"))


def find_table(root: Path, name: str) -> Path:
    """Path of a table, packed or not. Raises MissingError naming what was looked for."""
    for suffix in _SUFFIXES:
        path = root / f"{name}{suffix}"
        if path.is_file():
            return path
    raise MissingError(
        f"no table {name} under {root}; looked for {' and '.join(_SUFFIXES)}. "
        "Point --root at the folder that holds MIMIC-IV's note/ and hosp/."
    )


def check_columns(path: Path, columns: tuple[str, ...]) -> None:
    """Raise DataError unless the table's header has every column."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            line = file.readline().decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}); download it again."
        ) from None
    header = [name.strip().strip('"') for name in line.strip().split(",")]
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; its header is {', '.join(header)[:200]}. "
            "Tables are read by header name: keep MIMIC-IV's own header."
        )


class Known:
    """What the small tables know, laid out for joins: sorted by nothing, looked up by value."""

    def __init__(self, labels: pa.Table, admissions: pa.Table, patients: pa.Table) -> None:
        self.labels, self.admissions, self.patients = labels, admissions, patients
        distinct = pc.unique(labels["icd_code"]).to_pylist()
        self.billable = pa.array(
            [code for code in distinct if codes.is_billable(code)], pa.string()
        )

    def to_rows(self, notes: pa.Table) -> pa.Table:
        """One block of the notes table as rows of `_OUT`."""
        admission = pc.utf8_trim_whitespace(notes["hadm_id"].cast(pa.string()))
        patient = pc.utf8_trim_whitespace(notes["subject_id"].cast(pa.string()))
        code = _look_up(admission, self.labels, key="hadm_id", value="icd_code")
        reason = _reasons(notes["note_type"], admission, code, billable=self.billable)
        texts = [
            _note_text(text) if not why else ""
            for text, why in zip(notes["text"].to_pylist(), reason, strict=True)
        ]
        reason = [
            why or ("" if text else "no_core_section")
            for why, text in zip(reason, texts, strict=True)
        ]
        age = _look_up(patient, self.patients, key="subject_id", value="anchor_age")
        columns = {
            "note_id": notes["note_id"],
            "patient_id": patient,
            "admission_id": admission,
            "text": pa.array(texts, pa.string()),
            "code": code,
            "age_band": pa.array([age_band(years) for years in age.to_pylist()], pa.string()),
            "sex": _look_up(patient, self.patients, key="subject_id", value="gender"),
            "race": _look_up(admission, self.admissions, key="hadm_id", value="race"),
            "insurance": _look_up(admission, self.admissions, key="hadm_id", value="insurance"),
            "note_seq": pc.utf8_lpad(notes["note_seq"].cast(pa.string()), 6, "0"),
            "reason": pa.array(reason, pa.string()),
        }
        return pa.table(columns).cast(_OUT)


def _stream_notes(path: Path, known: Known) -> pa.Table:
    import ray
    from ray.data import DataContext, read_csv

    context = DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # else it logs its plan on the screen
    strings = {name: pa.string() for name in _NOTE_COLUMNS}
    with ray_session():
        shared = ray.put(known)

        def to_rows(block: pa.Table) -> pa.Table:
            return ray.get(shared).to_rows(block)

        try:
            notes = read_csv(
                str(path),
                read_options=pyarrow.csv.ReadOptions(block_size=_MAX_ROW_BYTES),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    include_columns=list(_NOTE_COLUMNS),
                    column_types=strings,
                    strings_can_be_null=False,
                ),
            )
            rows = notes.map_batches(to_rows, batch_format="pyarrow", batch_size=None)
            blocks = list(rows.iter_batches(batch_size=None, batch_format="pyarrow"))
        except (ray.exceptions.RayError, pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{path} cannot be read as a MIMIC-IV notes table ({type(error).__name__}). "
                "Check that it is complete (gzip -t) and has one quoted text a row."
            ) from None
    return pa.concat_tables(blocks) if blocks else _OUT.empty_table()


def _read_small(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """Wanted columns of a table of short rows, as trimmed strings; principal ICD-10 rows only."""
    check_columns(path, columns)
    convert = pyarrow.csv.ConvertOptions(
        include_columns=list(columns), column_types={name: pa.string() for name in columns}
    )
    try:
        reader = pyarrow.csv.open_csv(path, convert_options=convert)
        blocks = [_trim(pa.Table.from_batches([batch])) for batch in reader]
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}); check it with gzip -t, "
            "or download it again."
        ) from None
    return pa.concat_tables(blocks)


def _trim(block: pa.Table) -> pa.Table:
    block = pa.table({name: pc.utf8_trim_whitespace(block[name]) for name in block.column_names})
    if "seq_num" not in block.column_names:
        return block
    keep = pc.and_(pc.equal(block["seq_num"], "1"), pc.equal(block["icd_version"], "10"))
    return block.filter(keep)


def principal_diagnoses(table: pa.Table, path: Path) -> pa.Table:
    """hadm_id → canonical code of the principal ICD-10 diagnosis."""
    named = table.filter(pc.and_(pc.is_valid(table["hadm_id"]), pc.is_valid(table["icd_code"])))
    code = [codes.normalise(text) for text in named["icd_code"].to_pylist()]
    wrong = [text for text in code if not _SHAPE.fullmatch(text)]
    if wrong:
        raise DataError(
            f"a principal diagnosis must be an ICD-10-CM code where icd_version is 10; got "
            f"{wrong[0]!r} and {len(wrong) - 1} more in {path}. Correct icd_code or icd_version."
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
    return pc.take(table[value], pc.index_in(keys, table[key]))


def _reasons(kinds: Any, admission: Any, code: Any, *, billable: pa.Array) -> list[str]:
    """First reason of each note to leave it out, empty where none is known yet."""
    known = pc.is_in(code, billable).to_pylist()
    return [
        "addendum"
        if kind.strip() not in ("DS", "")
        else "no_admission_id"
        if not one
        else "no_icd10_principal"
        if principal is None
        else ""
        if is_known
        else "unknown_code"
        for kind, one, principal, is_known in zip(
            kinds.to_pylist(), admission.to_pylist(), code.to_pylist(), known, strict=True
        )
    ]


def _note_text(text: str) -> str:
    sections = cut_sections(text)
    return render_note(sections) if has_core(sections) else ""


def age_band(years: str | None) -> str | None:
    """Decade of an age in years, the oldest together; null where it is unknown."""
    if years is None or not years.isdigit():
        return None
    decade = min(max(int(years), 10), 89) // 10 * 10
    return "80+" if decade >= 80 else f"{decade}-{decade + 9}"


def mark_repeats(table: pa.Table) -> pa.Table:
    """Mark later summaries of an admission and texts seen before; rows are sorted by note id."""
    reasons = table["reason"].to_pylist()
    first: dict[str, int] = {}
    texts: set[bytes] = set()
    admissions = table["admission_id"].to_pylist()
    sequence = table["note_seq"].to_pylist()
    for row, reason in enumerate(reasons):
        if not reason:
            best = first.setdefault(admissions[row], row)
            if sequence[row] < sequence[best]:
                first[admissions[row]] = row
    for row, text in enumerate(table["text"].to_pylist()):
        if reasons[row]:
            continue
        digest = text.encode()
        if first[admissions[row]] != row:
            reasons[row] = "later_summary"
        elif digest in texts:
            reasons[row] = "repeated_text"
        else:
            texts.add(digest)
    return table.set_column(table.schema.get_field_index("reason"), "reason", pa.array(reasons))
