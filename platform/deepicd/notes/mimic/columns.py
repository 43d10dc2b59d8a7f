"""Columns of a note and of what is known of it, and why a note is left out."""

import pyarrow as pa

COLUMNS = (
    *("note_id", "patient_id", "admission_id", "text", "code"),
    *("age_band", "sex", "race", "insurance"),
)
"""Columns of a note; the last four may be null."""

CUT_COLUMNS = (
    *("note_id", "patient_id", "admission_id", "code", "note_seq", "reason", "kind"),
    *("num_unknown", "digest", "num_characters", "part", "row"),
)
"""What is known of every note beside its text: why it is left out (empty where it is kept), what it
is instead of a summary (`kinds`; empty where it is one), lines with an unknown header, digest and
length of the text, and where it was written (file name, row in it)."""

REASONS = (
    *("addendum", "no_admission_id", "no_icd10_principal", "unknown_code", "empty_text"),
    *("no_core_section", "later_summary", "repeated_text"),
    *("late_section", "other_document", "no_inline_text"),  # of tables and FHIR
)
"""Why an admission or note is left out."""

_NUMBERS = ("num_unknown", "digest", "num_characters", "row")
PASSAGE = pa.struct([("is_late", pa.bool_()), ("text", pa.string())])

CUT_SCHEMA = pa.schema(
    [(name, pa.int64() if name in _NUMBERS else pa.string()) for name in CUT_COLUMNS]
)
ROWS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in (*COLUMNS, "note_seq", "reason", "kind")),
        ("num_unknown", pa.int64()),
        ("passages", pa.list_(PASSAGE)),
    ]
)
"""A cut note before it is written: `COLUMNS`, what `CUT_COLUMNS` keeps, and a sample of its
passages."""
