"""Columns of ids in tables that come in: typed once, and refused where a value is no id.

In: Arrow tables of trimmed text with the number of each row (`ROW`). Out: nothing, or a refusal
that names the column and the row. Decided here: `identifiers` says what an id is; a column of
floating-point numbers holds none, whatever its values, since long ids have become equal in it.
No identifier is put into an error: MIMIC-IV is credentialed.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepicd.errors import DataError
from deepicd.identifiers import (
    CONTROL,
    FLOAT,
    INVISIBLE,
    LOST,
    MAX_LENGTH,
    MISSING_WORDS,
    is_word_for_nothing,
    parse_id,
)

ROW = "row_in_table"
"""Column with the number of a row in its table: 1 is the first one below the header."""

_MISSING = pa.array(sorted(MISSING_WORDS))


def check_types(types: Mapping[str, pa.DataType], names: Sequence[str], path: Path) -> None:
    """Raise DataError where a column of ids is of a type that holds none."""
    for name in names:
        kind = types[name]
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or _is_other_text(kind)):
            raise DataError(
                f"{path}: column {name} must hold ids as text or whole numbers; it is of type "
                f"{kind}, in which long ids become equal. Export it as text."
            )


def check_ids(table: pa.Table, names: Sequence[str], path: Path) -> None:
    """Raise DataError at the first value that is no id."""
    for name in names:
        found = pc.index(pc.or_(is_missing(table[name]), is_malformed(table[name])), True).as_py()
        if found >= 0:
            row = table[ROW][found].as_py()
            raise DataError(
                f"{path}, row {row:,}: {name} {_explain(table[name][found].as_py())}. Remove the "
                "row, or export the table again with its ids as text."
            )


def check_unique(
    table: pa.Table, name: str, path: Path, *, rule: str, seen: set[str] | None = None
) -> None:
    """Raise DataError where an id stands twice, also in pieces before: `seen` keeps their ids.

    `rule` says what has one row, such as `a patient has one row`.
    """
    known = set[str]() if seen is None else seen
    for value, row in zip(table[name].to_pylist(), table[ROW].to_pylist(), strict=True):
        if value in known:
            raise DataError(
                f"{path}, row {row:,}: {name} stood in an earlier row; {rule}. Remove the "
                "duplicate rows, or export the table again."
            )
        known.add(value)


def drop_missing(values: Any) -> Any:
    """Null where an id may be missing and is."""
    return pc.if_else(is_missing(values), pa.scalar(None, pa.string()), values)


def trim_ids(values: Any) -> Any:
    """Ids as `parse_id` gives them: no blanks around, accents in one form."""
    # Nearly all tables are ASCII, which has neither.
    if not pc.all(pc.string_is_ascii(values)).as_py():
        values = pc.replace_substring_regex(values, INVISIBLE, "")
        values = pc.utf8_normalize(values, form="NFC")
    return pc.utf8_trim_whitespace(values)


def is_missing(values: Any) -> Any:
    """Whether each trimmed value is null, blank, or stands for no id."""
    filled = pc.fill_null(values, "")
    is_word = pc.is_in(pc.utf8_lower(filled), _MISSING)
    is_odd = pc.invert(pc.match_substring_regex(filled, "[A-Za-z0-9]"))
    # Python knows the letters of every script; few ids are without one of ASCII.
    odd = filter(is_word_for_nothing, pc.unique(filled.filter(is_odd)).to_pylist())
    return pc.or_(is_word, pc.is_in(filled, pa.array(odd, pa.string())))


def is_malformed(values: Any) -> Any:
    """Whether each value, which is not missing, cannot be an id."""
    filled = pc.fill_null(values, "")
    return reduce(
        pc.or_,
        (
            pc.match_substring(filled, LOST),
            pc.match_substring_regex(filled, FLOAT),
            pc.match_substring_regex(filled, CONTROL),
            pc.greater(pc.utf8_length(filled), MAX_LENGTH),
        ),
    )


def _explain(value: str | None) -> str:
    try:
        parse_id(value)
    except ValueError as error:
        return str(error)
    return "is no id"


def _is_other_text(kind: pa.DataType) -> bool:
    is_whole = pa.types.is_decimal(kind) and kind.scale == 0
    is_coded = pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type)
    return bool(is_whole or is_coded or pa.types.is_large_string(kind) or pa.types.is_null(kind))
