"""Rows of any source → blocks of a few rows, every value a text: what the cutter takes.

In: rows as dicts of `ROLES`. Out: Arrow tables of `BLOCK`. Decided here: blanks around a value go,
and a tool's word for nothing (`NaN`, `NULL`) is nothing; an age is a number of years; an order is a
key that compares as text (`order`). A block ends by rows or by text, so that memory is bounded
either way.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepicd.errors import DataError
from deepicd.identifiers import NO_VALUES
from deepicd.notes.id_columns import is_missing, trim_ids
from deepicd.notes.table.order import OrderReader

ROLES = (
    *("note", "patient", "admission", "code", "id", "order"),
    *("sex", "race", "age", "insurance"),
    "reason",
)
"""What is known of a note; `reason` says why the source already leaves it out."""
BLOCK = pa.schema([(role, pa.string()) for role in ROLES])
BLOCK_ROWS = 1024
_BLOCK_CHARACTERS = 4 << 20
_IDS = ("patient", "admission", "id")
_NO_VALUES = pa.array(sorted(NO_VALUES))
_YEARS = r"^[>≥]?\s*(?P<years>\d{1,3})(?:\.\d+)?\s*\+?$"
_MAX_YEARS = 130

Row = Mapping[str, str | None]


def gather(rows: Iterable[tuple[str, Row]]) -> Iterator[pa.Table]:
    """Blocks of `BLOCK`.

    Args:
        rows: place of each row for messages, and its values; a role that is not there is null.

    Raises:
        DataError: an age is no number of years, or an order none; names the row.
    """
    orders = OrderReader()
    places: list[str] = []
    held: list[Row] = []
    size = 0
    for place, row in rows:
        places.append(place)
        held.append(row)
        size += len(row.get("note") or "")
        if len(held) == BLOCK_ROWS or size > _BLOCK_CHARACTERS:
            yield _block(held, places, orders)
            places, held, size = [], [], 0
    if held:
        yield _block(held, places, orders)


def _block(rows: list[Row], places: list[str], orders: OrderReader) -> pa.Table:
    columns = {role: pa.array([row.get(role) for row in rows], pa.string()) for role in ROLES}
    return tidy(pa.table(columns), lambda row: places[row], orders)


def tidy(block: pa.Table, place_of: Callable[[int], str], orders: OrderReader) -> pa.Table:
    """A block of raw values, tidied.

    Args:
        block: `ROLES` as the source has them.
        place_of: row in the block → place for messages.
        orders: one for all blocks of a source.

    Raises:
        DataError: as `gather`.
    """
    columns = {role: _trim(block[role], role) for role in ROLES if role != "note"}
    columns["age"] = _years(columns["age"], place_of)
    keys = orders.read(columns["order"].to_pylist(), place_of)
    columns["order"] = pa.array([key or None for key in keys], pa.string())
    # CRLF and LF are one: a table and its export to another form give the same notes.
    columns["note"] = pc.replace_substring(block["note"].cast(pa.string()), "\r\n", "\n")
    return pa.table({role: columns[role] for role in ROLES}).cast(BLOCK)


def _trim(values: Any, role: str) -> Any:
    trimmed = trim_ids(values.cast(pa.string()))
    is_none = pc.is_in(pc.utf8_lower(pc.fill_null(trimmed, "")), _NO_VALUES)
    if role in _IDS:
        is_none = is_missing(trimmed)
    return pc.if_else(is_none, pa.scalar(None, pa.string()), trimmed)


def _years(ages: Any, place_of: Callable[[int], str]) -> Any:
    """Whole years as text. Raises DataError for what is no age."""
    years = pc.struct_field(pc.extract_regex(ages, _YEARS), "years")
    is_old = pc.greater(pc.cast(years, pa.int64()), _MAX_YEARS)
    is_wrong = pc.or_(pc.and_(pc.is_valid(ages), pc.is_null(years)), pc.fill_null(is_old, False))
    wrong = pc.indices_nonzero(is_wrong).to_pylist()
    if wrong:
        raise DataError(
            f"{place_of(wrong[0])}: an age is a number of years from 0 to {_MAX_YEARS}, such as "
            "67; this value is none. Correct it, or leave the column age out."
        )
    return years
