"""An identifier of a note, patient or admission, from anywhere → text, or why it is none.

In: a value as a file, a table or a request holds it. Out: its text without blanks around it and
without characters that nobody sees, an accent in one form (NFC): either would make one patient two.
Decided here, once for every door: an id is text of one line or a whole number. What stands where
there is none (null, NaN, `unknown`, `#N/A`, `-`, MIMIC's `___`) would make many patients one; a
fraction (`20001.0`, `1.0E7`) went through a floating-point column, which makes long ids equal, and
U+FFFD stands for a letter that was lost. All are refused. A refusal says what the value is and
never repeats it: it might be text of a note.
"""

import re
from typing import Any
from unicodedata import normalize

MAX_LENGTH = 128
"""Characters of the longest id; a longer text is no id but another column."""
NO_VALUES = frozenset((
    *("", "nan", "none", "null", "nil", "na", "n/a", "n.a.", "<na>", "nat", "undefined"),
    *("inf", "-inf", "+inf", "infinity", "-infinity", "-nan", "+nan", r"\n"),
    *("(null)", "[null]", "<null>", "(none)", "<none>", "(blank)", "(empty)"),
    *("1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "1.#inf", "-1.#inf", "1.#snan", "-1.#snan"),
    *("#n/a", "#n/a n/a", "#na", "#ref!", "#value!", "#name?", "#null!", "#num!", "#div/0!"),
))  # fmt: skip
"""What tools write, in lower case, where there is no value."""
MISSING_WORDS = NO_VALUES | {
    *("unknown", "unk", "missing", "not available", "not applicable", "not known", "unspecified"),
    *("anonymous", "blank", "empty", "(unknown)", "(missing)", "<unknown>", "<missing>"),
}
"""What stands where there is no id; of sex or race some are groups."""
INVISIBLE = (
    "[\xad\u0600-\u0605\u061c\u06dd\u070f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u206f\ufeff\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f]"
)
"""Characters of the category Cf, which are drawn as nothing: they are dropped."""
LOST = "\ufffd"
"""Stands where a decoder met bytes that are no text."""
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
    text = normalize("NFC", re.sub(INVISIBLE, "", value)).strip()
    if what := _fault(text):
        raise ValueError(f"must be text or a whole number; it is {what}")
    return text


def is_word_for_nothing(text: str) -> bool:
    """Whether a trimmed text stands for no id: a word for it, or neither letter nor digit."""
    return text.lower() in MISSING_WORDS or not any(map(str.isalnum, text))


def _fault(text: str) -> str:
    if LOST in text:
        return "broken: a letter of it was lost, because its file is not UTF-8"
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "no text"  # JSON may hold half of a character, which no file and no database takes.
    if is_word_for_nothing(text):
        return "nothing or a word for it"
    if re.match(FLOAT, text, re.ASCII):
        return "written as a fraction (such as 20001.0 or 1.0E7)"
    if len(text) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters"
    return "of several lines or holds a tab" if re.search(CONTROL, text) else ""
