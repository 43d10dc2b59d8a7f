"""Headers of clinical notes by what their words mean: the one grammar of reader, audit and prompts.

In: lines of a note. Out: which headers stand in them, and what each means: topics (exam, course,
diagnosis and so on) at a time (admission, past, stay, discharge, death). Decided here: the words
are data (`data/section_words.tsv`, a reason a row), lines are brought to one shape first, and a
header is known by its words in any order, never by a list of whole spellings. Pure.
"""

from deepicd.sections.header_match import HeaderMatch, Start
from deepicd.sections.headers import Header, read_phrase
from deepicd.sections.lexicon import load_lexicon
from deepicd.sections.line_inside import find_later, read_inside
from deepicd.sections.line_start import read_start
from deepicd.sections.lines import clean_text, shape_of, split_lines

SECTIONS = (
    "CHIEF COMPLAINT",
    "PRESENT ILLNESS",
    "MEDICAL HISTORY",
    "MEDICATION ON ADMISSION",
    "ALLERGIES",
    "PHYSICAL EXAM",
    "FAMILY HISTORY",
    "SOCIAL HISTORY",
)
"""Headers of an admission note, in order."""

SECTION_OF = {
    "illness": "PRESENT ILLNESS",
    "complaint": "CHIEF COMPLAINT",
    "medical": "MEDICAL HISTORY",
    "background": "MEDICAL HISTORY",
    "medication": "MEDICATION ON ADMISSION",
    "allergies": "ALLERGIES",
    "exam": "PHYSICAL EXAM",
    "vitals": "PHYSICAL EXAM",
    "family": "FAMILY HISTORY",
    "social": "SOCIAL HISTORY",
    "habits": "SOCIAL HISTORY",
}
"""Topic → the section that holds it."""

__all__ = [
    "SECTIONS",
    "SECTION_OF",
    "Header",
    "HeaderMatch",
    "Start",
    "clean_text",
    "find_later",
    "load_lexicon",
    "read_inside",
    "read_phrase",
    "read_start",
    "shape_of",
    "split_lines",
]
