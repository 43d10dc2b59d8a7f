"""What says which note of an admission is the first → keys that compare as text.

In: values of the column `order` as text. Out: keys; a smaller one is earlier, equal values have
equal keys. Decided here: a value is a number, or a date or time as ISO 8601 writes it; a column
holds one of the four kinds (`_KINDS`). Anything else is refused with its row: `12/1/2019` is
December to some and January to others, `1,000` is a thousand or one, and a time without a zone is
not comparable with one that has it. Numbers of any length are compared exactly.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from deepicd.errors import DataError

_MAX_DIGITS = 99
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?P<clock>\d\d:\d\d(?::\d\d)?)(?:[.,](?P<part>\d{1,12}))?"
    r" ?(?P<zone>Z|UTC|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_COMPLEMENT = str.maketrans("0123456789", "9876543210")
_KINDS = {
    "number": "a number",
    "date": "a date",
    "time": "a time without a zone",
    "zoned": "a time with a zone",
}


class OrderReader:
    """Reads the orders of one source, block after block; remembers of what kind they are."""

    def __init__(self) -> None:
        self._kind = ""

    def read(self, orders: Sequence[str | None], place_of: Callable[[int], str]) -> list[str]:
        """Keys of a block; of null an empty one.

        Args:
            orders: trimmed values.
            place_of: row in the block → place for messages.

        Raises:
            DataError: a value is neither a number nor a time, or not of the kind of those before.
        """
        keys = []
        for row, order in enumerate(orders):
            kind, key = _read_order(order) if order else (self._kind, "")
            if not kind and order:
                raise DataError(
                    f"{place_of(row)}: order must be a number such as 7 or 7.5, or a date or time "
                    "of ISO 8601 such as 2180-01-31 or 2180-01-31 09:00; it is neither. Write the "
                    "whole column so, or name another one: --columns order=COLUMN"
                )
            self._kind = self._kind or kind
            if kind != self._kind:
                raise DataError(
                    f"{place_of(row)}: order is {_KINDS[kind]}, and {_KINDS[self._kind]} in the "
                    "rows before, so they cannot be compared. Write the column in one form."
                )
            keys.append(key)
        return keys


def _read_order(order: str) -> tuple[str, str]:
    """Kind and key of a value; two empty texts where it is neither number nor time."""
    if len(order) <= _MAX_DIGITS and _NUMBER.fullmatch(order):
        return "number", number_key(Decimal(order))
    match = _TIME.fullmatch(order)
    return _time_key(match) if match else ("", "")


def number_key(number: Decimal) -> str:
    """A text that compares as the number does, to its last digit."""
    whole, _, part = f"{abs(number):f}".partition(".")
    whole, part = whole.lstrip("0"), part.rstrip("0")
    # The number of digits stands first, so that a longer number is a greater text.
    key = f"{len(whole):04}{whole}" + (f".{part}" if part else "")
    if number >= 0:
        return f"1{key}"
    # "~" stands behind every digit: of negative numbers the one with more digits is the smaller.
    return f"0{key.translate(_COMPLEMENT)}~"


def _time_key(match: re.Match[str]) -> tuple[str, str]:
    date, clock, zone = match["date"], match["clock"] or "00:00", (match["zone"] or "").upper()
    try:
        time = datetime.fromisoformat(f"{date}T{clock}{'Z' if zone == 'UTC' else zone}")
        key = (time.astimezone(UTC) if zone else time).replace(tzinfo=None).isoformat()
    except (ValueError, OverflowError):
        return "", ""
    # Apart from the seconds: `datetime` keeps six digits, Parquet has nine.
    part = (match["part"] or "").rstrip("0")
    kind = "zoned" if zone else "time" if match["clock"] else "date"
    return kind, f"{key}.{part}" if part else key
