"""What a text is instead of an English discharge summary: another language, another kind of note.

In: a text and its cut. Out: one of `KINDS`, or "" for a summary. Decided here: a text is English
when words that only English has are at least `_MIN_ENGLISH` of its beginning, and no rarer than
those that only its neighbours have; a short one, whose telegram may have no such word, unless the
others' are many. A radiology report has three of its own headers, or two and no history, and hardly
any section of a summary; a bare `HISTORY` beside findings and an impression is why it was asked
for. A pathology report has two headers that only it has. Headers count with a colon, alone on their
line, or in capitals within one. Kinds are counted and reported, and refused where most notes are of
one (`check_kinds`): a single odd note is no reason to stop. Pure.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepicd.errors import DataError
from deepicd.notes.mimic.sections import Cut, has_core
from deepicd.sections.state import ILLNESS

KINDS: Mapping[str, str] = {
    "not_english": "texts that are not English; the grammar of sections reads English only: give "
    "the English notes, or translate them first",
    "radiology_report": "radiology reports; give the discharge summaries (MIMIC-IV: "
    "note/discharge, not note/radiology)",
    "pathology_report": "pathology reports; give the discharge summaries",
    "only_discharge_sections": "texts with sections of the stay and of the discharge only; give "
    "whole summaries, with complaint, illness and history",
}
"""Kind → what it is and what to do."""

MAX_SHARE = 0.5
"""Share of the summaries above which a kind is refused."""

_ENGLISH = frozenset((
    "the", "and", "with", "for", "from", "were", "which", "that", "she", "his", "has", "been",
    "this", "not", "to", "by", "of",
))  # fmt: skip
_FOREIGN = frozenset((
    *("und", "der", "bei", "nicht", "ist", "keine", "seit", "wurde", "mit", "sich"),  # German
    *("een", "het", "niet", "zijn", "wordt", "voor", "geen", "sinds"),  # Dutch
    *("och", "att", "inte", "som", "til", "ikke", "og", "av", "på", "uten"),  # Scandinavian
    *("el", "una", "del", "con", "sin", "por", "que", "desde", "hace", "años"),  # Spanish
    *("uma", "não", "foi", "sem", "há", "dias", "anos"),  # Portuguese
    *("avec", "dans", "sans", "une", "depuis", "patiente", "chez", "aux"),  # French
    *("che", "della", "senza", "nel", "alla", "giorni", "anni"),  # Italian
))  # fmt: skip
"""Frequent words of other languages that are no English word, name or abbreviation of a chart."""
_MIN_ENGLISH = 0.02
_MIN_FOREIGN, _FEWEST_FOREIGN = 0.1, 3
"""Share and number in a short text; one or two may be a name's."""
_MIN_WORDS, _FEWEST_WORDS = 40, 8
_SEEN_CHARACTERS = 4000
"""Of a text: its language does not change."""
_MAX_FOREIGN = 0.3
"""Share of letters outside ASCII that English never has."""


def _headers(words: str) -> re.Pattern[str]:
    return re.compile(
        rf"^\W*(?P<line>{words})s?[ \t]*(?::|$)|(?-i:(?<=[.\s])(?=[A-Z ]+:))(?P<inside>{words})s?:",
        re.IGNORECASE | re.MULTILINE,
    )


_RADIOLOGY = _headers(
    r"technique|comparison|finding|impression|indication|examination|exam|study|view"
    r"|reason for (?:this )?exam(?:ination)?|clinical (?:history|information|indication)"
    r"|radiation dose|dose|dlp|contrast|wet read|final report|notification|recommendation"
    r"|report|conclusion|procedure"
)
_PATHOLOGY = _headers(
    r"specimen(?:s? (?:submitted|received))?|gross(?: (?:description|examination))?"
    r"|microscop(?:ic|y)(?: (?:description|examination))?|frozen section|immunohistochemistry"
    r"|(?:histo)?patholog(?:ic|ical|y) diagnosis"
)
_BARE_HISTORY = _headers("history")
_MIN_PATHOLOGY = 2
_OUTCOME = {"finding", "impression"}
_MIN_RADIOLOGY, _MIN_WITHOUT_CORE = 3, 2
_MAX_SECTIONS = 2
"""Kept sections of a radiology report: its own history may be read as one."""


def kind_of(text: str, cut: Cut) -> str:
    """What a text is, "" for a discharge summary."""
    if not _is_english(text[:_SEEN_CHARACTERS]):
        return "not_english"
    if not cut.has_stay and len(cut.sections) <= _MAX_SECTIONS:
        if len(_find(_PATHOLOGY, text)) >= _MIN_PATHOLOGY:
            return "pathology_report"
        headers = _find(_RADIOLOGY, text)
        if len(headers) >= (
            _MIN_RADIOLOGY if _has_history(text, cut, headers) else _MIN_WITHOUT_CORE
        ):
            return "radiology_report"
    is_rest = cut.has_end and not has_core(cut.sections)
    return "only_discharge_sections" if is_rest else ""


def _find(headers: re.Pattern[str], text: str) -> set[str]:
    return {(match["line"] or match["inside"]).lower() for match in headers.finditer(text)}


def _has_history(text: str, cut: Cut, headers: set[str]) -> bool:
    """Whether a history is a patient's, and not what a report was asked for."""
    is_bare = headers >= _OUTCOME and bool(_BARE_HISTORY.search(text))
    kept = {name: one for name, one in cut.sections.items() if not is_bare or name != ILLNESS}
    return has_core(kept)


def _is_english(text: str) -> bool:
    if not text.isascii():
        letters = [letter for letter in text if letter.isalpha()]
        if sum(not letter.isascii() for letter in letters) > _MAX_FOREIGN * len(letters):
            return False
    words = text.lower().split()
    if len(words) < _FEWEST_WORDS:
        return True
    english, foreign = (sum(word in known for word in words) for known in (_ENGLISH, _FOREIGN))
    if len(words) < _MIN_WORDS:
        return english > 0 or foreign < max(_FEWEST_FOREIGN, _MIN_FOREIGN * len(words))
    return english >= max(foreign, _MIN_ENGLISH * len(words))


def count_kinds(kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """Kind → how many notes are of it and their share of all that were looked at."""
    counts = Counter(kinds)
    return {
        kind: {"count": counts[kind], "share": counts[kind] / len(kinds)}
        for kind in KINDS
        if counts[kind]
    }


def check_kinds(kinds: Sequence[str], path: Path) -> None:
    """Raise DataError where most notes of a table are no English discharge summaries."""
    for kind, seen in count_kinds(kinds).items():
        if seen["share"] > MAX_SHARE:
            raise DataError(
                f"a build needs English discharge summaries; {seen['share']:.0%} of "
                f"{len(kinds)} notes in {path} are {KINDS[kind]}."
            )
