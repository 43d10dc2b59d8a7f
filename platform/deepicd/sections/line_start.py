"""The header at the beginning of a line.

In: the shape of a line. Out: `Start`: the header that opens the line, or what the known words of a
line say that is only written like a header. Decided here: a header ends at a colon, a dash, a full
stop, a wide blank or the end of the line; without any of these it has to be written like a title,
or values have to follow. Whether it counts where it stands is decided by the reader. Pure.
"""

import re
from functools import lru_cache

from deepicd.sections.header_match import (
    COLON,
    FIRST,
    GOES_ON,
    KEPT,
    LATE,
    MAX_HEADER,
    MEASURE,
    SOURCE,
    TRAIL,
    WORD,
    HeaderMatch,
    Start,
    has_late,
    read_header,
    style_of,
)
from deepicd.sections.headers import Header, read_phrase
from deepicd.sections.lexicon import load_lexicon, rank_word

_MAX_CACHED = 72
_MAX_UNKNOWN = 61
_NOT_PROSE = re.compile(r"[:\t(\[]")
_MARKS = ",.;()[]\"'*_#"
_SIGN = re.compile(r"[:;=|>\t.-]|\s{3}")
_LETTER = re.compile(r"[A-Za-z]")
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


def _is_prose(line: str) -> bool:
    """Whether a line begins with words that no header has: most text, told at little cost."""
    if not line[0].isalpha() or _NOT_PROSE.search(line, 0, MAX_HEADER) or line.isupper():
        return False
    is_title = False
    for number, word in enumerate(line[:MAX_HEADER].split(" ", 8)[:8]):
        plain = word.strip(_MARKS)
        rank = rank_word(plain)
        # The first word that no header has settles it, unless what stood before may be a title in
        # front of its text ("Chest Pain patient with …").
        if not rank and word:
            return not is_title and word[0].isalpha() and not has_late(line[:MAX_HEADER])
        is_high = number > 0 and word[:1].isupper()
        is_title |= is_high or plain != word or not word or "/" in word
    return False


def _read_start(line: str) -> Start:
    if not line or _is_prose(line):
        return _NO_START
    lead = _LEAD.match(line)
    begin = lead.end() if lead else 0
    if FIRST.match(line, begin) is None:
        return _NO_START
    # "E X A M": letters that stand apart would each be an unknown word below.
    if line[begin + 1 : begin + 2] == " " == line[begin + 3 : begin + 4]:
        return _spaced(line, begin)
    is_listed = bool(lead and (lead["list"].strip(" \t\"'[({<_=#>|")))
    ends = _known_run(line, begin)
    if ends:
        zone = _zone_of(line, begin, ends[-1])
        match = None
        # Without a sign inside the zone the slower look for one finds nothing.
        if zone == len(line) or _SIGN.search(line, begin, zone):
            match = _at_sign(line, begin, zone=zone, is_listed=is_listed)
        if match is None and _may_run_in(line, begin, ends):
            match = _run_in(line, begin, ends=ends, is_listed=is_listed)
        if match:
            return Start(match, None, match.style)
    return _unknown(line, begin)._replace(is_listed=is_listed)


def _known_run(line: str, begin: int) -> list[int]:
    """Ends of the words from the beginning on that may stand in a header."""
    ends: list[int] = []
    is_named = False
    for word in WORD.finditer(line, begin, begin + MAX_HEADER):
        rank = rank_word(word[0])
        if not rank:
            break
        is_named |= rank > 1
        ends.append(word.end())
    return ends if is_named else []


def _may_run_in(line: str, begin: int, ends: list[int]) -> bool:
    """Whether the known words could be a title: the second has a capital, or a time is late."""
    if len(ends) > 1 and line[ends[0] : ends[1]].lstrip()[:1].isupper():
        return True
    head = line[begin : ends[-1]]
    return "/" in head or has_late(head)


def _zone_of(line: str, begin: int, end: int) -> int:
    """Where a header must have ended: at the first unknown word, if none may be free."""
    limit = min(len(line), begin + MAX_HEADER)
    if "(" in line[begin:limit] or "[" in line[begin:limit] or SOURCE.search(line, begin, end):
        return limit
    word = _LETTER.search(line, end, limit)
    return word.start() if word else limit


_SPACED = re.compile(r"(?:[A-Za-z/] +){4,}[A-Za-z]\b")


def _spaced(line: str, begin: int) -> Start:
    """A header whose letters stand apart: "D I S C H A R G E  E X A M"."""
    spaced = _SPACED.match(line, begin)
    if spaced is None:
        return _NO_START
    head = " ".join(word.replace(" ", "") for word in re.split(r" {2,}", spaced[0]))
    header = read_header(head)
    match = header and HeaderMatch(
        header, "bare", style_of(head), begin, spaced.end(), is_listed=False
    )
    return Start(match, None, style_of(head)) if match else _NO_START


def _at_sign(line: str, begin: int, *, zone: int, is_listed: bool) -> HeaderMatch | None:
    """A header that a sign or the end of the line ends."""
    colon = COLON.search(line, begin, min(len(line), zone + 1))
    if colon:
        head = line[begin : colon.start()]
        if header := read_header(head):
            return HeaderMatch(header, "colon", style_of(head), begin, colon.end(), is_listed)
    if zone == len(line):
        head = line[begin:].rstrip(TRAIL)
        if header := read_header(head):
            return HeaderMatch(header, "bare", style_of(head), begin, len(line), is_listed)
    best, is_blank = None, True
    for sign in _SEPARATOR.finditer(line, begin):
        if sign.start() > zone:
            break
        head = line[begin : sign.start()]
        style = style_of(head)
        # A full stop behind a plain phrase ends a sentence, and no header stands behind that.
        if "." in sign[0] and style in ("lower", "sentence") and len(head) > 5:
            break
        header = read_header(head)
        if header and (best is None or is_blank or (header.time and not best.header.time)):
            # Of several signs the first visible one counts, unless a later one adds the time.
            is_blank = not sign[0].strip()  # a tab may stand inside of a header
            best = HeaderMatch(header, "mark", style, begin, sign.end(), is_listed)
    return best


def _run_in(line: str, begin: int, *, ends: list[int], is_listed: bool) -> HeaderMatch | None:
    """A header whose text follows without a sign: the longest that could be one."""
    for end in reversed(ends[:7]):
        head = line[begin:end]
        # Text that runs in behind a small letter is prose, except where a late word may be hidden.
        if not (head[0].isupper() or has_late(head)):
            return None
        header = read_header(head)
        if header is None:
            continue
        style, after = style_of(head), line[end:]
        is_measured = MEASURE.match(after) is not None
        if _is_run_in(header, style, head=head, after=after, is_measured=is_measured):
            return HeaderMatch(header, "run_in", style, begin, end, is_listed, is_measured)
    return None


def _is_run_in(header: Header, style: str, *, head: str, after: str, is_measured: bool) -> bool:
    next_word = FIRST.search(after)
    is_prose = bool(next_word and next_word[0] in load_lexicon().words["after"])
    num_words = len(head.split())
    # "Exam on" is the beginning of something longer, whose other words are unknown.
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


def _unknown(line: str, begin: int) -> Start:
    """What a line says that is written like a header and has unknown words."""
    if not line[begin].isupper():
        return _NO_START
    colon = COLON.search(line, begin, begin + _MAX_UNKNOWN)
    if colon:
        head = line[begin : colon.start()]
    else:
        head = line[begin : begin + MAX_HEADER].rstrip(TRAIL)
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
