"""Where the notes of an experiment come from and how they are split: `[data]`.

In: a source with its place, a file's own column names. Out: `DataConfig`. Decided here: a table of
notes is one file with one row a note, and its columns are named by what they are to us, so that a
file needs no other header; `deepicd notes build --columns` and `[data.columns]` say the same.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from deepicd.config.strict_model import Contradiction, LocalPath, Seed, StrictModel
from deepicd.errors import ConfigError

_IDENTITY = frozenset(("id", "patient", "admission"))
"""Where each patient has one admission, or each admission one note, one column may be both."""


class TableColumns(StrictModel):
    """Column of a table of notes for each thing that is read from it."""

    note: str = Field(default="note", min_length=1)
    """Text of the note."""
    patient: str = Field(default="patient", min_length=1)
    """Patient; notes are split by it."""
    admission: str = Field(default="admission", min_length=1)
    """Admission; the first of its notes counts."""
    code: str = Field(default="code", min_length=1)
    """Principal ICD-10-CM code, with or without dot."""
    id: str = ""
    """Id of the note, once for each; without it one is derived from the row's values."""
    order: str = ""
    """Number or time that says which note of an admission is the first."""
    sex: str = ""
    """Sex, for groups of patients."""
    race: str = ""
    """Race, for groups of patients."""
    age: str = ""
    """Age at admission in years, for groups of patients."""
    insurance: str = ""
    """Insurance, for groups of patients."""

    def contradictions(self) -> Iterator[Contradiction]:
        """A column that is to be two things."""
        roles_of: dict[str, list[str]] = {}
        for role, column in self.named().items():
            roles_of.setdefault(column, []).append(role)
        for column, roles in roles_of.items():
            if len(roles) > 1 and not _IDENTITY.issuperset(roles):
                yield (
                    (roles[-1],),
                    f"column {column!r} is named for {' and '.join(roles)}; name a column of its "
                    "own for each (only id, patient and admission may share one)",
                )

    def named(self) -> dict[str, str]:
        """What is read → name of its column, as far as there is one."""
        return {role: column for role, column in self if column}


class DataConfig(StrictModel):
    """Where the notes come from and how they are split."""

    source: Literal["embedded", "mimic", "table", "fhir"] = "embedded"
    """`embedded` generates the package's own corpus; `mimic` reads MIMIC-IV tables; `table` one
    file with a row a note; `fhir` a bulk export."""
    root: LocalPath | None = None
    """Folder that holds MIMIC-IV's `note/` and `hosp/`, or the NDJSON files of a FHIR bulk export;
    required for `mimic` and `fhir` without `splits`."""
    file: LocalPath | None = None
    """CSV, JSON lines or Parquet with a row a note; required for `table` without `splits`."""
    columns: TableColumns = TableColumns()
    """Names of that file's columns."""
    sections: Literal["cut", "keep"] = "cut"
    """Notes of `table` and `fhir`: `cut` takes whole discharge summaries and keeps what was known
    on admission; `keep` takes admission notes as they are, and leaves out those with a section of
    the stay."""
    splits: LocalPath | None = None
    """Folder of splits that `deepicd notes build` wrote, used as they are; None builds them."""
    split_seed: Seed = 1
    """Seed of the embedded corpus, of the splits and of the order of their rows. It is not `seed`,
    so that runs with other seeds learn from and are judged on the same notes."""
    num_notes: int = Field(default=6000, ge=100, le=10_000_000)
    """Admissions to generate for `embedded`."""
    num_codes: int = Field(default=51, ge=0)
    """Principal diagnoses of `embedded`: the first ones in authored order; 0 takes all."""
    difficulty: float = Field(default=0.5, ge=0, le=1)
    """Gaps and noise in the notes of `embedded`: 0 documents all, 0.5 is as authored, 1 hard."""
    split_shares: tuple[float, float, float, float] = (0.6, 0.1, 0.2, 0.1)
    """Shares of patients in train, validation, test and promotion; must sum to 1."""
    max_prompt_tokens: int = Field(default=2048, ge=16)
    """Longest prompt in tokens, prefill included."""
    overlong: Literal["truncate", "filter"] = "truncate"
    """A note with a longer prompt loses words, the least important sections first, or is left out;
    the same in training, evaluation and serving."""
    curriculum: str = ""
    """Order of the training notes: a column of the split, or `length`; `-` in front reverses it.
    Empty: shuffled by seed and epoch."""
    num_validation: int = Field(default=0, ge=0)
    """Validation notes used inside trials (the first ones of the split); 0 uses all."""

    @property
    def place(self) -> LocalPath | None:
        """The folder or file that notes are read from; None for `embedded`."""
        return {"table": self.file, "embedded": None}.get(self.source, self.root)

    def contradictions(self) -> Iterator[Contradiction]:
        """Shares that do not make a whole, a source that is not named."""
        shares = self.split_shares
        # In floating point 0.6 + 0.1 + 0.2 + 0.1 is not 1.
        if not math.isclose(sum(shares), 1.0, abs_tol=1e-6) or min(shares) <= 0:
            why = f"split_shares must be above 0 and sum to 1; got {shares}; change them"
            yield ("split_shares",), why
        if self.source != "embedded" and self.place is None and self.splits is None:
            yield (("source",), _PLACES[self.source])


_PLACES = {
    "mimic": "source 'mimic' needs data.root or data.splits; name the folder that holds note/ and "
    "hosp/, or that of an earlier build",
    "table": "source 'table' needs data.file or data.splits; name the CSV, JSON lines or Parquet "
    "file of the notes, or the folder of an earlier build",
    "fhir": "source 'fhir' needs data.root or data.splits; name the folder of the NDJSON files, or "
    "that of an earlier build",
}


_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "mimic": ("root",),
    "table": ("file", "columns", "sections"),
    "fhir": ("root", "sections"),
}
"""Source → options of it."""


_NAMED = {
    "mimic": "name the folder that holds note/ and hosp/",
    "table": "name the CSV, JSON lines or Parquet file of the notes",
    "fhir": "name the folder of the NDJSON files",
}
"""Source → what its place is."""


def options_of_source(source: str, **options: Path | str | None) -> dict[str, Any]:
    """Options of `deepicd notes build` as a table for `DataConfig`; None and "" are not given.

    Raises:
        ConfigError: an option belongs to another source, the place of the notes is not given, or
            columns are not written as such.
    """
    given = {name: value for name, value in options.items() if value}
    if wrong := [name for name in given if name not in _OPTIONS.get(source, ())]:
        others = ", ".join(other for other, names in _OPTIONS.items() if wrong[0] in names)
        raise ConfigError(
            f"--{wrong[0]} would change nothing with --source {source}: it belongs to {others}; "
            "leave it out, or name that source"
        )
    table: dict[str, Any] = {"source": source, **{name: str(given[name]) for name in given}}
    if "columns" in given:
        table["columns"] = _parse_columns(table["columns"])
    place = "file" if source == "table" else "root"
    if place in _OPTIONS.get(source, ()) and place not in given:
        raise ConfigError(f"--source {source} needs --{place}; {_NAMED[source]}")
    return table


def _parse_columns(text: str) -> dict[str, str]:
    """`note=TEXT,patient=SUBJECT` → what is read and the name of its column.

    Raises:
        ConfigError: it is not written so, or something is named twice.
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        role, sign, column = (word.strip() for word in part.partition("="))
        if not sign or not role or not column:
            raise ConfigError(
                "columns are written WHAT=COLUMN, with commas between, such as "
                f"note=text,patient=subject_id; got {part[:60]!r}. Correct it."
            )
        if role in columns:
            raise ConfigError(
                f"each column is named once; {role} is {columns[role]!r} and {column!r}. "
                "Leave one out."
            )
        columns[role] = column
    return columns
