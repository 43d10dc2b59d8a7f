"""An identifier of a note, patient or admission, from anywhere → text, or why it is none.

In: a value as a file, a table or a request holds it. Out: its text without blanks around it.
Decided here, once for every door: an id is text of one line or a whole number. What tools write
where there is none (null, NaN, `None`) would make many patients one; a fraction (`20001.0`,
`1.0E7`) went through a floating-point column, which makes long ids equal. Both are refused. A
refusal says what the value is and never repeats it: it might be text of a note.
"""

import re
from typing import Any

MAX_LENGTH = 128
"""Characters of the longest id; a longer text is no id but another column."""
MISSING_WORDS = frozenset(
    ("", "nan", "none", "null", "na", "n/a", "<na>", "nat", "inf", "-inf", "infinity", "undefined")
)
"""What tools write, in lower case, where there is no id."""
FLOAT = r"^[+-]?((\d+\.\d*|\.\d+)([eE][+-]?\d+)?|\d+[eE][+-]\d+)$"
"""With a point, or a signed exponent: `12e4` may be an id of hexadecimal digits."""
CONTROL = "[\x00-\x1f\x7f-\x9f\u2028\u2029]"
"""Line ends, tabs and other characters that no id holds."""

_KINDS = {type(None): "null", float: "a fraction or NaN", bool: "true or false"}


def parse_id(value: Any) -> str:
    """An id as text.

    Raises:
        ValueError: it is none; says what it is instead, to stand behind the name of its field.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        what = _KINDS.get(type(value)) or f"of type {type(value).__name__}"
        raise ValueError(f"must be text or a whole number; it is {what}")
    text = value.strip()
    if what := _fault(text):
        raise ValueError(f"must be text or a whole number; it is {what}")
    return text


def _fault(text: str) -> str:
    if text.lower() in MISSING_WORDS:
        return "nothing or a word for it"
    if re.match(FLOAT, text, re.ASCII):
        return "written as a fraction (such as 20001.0 or 1.0E7)"
    if len(text) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters"
    if re.search(CONTROL, text):
        return "of several lines or holds a tab"
    # JSON may hold half of a character, which no file and no database takes.
    return "no text" if any("\ud800" <= letter <= "\udfff" for letter in text) else ""
