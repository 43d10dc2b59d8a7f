"""Headers in the middle of a line, and sentences of an exam that are of a later time.

In: the shape of a line. Out: `HeaderMatch` in order; the index where a later exam begins. Decided
here: in the middle of a line a header needs a colon or capitals, and nothing in front that makes it
belong to a sentence. Whether it counts where it stands is decided by the reader. Pure.
"""

import re
from collections.abc import Iterator, Sequence
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
    TWO_CAPITALS,
    WORD,
    HeaderMatch,
    ends_of_runs,
    has_late,
    is_first,
    last_word,
    last_words,
    read_header,
    style_of,
)
from deepicd.sections.headers import Header
from deepicd.sections.lexicon import load_lexicon


def read_inside(
    line: str, begin: int, *, is_flat: bool = False, may_be_late: bool = True
) -> Sequence[HeaderMatch]:
    """Headers in the middle of a line, from `begin` on.

    `may_be_late`: whether `find_late_lines` found the line, where it was asked.

    `is_flat`: the line holds a whole section, as a rendered note has it, so that capitals are
    looked for more closely.
    """
    rest = line[begin:] if begin else line
    has_title = is_flat or (may_be_late and has_late(rest)) or bool(TWO_CAPITALS.search(rest))
    if not has_title and ":" not in rest:
        return ()
    if is_flat or len(line) > MAX_CACHED:
        return _look_inside(line, begin, has_title, is_flat=is_flat)
    return _look_inside_short(line, begin, has_title)


@lru_cache(maxsize=1 << 14)
def _look_inside_short(line: str, begin: int, has_title: bool) -> Sequence[HeaderMatch]:
    """Lines of several captions ("Admission Date:  Discharge Date:") come again in every note."""
    return _look_inside(line, begin, has_title, is_flat=False)


def _look_inside(line: str, begin: int, has_title: bool, *, is_flat: bool) -> Sequence[HeaderMatch]:
    matches = list(_colons_inside(line, begin))
    if has_title:
        matches += _capitals_inside(line, begin, is_flat)
    last = begin
    chosen = []
    for match in sorted(matches, key=lambda match: (match.start, -match.end)):
        if match.start >= last:
            last = match.end
            chosen.append(match)
    return chosen


def _colons_inside(line: str, begin: int) -> Iterator[HeaderMatch]:
    edge, place = begin, line.find(":", begin)
    while place >= 0:
        window = line[max(edge, place - MAX_HEADER) : place]
        after = place + 1
        # The last word decides cheaply for most colons: "at 10 am:" needs no further look.
        if _may_close(window.rpartition(" ")[2]) and (colon := COLON.match(line, place)):
            after = colon.end()
            match = _longest_before(line, _starts_in(window, place), colon)
            if match and match.start > begin:
                edge = after
                yield match
        place = line.find(":", after)


@lru_cache(maxsize=1 << 15)
def _may_close(word: str) -> bool:
    """Whether a header can end with a word; True where the word has no letter."""
    last = WORD.findall(word)[-1:]
    return not last or last_word(last[0]) in last_words()


def _starts_in(window: str, end: int) -> list[int]:
    """Places of a line where a header may begin that ends with a window of it."""
    words = list(WORD.finditer(window))[-_MAX_INSIDE:]
    if not words or last_word(words[-1][0]) not in last_words():
        return []
    runs, offset = ends_of_runs(words, window), end - len(window)
    to_end = [word for word, run in zip(words, runs, strict=True) if run == len(words)]
    return [offset + word.start() for word in to_end]


def _longest_before(line: str, starts: list[int], colon: re.Match[str]) -> HeaderMatch | None:
    """The longest header that ends at a colon and is written like one."""
    for start in starts:
        head = line[start : colon.start()]
        if not is_first(head) or _MIXED.match(head):
            continue
        header = read_header(head)
        if header is None or _BREAK_INSIDE.search(head):
            continue
        style, first = style_of(head), head.partition(" ")[0].lower()
        is_joint = first in _JOINTS or (first in load_lexicon().words["linking"] and header.topics)
        # "of admission:" in the middle of a line belongs to the words in front of it.
        if is_joint and (head[0].islower() or first in _JOINTS):
            continue
        if not _is_inside(header, style, head=head, before=line[:start]):
            # A shorter run of the same words would be a header cut out of a sentence.
            return None  # what stands before it makes all of it a sentence
        return HeaderMatch(header, "inside", style, start, colon.end(), is_listed=False)
    return None


_MAX_INSIDE = 8
"""Words of the longest header in the middle of a line."""
_OPENING = re.compile(r"[(\[]")
_JOINTS = frozenset(["and", "or"])
_MIXED = re.compile(r"[A-Z]{4,} [A-Z][a-z]")
"""A word in capitals before a title ("SURGERY Allergies:") is the text of the header before it."""
_BREAK_INSIDE = re.compile(r"[.;:]\s|\s{3,}")


def _is_inside(header: Header, style: str, *, head: str, before: str) -> bool:
    """Whether words before a colon are a header and not part of the sentence they stand in."""
    is_two = len(head.split()) > 1 or "/" in head
    is_late = header.time in LATE or not KEPT.issuperset(header.topics)
    previous = before.rstrip().rsplit(None, 1)[-1:] or [""]
    if style == "upper":
        return True
    if previous[0].lower() in load_lexicon().words["ahead"]:
        return False
    if style == "title":
        return True
    # A dash that stands alone parts headers, as a semicolon does; one behind a word is its own.
    is_apart = bool(previous[0]) and not previous[0].strip("-")
    is_joined = previous[0].endswith("-") and not is_apart
    # Behind a comma the reader decides, and only what is not kept ends a section there.
    is_part = previous[0].endswith(",") and not (is_late and style == "sentence")
    if not is_two or is_joined or is_part:
        return False
    if style == "sentence":
        return True
    # "Discharge from the unit, labs:" goes on from one thing to the next.
    is_one = "," not in head
    return is_one and is_late and (header.time in ("discharge", "death") or header.num_words > 0)


_CAPITALS = re.compile(
    # Both alternatives share their first letter, so that a search skips to the next capital.
    r"[A-Z](?:[A-Z/&()\[\]' -]{2,70}[A-Z\])](?![a-z])"
    r"|[A-Za-z/]+ (?:[A-Z][A-Za-z/]+ ){0,4}[A-Z][a-z]+)"
)


def _capitals_inside(line: str, begin: int, is_flat: bool) -> Iterator[HeaderMatch]:
    """Headers of two and more words in capitals (where a section is flat: also of one)."""
    if line[begin:].isupper():
        return
    for run in _CAPITALS.finditer(line, begin):
        if _holds_none(run[0], is_flat) and line[run.end() : run.end() + 1] not in (")", "]"):
            continue
        words = list(WORD.finditer(line, run.start(), run.end()))
        runs = ends_of_runs(words, run[0])
        number = 0
        while number < len(words):
            match = _longest_run(line, words[number : min(number + 7, runs[number])], is_flat)
            if match and match.start > begin:
                yield match
                number += sum(1 for word in words[number:] if word.start() < match.end)
            else:
                number += 1


@lru_cache(maxsize=1 << 14)
def _holds_none(text: str, is_flat: bool) -> bool:
    """Whether `_longest_run` finds nothing in a text; names of drugs and tests come again."""
    if _OPENING.search(text):
        return False
    words = list(WORD.finditer(text))
    ends = ends_of_runs(words, text)
    spans = [
        (first.start(), last.end())
        for number, first in enumerate(words)
        for last in words[number : ends[number]]
    ]
    heads = [text[start:end] for start, end in spans]
    # A single word counts in a section of a rendered note only.
    return not any(read_header(head) for head in heads if is_flat or not head.isalpha())


def _longest_run(line: str, words: list[re.Match[str]], is_flat: bool) -> HeaderMatch | None:
    for last in reversed(range(len(words))):
        start, end = words[0].start(), words[last].end()
        if line[end : end + 1] in (")", "]"):
            end += 1
        head = line[start:end]
        header = read_header(head)
        if header is None:
            continue
        style = style_of(head)
        is_late = header.time in ("discharge", "death")
        if style == "upper":
            # Three capitals are an abbreviation of a finding more often than a header.
            is_one = is_flat and not KEPT.issuperset(header.topics) and len(head) > 3
            if last > 0 or "/" in head or is_one:
                return HeaderMatch(header, "inside", style, start, end, is_listed=False)
        elif style == "title" and last > 0 and is_late and header.topics:
            before = line[:start].rstrip().rsplit(None, 1)[-1:] or [""]
            after = FIRST.search(line, end)
            if before[0].lower() not in load_lexicon().words["ahead"] and not (
                after and after[0] in load_lexicon().words["after"]
            ):
                return HeaderMatch(header, "inside", style, start, end, is_listed=False)
        elif is_flat and is_late and not header.topics and _is_timed(header, head, line[end:]):
            return HeaderMatch(header, "inside", style, start, end, is_listed=False)
        return None
    return None


def _is_timed(header: Header, head: str, after: str) -> bool:
    """Whether values follow words such as "At discharge"."""
    return header.has_preposition and head[0].isupper() and bool(MEASURE.match(after))


_SENTENCE_END = re.compile(r"[.;!?]\s+")


def find_later(line: str, begin: int = 0) -> int | None:
    """Where a sentence begins that says how it was at the discharge or death; None without one.

    For exams only: there a sentence "unchanged at discharge" is of the stay, in a history it tells
    of an earlier one.
    """
    if not has_late(line):
        return None
    # "Unchanged at discharge from the other hospital" goes on about the past, so it does not count.
    for said in _later_pattern().finditer(line, begin):
        if not GOES_ON.intersection(line[said.end() :].lower().split()[:1]):
            if line[begin : said.start()].rstrip().endswith(","):
                return said.start()
            ends = [end.end() for end in _SENTENCE_END.finditer(line, begin, said.start())]
            return max([begin, *ends])
    return None


@lru_cache(maxsize=1)
def _later_pattern() -> re.Pattern[str]:
    entries = [entry for listed in load_lexicon().phrases.values() for entry in listed]

    def spell(role: str, values: set[str]) -> str:
        names = {
            " ".join(words)
            for words, meanings in entries
            if any(meaning.role == role and meaning.value in values for meaning in meanings)
        }
        return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))

    time = f"(?:{spell('time', {'discharge', 'death'})}|d/c)"
    exam = f"(?:{spell('topic', {'exam', 'vitals'})})"
    before = r"(?:on|at|upon|by|before|prior to|day of|time of|date of) (?:(?:the|her|his) )?"
    died = r"(?:pronounced(?: dead| deceased)?|expired|passed away) (?:at|on) \d"
    spelled = rf"\b(?:(?:{before}{time}|{time} {exam}|{exam} {time})\b|{died})"
    return re.compile(spelled, re.IGNORECASE)
