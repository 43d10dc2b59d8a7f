"""Headers of clinical notes by what their words mean: the one grammar of reader, audit and prompts.

In: lines of a note. Out: which headers stand in them, what each means (topics such as exam or
course, at a time such as admission or discharge), and what it does where it stands. Decided here:
the words are data (`data/section_words.tsv`, a reason a row), lines are brought to one shape first,
and a header is known by its words in any order, never by a list of whole spellings. Pure.
"""

from deepicd.sections.header_match import HeaderMatch, Start, find_late_lines
from deepicd.sections.headers import Header, read_phrase
from deepicd.sections.lexicon import load_lexicon
from deepicd.sections.line_inside import find_later, read_inside
from deepicd.sections.line_start import read_start
from deepicd.sections.lines import clean_text, shape_of, split_lines
from deepicd.sections.names import SECTION_OF, SECTIONS
from deepicd.sections.plain_lines import find_headed, is_plain
from deepicd.sections.segments import Segment, split_sections

__all__ = [
    "SECTIONS",
    "SECTION_OF",
    "Header",
    "HeaderMatch",
    "Segment",
    "Start",
    "clean_text",
    "find_headed",
    "find_late_lines",
    "find_later",
    "is_plain",
    "load_lexicon",
    "read_inside",
    "read_phrase",
    "read_start",
    "shape_of",
    "split_lines",
    "split_sections",
]
