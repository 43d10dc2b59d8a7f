"""The header at the beginning of a line.

In: the shape of a line. Out: `Start`: the header that opens the line, or what the known words of a
line say that is only written like a header. Decided here: a header ends at a colon, a dash, a full
stop, a wide blank or the end of the line; without any of these it has to be written like a title,
or values have to follow. Whether it counts where it stands is decided by the reader. Pure.
"""

import re
from functools import lru_cache

from deepicd.sections.found import (
    COLON,
    FIRST,
    GOES_ON,
    KEPT,
    LATE,
    MAX_HEADER,
    MEASURE,
    TRAIL,
    WORD,
    Found,
    Start,
    is_first,
    read_header,
    style_of,
)
from deepicd.sections.headers import Header, read_phrase
from deepicd.sections.lexicon import load_lexicon

_MAX_CACHED = 72
_LEAD = re.compile(
    r"(?P<list>[\s>|*#=_~+.,;:\"'\[\](){}<\\/-]*(?:\(?(?:\d{1,2}|[ivxIVX]{1,4}|[A-Za-z])[.)]\s+)?)"
    r"[\s*#=_~\"'\[({<-]*"
)
_SEPARATOR = re.compile(
    r"\s*[\])}]?(?:\s-+|--+|[;=|>]+|\.(?=\s|$)|\t+|\s{3,})(?:\s*[-=*>|\])]+(?=\s|$))*\s*"
)
_NO_START = Start(None, None, "")


def read_start(line: str) -> Start:
    """The header at the beginning of a line; `phrase` where it looks like one and is unknown."""
    return _read_short(line) if len(line) <= _MAX_CACHED else _read_start(line)


@lru_cache(maxsize=1 << 14)
def _read_short(line: str) -> Start:
    """Lines that are headers come again in every note; a cache of lines stays small."""
    return _read_start(line)


def _read_start(line: str) -> Start:
    lead = _LEAD.match(line)
    begin = lead.end() if lead else 0
    first = FIRST.match(line, begin)
    if first is None:
        return _NO_START
    if line[begin + 1 : begin + 2] == " " == line[begin + 3 : begin + 4]:
        return _spaced(line, begin)
    is_listed = bool(lead and (lead["list"].strip(" \t\"'[({<_=#>|")))
    colon = COLON.search(line, begin, begin + MAX_HEADER)
    if is_first(first[0]):
        found = _at_sign(line, begin, colon=colon, is_listed=is_listed) or _run_in(
            line, begin, is_listed=is_listed
        )
        if found:
            return Start(found, None, found.style)
    return _unknown(line, begin, colon)._replace(is_listed=is_listed)


_SPACED = re.compile(r"(?:[A-Za-z/] +){4,}[A-Za-z]\b")


def _spaced(line: str, begin: int) -> Start:
    """A header whose letters stand apart: "D I S C H A R G E  E X A M"."""
    spaced = _SPACED.match(line, begin)
    if spaced is None:
        return _NO_START
    head = " ".join(word.replace(" ", "") for word in re.split(r" {2,}", spaced[0]))
    header = read_header(head)
    found = header and Found(header, "bare", style_of(head), begin, spaced.end(), is_listed=False)
    return Start(found, None, style_of(head)) if found else _NO_START


def _at_sign(
    line: str, begin: int, *, colon: re.Match[str] | None, is_listed: bool
) -> Found | None:
    """A header that a sign or the end of the line ends."""
    if colon:
        head = line[begin : colon.start()]
        if header := read_header(head):
            return Found(header, "colon", style_of(head), begin, colon.end(), is_listed)
    if len(line) - begin <= MAX_HEADER:
        head = line[begin:].rstrip(TRAIL)
        if header := read_header(head):
            return Found(header, "bare", style_of(head), begin, len(line), is_listed)
    best, is_blank = None, True
    for number, sign in enumerate(_SEPARATOR.finditer(line, begin, begin + MAX_HEADER)):
        head = line[begin : sign.start()]
        style = style_of(head)
        if number > 8 or ("." in sign[0] and style in ("lower", "sentence") and len(head) > 5):
            break
        header = read_header(head)
        if header and (best is None or is_blank or (header.time and not best.header.time)):
            is_blank = not sign[0].strip()  # a tab may stand inside of a header
            best = Found(header, "mark", style, begin, sign.end(), is_listed)
    return best


def _run_in(line: str, begin: int, *, is_listed: bool) -> Found | None:
    """A header whose text follows without a sign: the longest that could be one."""
    ends = [word.end() for word in WORD.finditer(line, begin, begin + MAX_HEADER)][:7]
    for end in reversed(ends):
        head = line[begin:end]
        header = read_header(head)
        if header is None:
            continue
        style, after = style_of(head), line[end:]
        is_measured = MEASURE.match(after) is not None
        if _is_run_in(header, style, head=head, after=after, is_measured=is_measured):
            return Found(header, "run_in", style, begin, end, is_listed, is_measured)
    return None


def _is_run_in(header: Header, style: str, *, head: str, after: str, is_measured: bool) -> bool:
    next_word = FIRST.search(after)
    is_prose = bool(next_word and next_word[0] in load_lexicon().words["after"])
    num_words = len(head.split())
    if head.rpartition(" ")[2].lower() in load_lexicon().words["small"]:
        return False
    is_late = header.time in LATE or not KEPT.issuperset(header.topics)
    if not header.topics:
        return header.time in ("discharge", "death") and header.has_preposition and not is_prose
    if num_words < 2 and "/" not in head:
        return False
    if style == "upper":
        return True
    if header.time in ("discharge", "death"):
        return style in ("title", "sentence") and (is_measured or not is_prose)
    begins_anew = after.lstrip(" ,(")[:1]
    is_new = begins_anew.isupper() or begins_anew.isdigit() or begins_anew == "_"
    return style == "title" and (is_measured or is_new) and not is_prose and (is_late or is_new)


def _unknown(line: str, begin: int, colon: re.Match[str] | None) -> Start:
    """What a line says that is written like a header and has unknown words."""
    if colon:
        head = line[begin : colon.start()]
    else:
        head = line[begin:].rstrip(TRAIL)
        if len(head) > 60 or "," in head or not head.isupper():
            return _NO_START
    if len(head) > 60 or len(head.split()) > 8 or not head[:1].isupper():
        return _NO_START
    phrase, style = read_phrase(head), style_of(head)
    if GOES_ON.intersection(head.lower().split()):
        return _NO_START
    if phrase.is_prose or phrase.header:
        return _NO_START
    return Start(None, phrase, style)
