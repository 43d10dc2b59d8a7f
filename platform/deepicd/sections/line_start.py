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
    MAX_CACHED,
    MAX_HEADER,
    MEASURE,
    SOURCE,
    TRAIL,
    TWO_CAPITALS,
    WORD,
    HeaderMatch,
    Start,
    has_late,
    read_header,
    style_of,
)
from deepicd.sections.headers import Header, read_phrase
from deepicd.sections.lexicon import (
    excused_prose,
    load_lexicon,
    rank_word,
    words_of,
    words_of_change,
)

_MAX_UNKNOWN = 61
_SHORT_TITLE = 3
_LONGER_THAN_MARK = 7
"""Characters of a word that is longer than the mark of a list ("viii.")."""
_NOT_PROSE = re.compile(r"[:\t(\[]")
_MARKS = ",.;()[]\"'*_#"
_SIGN = re.compile(r"[:;=|>\t.-]|\s{3}")
_ALNUM = re.compile(r"[A-Za-z0-9]")
_LETTER = re.compile(r"[A-Za-z]")
_LEAD = re.compile(
    r"(?P<list>[\s>|*#=_~+.,;:\"'\[\](){}<\\/-]*(?:\(?(?:\d{1,2}|[ivxIVX]{1,4}|[A-Za-z])[.)]\s+)?)"
    r"[\s*#=_~\"'\[({<-]*"
)
_SEPARATOR = re.compile(
    r"\s*[\])}]?(?:\s-+|--+|[;=|>]+|\.(?=\s|$)|\t+|\s{3,})(?:\s*[-=*>|\])]+(?=\s|$))*\s*"
)
_LETTER_ASKS = re.compile(
    r"\W{0,8}(?P<head>(?:what|why|how|when|where)\b[^.?:]{0,60}\b(?:you|your)\b[^.?:]{0,60}\?)\W*$",
    re.IGNORECASE,
)
"""How the letter to the patient heads its parts: "WHY WERE YOU ADMITTED TO THE HOSPITAL?"."""
_NO_START = Start(None, None, "")


def read_start(line: str) -> Start:
    """The header at the beginning of a line; `phrase` where it looks like one and is unknown."""
    if line.rstrip().endswith("?") and (asked := _LETTER_ASKS.match(line)):
        head = asked["head"]
        header = Header(("instructions",), "", has_preposition=False, num_words=len(head.split()))
        begin = asked.start("head")
        match = HeaderMatch(header, "bare", style_of(head), begin, len(line), is_listed=False)
        return Start(match, None, match.style)
    if not line or _is_text(line):
        return _NO_START
    return _change(_read(line), line)


def _change(start: Start, line: str) -> Start:
    """A header of medication whose text says that it was changed: "Home medications: changes"."""
    match = start.match
    if (
        match is None
        or match.form not in ("colon", "mark")
        or match.header.topics != ("medication",)
    ):
        return start
    rest = line[match.end :].strip(TRAIL)
    if not rest or len(rest) > _MAX_UNKNOWN or not words_of_change().issuperset(words_of(rest)):
        return start
    header = match.header._replace(time="changed")
    return start._replace(match=match._replace(header=header))


def _read(line: str) -> Start:
    colon = line.find(":", 0, _MAX_UNKNOWN)
    if colon >= 0:
        # Captions come again in every note, and what stands behind them does not.
        behind = _ALNUM.search(line, colon)
        start, is_settled = _read_caption(line[: behind.end()] if behind else line)
        if behind is None or (is_settled and (start.match or not _has_brackets(line))):
            return start
    return _read_short(line) if len(line) <= MAX_CACHED else _read_start(line)


def is_plain(line: str) -> bool:
    """Whether a line is text without any header, told at little cost: most lines."""
    if (
        line.endswith("?")
        or not line[:1].isalpha()
        or ":" in line
        or has_late(line)
        or TWO_CAPITALS.search(line)
    ):
        return False
    # The look of `_is_text` without the colon, which is not there.
    if _begins_text(line.partition(" ")[0]) and not line[:_MAX_UNKNOWN].isupper():
        return True
    return _begins_prose(line)


@lru_cache(maxsize=1 << 14)
def _read_short(line: str) -> Start:
    """Lines that are headers come again in every note; a cache of lines stays small."""
    return _read_start(line)


@lru_cache(maxsize=1 << 14)
def _read_caption(line: str) -> tuple[Start, bool]:
    """A line up to the first letter or number behind a colon, and whether the rest says no more."""
    start, colon = _read_start(line), line.find(":")
    if start.match:
        return start, start.match.form == "colon"
    # An unknown word before the colon ends the look for a header, unless brackets or a source
    # excuse it.
    lead = _LEAD.match(line)
    words = WORD.finditer(line, lead.end() if lead else 0, colon)
    is_unknown = bool(COLON.match(line, colon)) and any(not rank_word(word[0]) for word in words)
    return start, is_unknown and not SOURCE.search(line) and not _has_brackets(line)


def _has_brackets(line: str) -> bool:
    return "(" in line or "[" in line


def _is_text(line: str) -> bool:
    """Whether the first word of a line settles that no header opens it: most text."""
    if not _begins_text(line.partition(" ")[0]):
        return False
    # What begins with a small letter is not even counted as an unknown header.
    if not line[0].isupper():
        return True
    return ":" not in (head := line[:_MAX_UNKNOWN]) and not head.isupper()


@lru_cache(maxsize=1 << 15)
def _begins_text(word: str) -> bool:
    """Whether a line that begins with a word begins with no header and no mark of a list."""
    first = WORD.match(word[:MAX_HEADER])
    is_mark = word.endswith((".", ")")) and len(word) < _LONGER_THAN_MARK
    # Letters that stand apart ("E X A M") may be a header together.
    return bool(first and len(word) > 1 and not is_mark and not rank_word(first[0]))


def _begins_prose(line: str) -> bool:
    """Whether a line begins with words that no header has, told at little cost."""
    if not line[0].isalpha() or line.isupper():
        return False
    if (_has_brackets(line) or ":" in line or "\t" in line) and _NOT_PROSE.search(
        line, 0, MAX_HEADER
    ):
        return False
    is_title = False
    for number, word in enumerate(line[:MAX_HEADER].split(" ", 8)[:8]):
        look = _look_of(word)
        # The first word that no header has settles it, unless what stood before may be a title in
        # front of its text ("Chest Pain patient with …").
        if look == _UNKNOWN:
            return not is_title and word[0].isalpha()
        is_title |= look == _MARKED or (look == _HIGH and number > 0)
    return False


_UNKNOWN, _LOW, _HIGH, _MARKED = range(4)
"""A word that no header has; known ones: in small letters, with a capital, with marks."""


@lru_cache(maxsize=1 << 15)
def _look_of(word: str) -> int:
    plain = word.strip(_MARKS)
    if word and not rank_word(plain):
        return _UNKNOWN
    if plain != word or not word or "/" in word:
        return _MARKED
    return _HIGH if word[0].isupper() else _LOW


def _read_start(line: str) -> Start:
    if _begins_prose(line) and not has_late(line[:MAX_HEADER]):
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
    start = _unknown(line, begin)
    return start._replace(is_listed=is_listed) if start.phrase else start


def _known_run(line: str, begin: int) -> list[int]:
    """Ends of the words from the beginning on that may stand in a header."""
    ends: list[int] = []
    is_named = False
    for word in WORD.finditer(line, begin, begin + MAX_HEADER):
        rank = rank_word(word[0])
        if not rank and not (ends and _is_excused(line, begin, word)):
            break
        is_named |= rank > 1
        ends.append(word.end())
    return ends if is_named else []


def _is_excused(line: str, begin: int, word: re.Match[str]) -> bool:
    """Whether a word of sentences stands in a phrase of headers."""
    words, pattern = excused_prose()
    # Nearly all words that end a run are in no such phrase.
    if word[0].lower() not in words:
        return False
    phrases = pattern.finditer(line, begin, begin + MAX_HEADER)
    return any(phrase.start() <= word.start() < phrase.end() for phrase in phrases)


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
        if (header := read_header(head)) and not _has_text(head):
            return HeaderMatch(header, "bare", style_of(head), begin, len(line), is_listed)
    best, is_blank = None, True
    # No sign reaches over a letter, so the rest of a long line need not be looked through.
    end = zone + 1 if line[zone : zone + 1].isalpha() else len(line)
    for sign in _SEPARATOR.finditer(line, begin, end):
        if sign.start() > zone:
            break
        head = line[begin : sign.start()]
        style = style_of(head)
        # A full stop behind a plain phrase ends a sentence, and no header stands behind that.
        if "." in sign[0] and style in ("lower", "sentence") and len(head) > 5:
            break
        header = read_header(head)
        if header and (best is None or is_blank or _adds_time(header, best, line[: sign.start()])):
            # Of several signs the first visible one counts, unless a later one adds the time.
            is_blank = not sign[0].strip()  # a tab may stand inside of a header
            best = HeaderMatch(header, "mark", style, begin, sign.end(), is_listed)
    return best


def _adds_time(header: Header, best: HeaderMatch, line: str) -> bool:
    """Whether the words up to a later sign name the time of a header, and are no text of it."""
    return bool(header.time) and not best.header.time and not _is_said(line[best.end :])


def _has_text(head: str) -> bool:
    """Whether what a source frees goes over a sign: "HPI per ED - seen at an outside hospital"."""
    if not SOURCE.search(head):
        return False
    # A tab or a full stop may stand inside of a header.
    signs = (sign for sign in _SEPARATOR.finditer(head) if sign[0].strip(" \t."))
    return any(_is_said(head[sign.end() :]) for sign in signs)


def _is_said(words: str) -> bool:
    """Whether words are no part of a header."""
    phrase = read_phrase(words)
    return bool(phrase.num_unknown) or phrase.is_prose


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


def _is_late_title(head: str) -> bool:
    """Whether an unknown header without a sign names a later time: "Discharge Checklist"."""
    words = head.lower().split()
    if not 1 < len(words) <= _SHORT_TITLE or not has_late(head):
        return False
    # "Discharge checklist" is a header, "Discharge noted" and "Discharge purulent" are findings.
    return style_of(head) == "title" or (
        has_late(words[0]) and load_lexicon().words["secretion"].isdisjoint(words)
    )


def _unknown(line: str, begin: int) -> Start:
    """What a line says that is written like a header and has unknown words."""
    if not line[begin].isupper():
        return _NO_START
    end = begin + _MAX_UNKNOWN
    colon = COLON.search(line, begin, end) if line.find(":", begin, end) >= 0 else None
    if colon:
        head = line[begin : colon.start()]
    else:
        head = line[begin : begin + MAX_HEADER].rstrip(TRAIL)
        if len(head) > 60 or "," in head or not (head.isupper() or _is_late_title(head)):
            return _NO_START
    if len(head) > 60 or len(head.split()) > 8 or not head[:1].isupper():
        return _NO_START
    phrase, style = read_phrase(head), style_of(head)
    if GOES_ON.intersection(head.lower().split()):
        return _NO_START
    if phrase.is_prose or phrase.header:
        return _NO_START
    return Start(None, phrase, style)
