"""A note of any layout → its text in pieces, each with the section that it belongs to.

In: a note, as a hospital wrote it or as `notes.mimic.sections.render_note` did. Out: pieces in the
order of the note; joined they are the note (without what `clean_text` takes out), unlike a cut,
which leaves text out. Decided here: the rules are the reader's own (`header_rules`), except that a
line which begins with the name of a section in a rendered note opens it without further looks.
Pure.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from deepicd.sections.header_match import HeaderMatch
from deepicd.sections.header_rules import acts, ends_by_unknown, find_target
from deepicd.sections.line_inside import read_inside
from deepicd.sections.line_start import read_start
from deepicd.sections.lines import clean_text, shape_of
from deepicd.sections.names import SECTIONS
from deepicd.sections.state import State

_RENDERED = re.compile(rf"(?P<name>{'|'.join(map(re.escape, SECTIONS))}):")
_PACKED = 3
"""So many colons in a text of few lines say that its line breaks are lost."""


class Segment(NamedTuple):
    """A piece of a note."""

    section: str
    """One of `SECTIONS`, or "" for text of none of them."""
    text: str
    """With its header and line ends."""
    header: str = ""
    """What opens it; empty where no header does, such as behind a line that ends a section."""


def is_packed(lines: Sequence[object], text: str) -> bool:
    """Whether a text has lost its line breaks, so that headers stand in the middle of lines."""
    return len(lines) <= 2 * _PACKED and text.count(":") >= _PACKED


def split_sections(text: str) -> list[Segment]:
    """The sections of a note, in its order; a section that is opened twice stands there twice."""
    text = clean_text(text)
    lines = text.splitlines(keepends=True)
    # A note of a single line has lost its line breaks, even if it begins like a rendered one.
    has_breaks = len(lines) > 1
    state = State(is_packed=is_packed(lines, text))
    sections: list[Segment] = []
    for line in lines:
        for segment in _split_line(line, state, may_be_rendered=has_breaks):
            if segment.header or not sections or sections[-1].section != segment.section:
                sections.append(segment)
            else:
                sections[-1] = sections[-1]._replace(text=sections[-1].text + segment.text)
    return sections


def _split_line(line: str, state: State, *, may_be_rendered: bool) -> list[Segment]:
    shape = shape_of(line.splitlines()[0])  # any of Unicode's line ends is one
    if not shape or shape.isspace():
        state.is_after_blank = True
        return [Segment(state.current or "", line)]
    rendered = _RENDERED.match(line) if may_be_rendered else None
    if rendered:
        # No look inside: the line is the whole section, and its captions are text.
        state.current = rendered["name"]
        segments = [Segment(rendered["name"], line, rendered[0])]
    else:
        segments = _split_at_headers(line, shape, state)
    state.is_after_blank, state.previous = False, shape
    state.note_text()
    return segments


def _split_at_headers(line: str, shape: str, state: State) -> list[Segment]:
    start = read_start(shape)
    if ends_by_unknown(state, start, shape)[0]:
        state.current = None
    matches = [start.match] if start.match and acts(state, start.match, shape) else []
    # (where a segment begins, its section, where its header ends)
    cuts = [(0, _open(match, state), match.end) for match in matches]
    cuts = cuts or [(0, state.current or "", 0)]
    for match in read_inside(shape, cuts[0][2]):
        if acts(state, match, shape):
            cuts.append((match.start, _open(match, state), match.end))
    ends = [begin for begin, _, _ in cuts[1:]] + [len(line)]
    return [
        Segment(section, line[begin:end], line[begin:header_end])
        for (begin, section, header_end), end in zip(cuts, ends, strict=True)
    ]


def _open(match: HeaderMatch, state: State) -> str:
    state.current, evidence = find_target(state, match)
    state.evidence = max(state.evidence, evidence)
    state.has_listed |= match.is_listed
    return state.current or ""
