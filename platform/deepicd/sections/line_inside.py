"""Headers in the middle of a line, and sentences of an exam that are of a later time.

In: the shape of a line. Out: `HeaderMatch` in order; the index where a later exam begins. Decided
here: in the middle of a line a header needs a colon or capitals, and nothing in front that makes it
belong to a sentence. Whether it counts where it stands is decided by the reader. Pure.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from deepicd.sections.header_match import (
    COLON,
    FIRST,
    GOES_ON,
    KEPT,
    LATE,
    MAX_HEADER,
    MEASURE,
    WORD,
    HeaderMatch,
    has_late,
    is_first,
    last_word,
    last_words,
    read_header,
    style_of,
)
from deepicd.sections.headers import Header
from deepicd.sections.lexicon import load_lexicon


def read_inside(line: str, begin: int, *, is_flat: bool = False) -> list[HeaderMatch]:
    """Headers in the middle of a line, from `begin` on.

    `is_flat`: the line holds a whole section, as a rendered note has it, so that capitals are
    looked for more closely.
    """
    has_colon = line.find(":", begin) >= 0
    has_title = is_flat or _TWO_CAPITALS.search(line, begin) or has_late(line)
    if not (has_colon or has_title):
        return []
    last = begin
    matches = [*_colons_inside(line, begin)] if has_colon else []
    if has_title:
        matches += _capitals_inside(line, begin, is_flat)
    chosen = []
    for match in sorted(matches, key=lambda match: (match.start, -match.end)):
        if match.start >= last:
            last = match.end
            chosen.append(match)
    return chosen


def _colons_inside(line: str, begin: int) -> Iterator[HeaderMatch]:
    edge = begin
    ends = last_words()
    for colon in COLON.finditer(line, begin):
        window = line[max(edge, colon.start() - MAX_HEADER) : colon.start()]
        offset = colon.start() - len(window)
        # The last word decides cheaply for most colons: "at 10 am:" needs no further look.
        words = list(WORD.finditer(window))[-8:]
        if not words or last_word(words[-1][0]) not in ends:
            continue
        match = _longest_before(line, [offset + word.start() for word in words], colon)
        if match and match.start > begin:
            edge = colon.end()
            yield match


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
    if previous[0].endswith((",", "-")) or not is_two:
        return False
    if style == "sentence":
        return True
    return is_late and (header.time in ("discharge", "death") or header.num_words > 0)


_TWO_CAPITALS = re.compile(r"[A-Z]{2}[)\]]?[/& (-]{1,3}[A-Z]{2}")
_CAPITALS = re.compile(
    r"[A-Z][A-Z/&()\[\]' -]{2,70}[A-Z\])](?![a-z])|(?:[A-Z][A-Za-z/]+ ){1,5}[A-Z][a-z]+"
)


def _capitals_inside(line: str, begin: int, is_flat: bool) -> Iterator[HeaderMatch]:
    """Headers of two and more words in capitals (where a section is flat: also of one)."""
    if line[begin:].isupper():
        return
    for run in _CAPITALS.finditer(line, begin):
        words = list(WORD.finditer(line, run.start(), run.end()))
        number = 0
        while number < len(words):
            match = _longest_run(line, words[number:][:7], is_flat)
            if match and match.start > begin:
                yield match
                number += sum(1 for word in words[number:] if word.start() < match.end)
            else:
                number += 1


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
    before = r"(?:on|at|upon|by|before|prior to|day of|time of|date of) (?:the )?"
    return re.compile(rf"\b(?:{before}{time}|{time} {exam}|{exam} {time})\b", re.IGNORECASE)
