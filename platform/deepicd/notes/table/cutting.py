"""A block of rows → cut notes: the label by the code table, the text by the grammar of sections.

In: blocks (`blocks.BLOCK`). Out: `mimic.columns.ROWS_SCHEMA`. Decided here: a whole summary is cut
as MIMIC-IV's are; a note that is an admission note already stays as it is, unless a header in it is
of the stay, the discharge or the death: then it is left out, since nobody knows where the rest
belongs. A note without an id gets one from all values of its row, so it is the same in any order of
rows and in any form of the file.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from deepicd import codes
from deepicd.notes.mimic.admission_facts import CutNote, age_band, as_columns, cut_note
from deepicd.notes.mimic.columns import ROWS_SCHEMA
from deepicd.notes.mimic.kinds import kind_of
from deepicd.notes.mimic.sections import Cut, cut_summary


@dataclass(frozen=True)
class RowCutter:
    """Cuts blocks of rows; travels to Ray's workers."""

    sections: Literal["cut", "keep"]
    has_ids: bool

    def to_rows(self, block: pa.Table) -> pa.Table:
        """One block as `ROWS_SCHEMA`."""
        ids = block["id"] if self.has_ids else pa.array(derive_ids(block), pa.string())
        code = [None if text is None else codes.normalise(text) for text in _list(block["code"])]
        reasons = [
            _first_reason(*row)
            for row in zip(_list(block["reason"]), _list(block["admission"]), code, strict=True)
        ]
        cut_one = cut_note if self.sections == "cut" else keep_note
        texts = _list(pc.fill_null(block["note"], ""))
        names = _list(pc.fill_null(ids, ""))
        cut = [cut_one(*row) for row in zip(names, texts, reasons, strict=True)]
        columns = {
            "note_id": ids,
            "patient_id": block["patient"],
            "admission_id": block["admission"],
            "code": pa.array(code, pa.string()),
            "age_band": pa.array([age_band(years) for years in _list(block["age"])], pa.string()),
            **{name: block[name] for name in ("sex", "race", "insurance")},
            "note_seq": pc.fill_null(block["order"], ""),
            **as_columns(cut),
        }
        return pa.table({name: columns[name] for name in ROWS_SCHEMA.names}).cast(ROWS_SCHEMA)


def derive_ids(block: pa.Table) -> list[str]:
    """An id for each row, from all its values: equal rows have equal ones."""
    rows = zip(*(_list(block[name]) for name in block.column_names), strict=True)
    return [blake2b(repr(row).encode(), digest_size=8).hexdigest() for row in rows]


def keep_note(_note_id: str, text: str, reason: str) -> CutNote:
    """An admission note as it is, but for blank lines and blanks at the ends of lines."""
    if reason or not text.strip():
        return CutNote("", reason or "empty_text")
    cut = cut_summary(text)
    is_late = _is_late(cut)
    return CutNote(
        text="" if is_late else _tidy_text(text),
        reason="late_section" if is_late else "",
        kind=kind_of(text, cut),
        num_unknown=cut.num_unknown,
    )


def _tidy_text(text: str) -> str:
    """Lines without blanks at their ends, empty ones left out."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def has_late_header(text: str) -> bool:
    """Whether a header of an admission note is of the stay, the discharge or the death."""
    return _is_late(cut_summary(text))


def _is_late(cut: Cut) -> bool:
    return cut.has_end or cut.has_stay


def _first_reason(reason: str | None, admission: str | None, code: str | None) -> str:
    """Why a note is left out for its row alone; empty where nothing is known against it."""
    if reason:
        return reason
    if admission is None:
        return "no_admission_id"
    if code is None:
        return "no_icd10_principal"
    return "" if codes.is_billable(code) else "unknown_code"


def _list(values: Any) -> list[Any]:
    listed: list[Any] = values.to_pylist()
    return listed
