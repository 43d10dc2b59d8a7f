"""Years in MIMIC-IV's short tables: refused where a value is none.

In: a block of a table, trimmed, with the number of each row. Out: nothing, or a refusal that names
column and row. Decided here: a value may be missing, and then an age is unknown; a value that is
there is what its column says. A date in another form (`03/01/2189`) has no year at its beginning,
so an age would silently be that of another year.

No value of a row is put into an error: MIMIC-IV is credentialed.
"""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deepicd.errors import DataError
from deepicd.identifiers import NO_VALUES
from deepicd.notes.id_columns import ROW

AGE = re.compile(r"\d{1,2}|1[0-2]\d|130", re.ASCII)
YEAR = re.compile(r"\d{4}", re.ASCII)
"""Whole texts that are an age in years, and a year."""

_RULES = {
    "anchor_age": (AGE.pattern, "be a number of years from 0 to 130"),
    "anchor_year": (YEAR.pattern, "be a year of four digits, such as 2180"),
    "admittime": (r"\d{4}-.*", "begin with its year, such as 2180-05-06 22:23:00"),
}
_MISSING = pa.array(sorted(NO_VALUES))


def check_years(block: pa.Table, path: Path) -> None:
    """Raise DataError at the first value that is there and none."""
    for name, (pattern, rule) in _RULES.items():
        if name not in block.column_names:
            continue
        values = pc.fill_null(block[name], "")
        is_sound = pc.or_(
            pc.match_substring_regex(values, f"^(?:{pattern})$"),
            pc.is_in(pc.utf8_lower(values), _MISSING),
        )
        found = pc.index(is_sound, False).as_py()
        if found >= 0:
            raise DataError(
                f"{path}, row {block[ROW][found].as_py():,}: {name} must {rule}; this value does "
                "not. Export the table again, or leave the value empty."
            )
