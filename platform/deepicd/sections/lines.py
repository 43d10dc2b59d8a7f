"""Text as it comes in → lines whose marks are plain, so that headers are looked for in one shape.

In: the text of a note. Out: its lines, each as written and as a shape of the same length. Decided
here: what nobody sees (byte-order marks, zero-width characters) and tags of HTML are taken out of
the text; blanks, dashes, colons, bullets, brackets and full-width letters become their ASCII
fellows in the shape only, and so do letters with an accent and an arrow behind a word. A text of
ASCII alone is its own shape. Pure.
"""

import re
import unicodedata
from functools import cache, lru_cache

_INVISIBLE = (
    *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10), 0, 0xAD, 0x34F, 0x61C, 0x180E, 0xFEFF,
)  # fmt: skip
_LOOKS = {
    ":": "\uff1a\ufe55\ufe13\u2236\u02d0\ua789\u05c3\u0589\u2237\u02f8",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043\ufe58\ufe63\uff0d\u2500\u2501\u2e3a",
    "*": "\u2022\u2023\u25e6\u2219\u25aa\u25ab\u25a0\u25a1\u25cf\u25cb"
    "\u25ba\u25b6\u27a2\u27a4\u2713\u2714\u2605\u2606\u00b7\u2217"
    "\u2726\u2756\u25c6\u25c7\uf0b7\uf0a7\u204e",
    "=": "\u2550\u2261",
    "|": "\u2502\u2503\u2551\u00a6\uff5c",
    "[": "\u3010\u3014\u27e6\uff3b",
    "]": "\u3011\u3015\u27e7\uff3d",
    "'": "\u2018\u2019\u201a\u2032\u00b4\u02bc\uff07",
    '"': "\u201c\u201d\u201e\u00ab\u00bb\u2033\uff02",
    "/": "\u2044\u2215\uff0f",
    "_": "\uff3f\u2581",
    " ": "\u00a0\u1680\u202f\u205f\u3000\u2007\u2800" + "".join(map(chr, range(0x2000, 0x200B))),
}
_ARROWS = "\u2192\u21d2\u2794\u2799\u279c\u279d\u279e\u27a1\u27f6\u27f9"
_LOOKS["*"] += _ARROWS
_SHAPES = {ord(mark): plain for plain, marks in _LOOKS.items() for mark in marks}
_SHAPES |= {
    code: plain
    for code in [*range(0xFF01, 0xFF5F), *range(0x1D400, 0x1D7FF)]
    if code not in _SHAPES and len(plain := unicodedata.normalize("NFKC", chr(code))) == 1
}
# `translate` asks its table for every character, and nearly all of a text is ASCII.
_UNSEEN = re.compile(f"[{re.escape(''.join(map(chr, _INVISIBLE)))}]")
_NOT_ASCII = re.compile(r"[^\0-\x7f]+")
_ARROW = re.compile(rf"(?<=[^\W\d_])([)\]]?[ \t\u00a0]?)[{_ARROWS}]")
"""Behind a word an arrow is a colon ("Hospital Course \u2192"); at the beginning a bullet."""
_COMBINING = re.compile("[\u0300-\u036f]")
_TAG = re.compile(
    r"</?(?:b|i|u|p|h[1-6]|strong|em|div|span|li|ul|ol|br|hr|td|tr|th|table|font)\b[^<>]{0,80}>",
    re.IGNORECASE,
)
_BREAKING = re.compile(r"</?(?:p|h|div|li|ul|ol|br|hr|tr|td|table)", re.IGNORECASE)


def clean_text(text: str) -> str:
    """The text without what nobody sees: the one spelling that goes on."""
    if not text.isascii():
        text = _UNSEEN.sub("", text)
        if _COMBINING.search(text):
            # A mark that belongs to no letter is left over, and nothing is read into it.
            text = _COMBINING.sub("", unicodedata.normalize("NFC", text))
    elif "\0" in text:
        text = text.replace("\0", "")
    if "<" in text:
        text = _TAG.sub(lambda tag: "\n" if _BREAKING.match(tag[0]) else "", text)
    if "&nbsp;" in text:
        text = text.replace("&nbsp;", " ")
    # Some exports write line ends as two characters; a real line end shows that this one does not.
    if "\\n" in text and "\n" not in text:
        text = text.replace("\\r", "").replace("\\n", "\n")
    return text


def shape_of(text: str) -> str:
    """The text with plain marks, character by character."""
    # Character by character, so that an index into the shape is one into the text.
    if text.isascii():
        return text
    if any(arrow in text for arrow in _ARROWS):
        text = _ARROW.sub(r"\1:", text)
    return _NOT_ASCII.sub(_plain, text)


def _plain(marks: re.Match[str]) -> str:
    return _plain_run(marks[0])


@lru_cache(maxsize=1 << 12)
def _plain_run(marks: str) -> str:
    return "".join(map(_base_of, marks.translate(_SHAPES)))


@cache
def _base_of(letter: str) -> str:
    """A letter without its accent; anything else as it is."""
    parts = unicodedata.normalize("NFD", letter)
    is_accented = parts[0].isascii() and all(map(unicodedata.combining, parts[1:]))
    return parts[0] if is_accented else letter


def split_lines(text: str) -> tuple[list[str], list[str]]:
    """The lines of a text and their shapes, as many; any of Unicode's line ends counts."""
    text = clean_text(text)
    lines = text.splitlines()
    # No mark is a line end or becomes one, so the shape of a text has the text's lines.
    return lines, (lines if text.isascii() else shape_of(text).splitlines())
