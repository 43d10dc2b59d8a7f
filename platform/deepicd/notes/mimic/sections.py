"""Discharge summary → admission note: keep what was known on admission, and nothing else.

In: the text of one discharge summary. Out: the admission note as text. Decided here:
what is read when. The grammar (`deepicd.sections`) says what the words of a header mean and what it
does where it stands; the reader keeps the section that is open and the evidence that the stay
began:

- A header of a kept topic opens its section, unless its time is the discharge, the death or the
  stay. Any other topic ends the section. A title of the paper begins nothing.
- Evidence has three steps. None yet: every kept section is read. An exam of a later time: an exam
  is read only if it says that it is of the admission. The hospital course, or what is given at
  discharge, after a history: from then on only the medication on admission is read.
- In a history (illness, medical history) captions stay text: what is past or of another hospital,
  a diagnosis or treatment behind its caption, results in a list.
- A sentence of an exam that says how it was at the discharge or death ends the exam.
- A line that is written like a header and has unknown words stays text in a history. Elsewhere it
  ends the section if one of its words is of a topic or time that is not kept, or if it stands
  alone after a blank line. Either way it is counted.

A note needs one of the first three sections. Pure.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deepicd.sections import (
    SECTIONS,
    HeaderMatch,
    Start,
    find_headed,
    find_late_lines,
    find_later,
    read_inside,
    read_start,
    split_lines,
)
from deepicd.sections.header_rules import (
    acts,
    ends_by_unknown,
    find_target,
    is_counted,
    is_secretion,
)
from deepicd.sections.later_captions import tells_stay
from deepicd.sections.segments import is_packed
from deepicd.sections.state import (
    AT_THE_END,
    CORE_SECTIONS,
    EXAM,
    GIVEN,
    ILLNESS,
    LATE,
    LATER_EXAM,
    MEDICATION,
    NO_STAY,
    STAY,
    WORKUP,
    State,
)

__all__ = [
    "CORE_SECTIONS",
    "SECTIONS",
    "Cut",
    "cut_sections",
    "cut_summary",
    "find_late",
    "has_core",
    "render_note",
]

_RESUMED = re.compile(
    r"\s*(?:(?:[Uu]pon|[Oo]n) (?:arrival|transfer to the|the (?:floor|ward)\b)"
    r"|(?:Transfer (?:vitals|VS)|(?:Vitals|VS)(?: were)? (?:prior to|on|before) transfer)\b"
    r"|(?:The )?(?:[Pp]atient|[Pp]t\.?) (?:was given|received|given)\b)"
)
_ARRIVED = re.compile(r"\s*(?:[Uu]pon|[Oo]n) arrival\b")
"""How an illness goes on also behind a blank line."""
_MIN_INSIDE = 8
"""A shorter line holds no header in its middle."""
_OPENERS = " \t[({<*#|"


@dataclass(frozen=True)
class Cut:
    """One summary, cut."""

    sections: dict[str, str]
    """Kept sections, blanks collapsed, in the order of `SECTIONS`."""
    num_unknown: int
    """Lines that are written like a header and have a word that the grammar does not know."""
    has_stay: bool
    """There was evidence that the summary went on to the stay."""
    has_end: bool
    """A header was of the discharge or death, or of what is given then."""
    late: tuple[str, ...]
    """Lines of the stay and of the discharge: what must not be in the note."""


def cut_sections(text: str) -> dict[str, str]:
    """Kept sections of a summary, blanks collapsed; a header seen twice adds to its first text."""
    return cut_summary(text).sections


def cut_summary(text: str) -> Cut:
    """Kept sections of a summary, and what was seen on the way."""
    lines, shapes = split_lines(text)
    # A text without line breaks has its headers in the middle of lines, where they are otherwise
    # distrusted.
    reader = _Reader(State(is_packed=is_packed(lines, text)))
    late = find_late_lines(shapes)
    begin = 0
    for number in find_headed(shapes, late):
        reader.add_plain(lines[begin:number], shapes[begin:number])
        reader.read_line(lines[number], shapes[number], may_be_late=number in late)
        begin = number + 1
    reader.add_plain(lines[begin:], shapes[begin:])
    return reader.done()


def has_core(sections: Mapping[str, str]) -> bool:
    """One-of-three rule: chief complaint, present illness or medical history; a blank is none."""
    return any(sections.get(name, "").strip("_. ") for name in CORE_SECTIONS)


def render_note(sections: Mapping[str, str]) -> str:
    """Admission note: one line a section, in the order of `SECTIONS`, empty ones left out."""
    return "\n".join(f"{name}: {sections[name]}" for name in SECTIONS if sections.get(name))


def find_late(section: str, text: str) -> int | None:
    """Where in one section of a rendered note a header stands that would have ended it."""
    state = State(current=section, is_flat=True, is_after_blank=False)
    state.note_text()
    # The strictest reading: as if the note had a history before, so that what is given at the end
    # counts as evidence of the stay.
    state.has_core = state.has_history = True
    shape = next(iter(split_lines(text)[1]), "")
    start = read_start(shape).match
    headers: list[HeaderMatch] = [start] if start else []
    for match in (*headers, *read_inside(shape, 0, is_flat=True)):
        if acts(state, match, shape) and find_target(state, match)[0] is None:
            return match.start
    return find_later(shape) if section == EXAM else None


def _collapse(lines: Sequence[str]) -> str:
    """Lines as one, each run of blanks as one blank."""
    text = " ".join(filter(_is_text, lines))
    # Of all blanks only the space is printable, so that most texts need not be taken apart.
    if "  " not in text and text.isprintable():
        return text.strip(" ")
    return " ".join(text.split())


def _is_text(shape: str) -> bool:
    return bool(shape) and not shape.isspace()


class _Reader:
    """Reads a summary line by line."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.texts: dict[str, list[str]] = {}
        self.late: list[str] = []
        self.num_unknown = 0
        self.is_late = self.has_end = False
        self.is_workup = False
        """Results stood in the middle of an illness, which may go on behind them."""

    def add_plain(self, lines: Sequence[str], shapes: Sequence[str]) -> None:
        """Read lines that follow each other and are blank or text alone."""
        if self.is_workup:
            for line, shape in zip(lines, shapes, strict=True):
                self._resume(shape)
                self._add_run([line], [shape])
        elif lines:
            self._add_run(lines, shapes)

    def _add_run(self, lines: Sequence[str], shapes: Sequence[str]) -> None:
        """Lines of one section; blank ones change nothing of a text."""
        state = self.state
        last = next(filter(_is_text, reversed(shapes)), "")
        state.is_after_blank = not _is_text(shapes[-1])
        if not last:
            return
        texts = self.texts.get(state.current or "")
        if texts is None:
            for line in lines:
                self._add(line)
        else:
            texts.extend(lines)
        state.previous = last

    def read_line(self, line: str, shape: str, *, may_be_late: bool) -> None:
        """Read one line that is neither blank nor plain: a header, text, or both."""
        if not shape.strip(" \t=_-*#~|."):
            # "___" is de-identified text, a ruler of other marks is none.
            self._add(line if "_" in shape else "")
            return
        else:
            self._add(line[self._read_headers(line, shape, may_be_late=may_be_late) :])
        self.state.is_after_blank, self.state.previous = False, shape

    def done(self) -> Cut:
        """What was read."""
        joined = {name: _collapse(self.texts.get(name, ())) for name in SECTIONS}
        return Cut(
            sections={name: value for name, value in joined.items() if value},
            num_unknown=self.num_unknown,
            has_stay=self.state.evidence == STAY,
            has_end=self.has_end,
            late=tuple(self.late),
        )

    def _read_headers(self, line: str, shape: str, *, may_be_late: bool) -> int:
        """Read the headers of a line; returns where the text after them begins."""
        start = read_start(shape)
        begin = self._read_start(start, shape)
        if len(shape) > _MIN_INSIDE and begin < len(shape):
            # A caption keeps its words as text, but no further header begins inside of them.
            is_caption = not begin and start.match is not None and start.match.form == "colon"
            first = start.match.end if start.match and is_caption else begin
            matches = read_inside(shape, first, may_be_late=may_be_late)
            begin = self._read_inside(line, shape, begin=begin, matches=matches)
        is_exam = self.state.current == EXAM and may_be_late
        if is_exam and (later := find_later(shape, begin)) is not None:
            self._add(line[begin:later])
            self._leave(LATER_EXAM)
            begin = later
        return begin

    def _read_start(self, start: Start, shape: str) -> int:
        """Read the beginning of a line; returns where its text begins."""
        if start.match and acts(self.state, start.match, shape):
            return self._open_more(start.match, shape)
        if start.phrase is None:
            self._resume(shape)
        self._meet_unknown(start, shape)
        return 0

    def _resume(self, shape: str) -> None:
        resumed = _ARRIVED if self.state.is_after_blank else _RESUMED
        if self.is_workup and resumed.match(shape):
            self.state.current, self.is_workup = ILLNESS, False

    def _read_inside(
        self, line: str, shape: str, *, begin: int, matches: Iterable[HeaderMatch]
    ) -> int:
        """Read headers in the middle of a line; returns where the text after them begins."""
        for match in matches:
            if acts(self.state, match, shape):
                self._add(line[begin : match.start].rstrip(_OPENERS))
                self._open(match)
                begin = match.end
        return begin

    def _open_more(self, match: HeaderMatch, shape: str) -> int:
        """Open a header, and what qualifies it at the beginning of its text; where text begins."""
        self._open(match)
        if match.form in ("colon", "mark") and self.state.current in (EXAM, MEDICATION):
            rest = shape[match.end :]
            more = read_start(rest).match
            # "Physical Exam: Discharge: T 98": the time stands behind the colon of the topic.
            is_time = more and not more.header.topics and more.header.time in AT_THE_END
            if more and is_time and not is_secretion(more, rest):
                self._leave(LATER_EXAM)
                return match.end + more.end
        return match.end

    def _open(self, match: HeaderMatch) -> None:
        state, topics = self.state, match.header.topics
        before = state.current
        target, evidence = find_target(state, match)
        state.evidence = max(state.evidence, evidence)
        state.current = target
        state.has_listed |= match.is_listed
        is_given = match.header.time in LATE or not GIVEN.isdisjoint(topics)
        self.has_end |= is_given
        self.is_late = target is None and (is_given or "results" in topics)
        # Results in the middle of an illness are often the emergency department's; the illness may
        # go on behind them ("On arrival to the floor").
        is_first = before == ILLNESS and "results" in topics
        is_more = self.is_workup and WORKUP.issuperset(topics)
        is_apart = target is not None or state.is_after_blank
        self.is_workup = (is_first or is_more) and not is_apart

    def _leave(self, evidence: int) -> None:
        """End the section: what follows is of the stay."""
        self.state.current, self.is_late, self.is_workup = None, True, False
        self.state.evidence = max(self.state.evidence, evidence)

    def _meet_unknown(self, start: Start, shape: str) -> None:
        """A line that is written like a header: count it, and end the section if it has to."""
        is_unknown = start.phrase is not None and start.phrase.num_unknown > 0
        if not is_unknown and (self.state.current is None or self.state.is_history):
            return
        is_told = is_unknown and tells_stay(self.state, shape)
        self.num_unknown += is_told or (is_unknown and is_counted(self.state, shape))
        does_end, evidence = ends_by_unknown(self.state, start, shape)
        if does_end:
            self._leave(max(NO_STAY, evidence))

    def _add(self, text: str) -> None:
        if not text or text.isspace():
            return
        current = self.state.current
        if current is None:
            if self.is_late or self.state.evidence == STAY:
                self.late.append(text)
        elif current in self.texts:
            self.texts[current].append(text)
        else:
            self.texts[current] = [text]
            self.state.note_text()
