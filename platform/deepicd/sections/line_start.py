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
from deepicd.sections.plain_lines import MAX_CAPTION, begins_prose, has_brackets, is_text

_SHORT_TITLE = 3
_SIGN = re.compile(r"[:;=|>\t.-]|\s{3}")
_ALNUM = re.compile(r"[A-Za-z0-9]")
_LETTER = re.compile(r"[A-Za-z]")
_ANY_LETTER = dict.fromkeys("bcdefghjklmnopqrstuvwxyz", "k")
"""A letter behind a colon → one that stands for all which are no word alone, for the cache."""
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
    if not line or is_text(line):
        return _NO_START
    if line[0] == " " and (text := line.lstrip()) and text[0].islower() and is_text(text):
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
    if not rest or len(rest) > MAX_CAPTION or not words_of_change().issuperset(words_of(rest)):
        return start
    header = match.header._replace(time="changed")
    return start._replace(match=match._replace(header=header))


def _read(line: str) -> Start:
    colon = line.find(":", 0, MAX_CAPTION)
    if colon >= 0:
        # Captions come again in every note, and what stands behind them does not.
        behind = _ALNUM.search(line, colon)
        shown = line[: behind.start()] + _ANY_LETTER.get(behind[0], behind[0]) if behind else line
        start, is_settled = _read_caption(shown)
        if behind is None or (is_settled and (start.match or not has_brackets(line))):
            return start
    return _read_short(line) if len(line) <= MAX_CACHED else _read_start(line)


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
    return start, is_unknown and not SOURCE.search(line) and not has_brackets(line)


def _read_start(line: str) -> Start:
    if begins_prose(line) and not has_late(line[:MAX_HEADER]):
        return _NO_START
    lead = _LEAD.match(line)
    begin = lead.end() if lead else 0
    if FIRST.match(line, begin) is None:
        return _NO_START
    # "E X A M": letters that stand apart would each be an unknown word below.
    if line[begin + 1 : begin + 2] == " " == line[begin + 3 : begin + 4]:
        return _spaced(line, begin)
    is_listed = bool(lead and (lead["list"].strip(" \t\"'[({<_=#>|")))
    rest = line[begin:]
    # Of a line that begins with its words the whole is cached already.
    is_cached = begin > 0 and len(rest) <= MAX_CACHED
    start = _read_words(rest) if is_cached else _look_at_words(rest)
    if start.match is None:
        return start._replace(is_listed=is_listed) if start.phrase else start
    header, form, style, first, end, _, is_measured = start.match
    place = (begin + first, begin + end)
    return Start(HeaderMatch(header, form, style, *place, is_listed, is_measured), None, style)


@lru_cache(maxsize=1 << 14)
def _read_words(line: str) -> Start:
    """A line without the marks before it: one header comes with many marks and numbers."""
    return _look_at_words(line)


def _look_at_words(line: str) -> Start:
    ends = _known_run(line)
    if ends:
        zone = _zone_of(line, ends[-1])
        match = None
        # Without a sign inside the zone the slower look for one finds nothing.
        if zone == len(line) or _SIGN.search(line, 0, zone):
            match = _at_sign(line, zone)
        if match is None and _may_run_in(line, ends):
            match = _run_in(line, ends)
        if match:
            return Start(match, None, match.style)
    return _unknown(line)


def _known_run(line: str) -> list[int]:
    """Ends of the words from the beginning on that may stand in a header."""
    ends: list[int] = []
    is_named = False
    for word in WORD.finditer(line, 0, MAX_HEADER):
        rank = rank_word(word[0])
        if not rank and not (ends and _is_excused(line, word)):
            break
        is_named |= rank > 1
        ends.append(word.end())
    return ends if is_named else []


def _is_excused(line: str, word: re.Match[str]) -> bool:
    """Whether a word of sentences stands in a phrase of headers."""
    words, pattern = excused_prose()
    # Nearly all words that end a run are in no such phrase.
    if word[0].lower() not in words:
        return False
    phrases = pattern.finditer(line, 0, MAX_HEADER)
    return any(phrase.start() <= word.start() < phrase.end() for phrase in phrases)


def _may_run_in(line: str, ends: list[int]) -> bool:
    """Whether the known words could be a title: the second has a capital, or a time is late."""
    if len(ends) > 1 and line[ends[0] : ends[1]].lstrip()[:1].isupper():
        return True
    head = line[: ends[-1]]
    return "/" in head or has_late(head)


def _zone_of(line: str, end: int) -> int:
    """Where a header must have ended: at the first unknown word, if none may be free."""
    limit = min(len(line), MAX_HEADER)
    if has_brackets(line[:limit]) or SOURCE.search(line, 0, end):
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


def _at_sign(line: str, zone: int) -> HeaderMatch | None:
    """A header that a sign or the end of the line ends."""
    colon = COLON.search(line, 0, min(len(line), zone + 1))
    if colon:
        head = line[: colon.start()]
        if header := read_header(head):
            return HeaderMatch(header, "colon", style_of(head), 0, colon.end())
    if zone == len(line):
        head = line.rstrip(TRAIL)
        if (header := read_header(head)) and not _has_text(head):
            return HeaderMatch(header, "bare", style_of(head), 0, len(line))
    best, is_blank = None, True
    # No sign reaches over a letter, so the rest of a long line need not be looked through.
    end = zone + 1 if line[zone : zone + 1].isalpha() else len(line)
    for sign in _SEPARATOR.finditer(line, 0, end):
        if sign.start() > zone:
            break
        head = line[: sign.start()]
        style = style_of(head)
        # A full stop behind a plain phrase ends a sentence, and no header stands behind that.
        if "." in sign[0] and style in ("lower", "sentence") and len(head) > 5:
            break
        header = read_header(head)
        if header and (best is None or is_blank or _adds_time(header, best, line[: sign.start()])):
            # Of several signs the first visible one counts, unless a later one adds the time.
            is_blank = not sign[0].strip()  # a tab may stand inside of a header
            best = HeaderMatch(header, "mark", style, 0, sign.end())
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


def _run_in(line: str, ends: list[int]) -> HeaderMatch | None:
    """A header whose text follows without a sign: the longest that could be one."""
    for end in reversed(ends[:7]):
        head = line[:end]
        # Text that runs in behind a small letter is prose, except where a late word may be hidden.
        if not (head[0].isupper() or has_late(head)):
            return None
        header = read_header(head)
        if header is None:
            continue
        style, after = style_of(head), line[end:]
        is_measured = MEASURE.match(after) is not None
        if _is_run_in(header, style, head=head, after=after, is_measured=is_measured):
            return HeaderMatch(header, "run_in", style, 0, end, is_measured=is_measured)
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


def _unknown(line: str) -> Start:
    """What a line says that is written like a header and has unknown words."""
    if not line[0].isupper():
        return _NO_START
    has_colon = line.find(":", 0, MAX_CAPTION) >= 0
    colon = COLON.search(line, 0, MAX_CAPTION) if has_colon else None
    if colon:
        head = line[: colon.start()]
    else:
        head = line[:MAX_HEADER].rstrip(TRAIL)
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
