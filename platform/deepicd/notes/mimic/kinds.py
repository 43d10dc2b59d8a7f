"""What a text is instead of an English discharge summary: another language, another kind of note.

In: a text and its cut. Out: one of `KINDS`, `UNCLEAR`, or "" for a summary. Decided here: a text is
English when at least `_MIN_ENGLISH` of the words of its beginning are frequent in English or in its
charts, and no more are of another language; one of fewer than `_MIN_WORDS` words without a word of
any language is what most of the others are. A radiology report has three of its own headers, or two
and no history, and hardly any section of a summary; a bare `HISTORY` beside findings and an
impression is why it was asked for. A pathology report has two headers that only it has. Headers
count with a colon, alone on their line, or in capitals within one. Kinds are counted and reported,
and refused where most notes are of one (`check_kinds`): a single odd note is no reason to stop.
Pure.
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

UNCLEAR = "unclear_language"
"""Kind of a short text that has no word of any language; `count_kinds` settles it."""

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
_CHART = frozenset((
    *("pain", "fever", "cough", "chest", "shortness", "breath", "weakness", "bleeding", "swelling"),
    *("history", "presents", "presented", "admitted", "found", "seen", "denies", "fell", "slipped"),
    *("male", "female", "woman", "year", "years", "old", "day", "days", "since", "without"),
    *("left", "right", "heart", "blood", "pressure", "home", "daily", "clear", "none", "lives"),
    *("consult", "spasm", "mother", "father", "down", "ago", "worse", "better", "stable"),
    *("exam", "meds", "rehab", "lungs", "alert", "oriented", "afebrile", "nontender", "discharge"),
    *("knee", "tender", "edema", "treated", "started", "given", "brought", "unable", "likely"),
))  # fmt: skip
"""Words of English charts: telegrams seldom have one of the frequent words."""
_FOREIGN_CHART = frozenset((
    *("husten", "fieber", "schmerz", "schmerzen", "sturz", "atemnot", "anamnese"),
    *("diagnosen", "befund", "aufnahme", "erbrechen", "schwindel", "rechts", "links", "heute"),
    *("akute", "brustschmerz", "brustschmerzen", "bauchschmerzen", "kopfschmerzen"),
    *("vorhofflimmern", "durchfall", "frau", "herr", "tagen", "jahre", "keine"),
    *("dolor", "fiebre", "paciente", "disnea", "cefalea", "motivo", "ingreso", "derecha"),
    *("antecedentes", "mujer", "hombre", "izquierda", "enfermedad", "hoy", "ayer"),
    *("douleur", "douleurs", "toux", "motif", "chute", "admis", "admise", "hier", "femme", "homme"),
    *("vomissements", "droite", "gauche", "jours"),
    *("dolore", "febbre", "tosse", "paziente", "caduta", "anamnesi", "donna", "uomo", "ieri"),
    *("vomito", "destra", "sinistra", "ricovero", "ricoverato", "ricoverata", "toracico"),
    *("dispnea", "addominale", "oggi", "ipertensione"),
    *("dor", "febre", "doente", "queda", "dispneia", "cefaleia", "mulher", "homem", "ontem"),
    *("internado", "internada", "direita", "esquerda", "hoje"),
    *("pijn", "koorts", "hoesten", "buikpijn", "hoofdpijn", "borst", "kortademig", "gisteren"),
    *("braken", "vrouw", "opgenomen", "voorgeschiedenis", "reden", "misselijk", "jaar"),
    *("feber", "hosta", "hoste", "orsak", "sedan", "igår", "patienten", "kvinna", "kvinne"),
    *("smerter", "pasienten", "kräkningar", "tidigare", "hemmet"),
    *("pacjent", "pacjentka", "kaszel", "wywiad", "upadek", "wymioty", "kobieta", "powód"),
))  # fmt: skip
"""Words of other languages' charts that no English chart has."""
_NAMES = frozenset(("sjögren", "behçet", "ménière", "barré", "sézary", "naïve", "café", "müller"))
"""Words of English charts that keep a letter of another language, also in small letters."""
_MIN_ENGLISH = 0.02
_FEWEST_BESIDE_ENGLISH, _FEWEST_UNCLEAR = 2, 3
"""Words of another language in a short text: one may be a name's, two of the frequent ones too."""
_MIN_WORDS = 100
"""Of a text that is not English when it has no English word."""
_MIN_LETTERS = 3
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
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
    """What a text is: of `KINDS`, `UNCLEAR`, or "" for a discharge summary."""
    language = _language(text[:_SEEN_CHARACTERS])
    if language == "not_english":
        return language
    if not cut.has_stay and len(cut.sections) <= _MAX_SECTIONS:
        if len(_find(_PATHOLOGY, text)) >= _MIN_PATHOLOGY:
            return "pathology_report"
        headers = _find(_RADIOLOGY, text)
        if len(headers) >= (
            _MIN_RADIOLOGY if _has_history(text, cut, headers) else _MIN_WITHOUT_CORE
        ):
            return "radiology_report"
    is_rest = cut.has_end and not has_core(cut.sections)
    return "only_discharge_sections" if is_rest else language


def _find(headers: re.Pattern[str], text: str) -> set[str]:
    return {(match["line"] or match["inside"]).lower() for match in headers.finditer(text)}


def _has_history(text: str, cut: Cut, headers: set[str]) -> bool:
    """Whether a history is a patient's, and not what a report was asked for."""
    is_bare = headers >= _OUTCOME and bool(_BARE_HISTORY.search(text))
    kept = {name: one for name, one in cut.sections.items() if not is_bare or name != ILLNESS}
    return has_core(kept)


def _language(text: str) -> str:
    """Whether a text is not English, a short one without a sign of either, or English ("")."""
    if not text.isascii():
        letters = [letter for letter in text if letter.isalpha()]
        if sum(not letter.isascii() for letter in letters) > _MAX_FOREIGN * len(letters):
            return "not_english"
    return _language_of(_WORD.findall(text))


def _language_of(words: Sequence[str]) -> str:
    english = sum(word.lower() in _ENGLISH or word.lower() in _CHART for word in words)
    clear = sum(map(_is_clearly_foreign, words))
    foreign = clear + sum(word.lower() in _FOREIGN for word in words)
    # "AV block", "el pt seen": frequent words of other languages are names and abbreviations here.
    fewest = _FEWEST_BESIDE_ENGLISH if english else 1 if clear else _FEWEST_UNCLEAR
    if foreign > english and foreign >= fewest:
        return "not_english"
    if english and english >= _MIN_ENGLISH * len(words):
        return ""
    # A telegram has few words that are in no list of abbreviations; a long text has some.
    return "not_english" if len(words) >= _MIN_WORDS else UNCLEAR


def _is_clearly_foreign(word: str) -> bool:
    plain = word.lower()
    # "Waldenström"; a unit ("µg") is short.
    is_name = word[0].isupper() and not word.isupper()
    is_spelt_so = not word.isascii() and len(word) >= _MIN_LETTERS and not is_name
    return plain in _FOREIGN_CHART or (is_spelt_so and plain not in _NAMES)


def count_kinds(kinds: Sequence[str]) -> dict[str, dict[str, float]]:
    """Kind → how many notes are of it and their share of all that were looked at.

    Short texts without a sign of a language are of the language that most of the others are of.
    """
    counts = Counter(kinds)
    if counts["not_english"] > len(kinds) - counts["not_english"] - counts[UNCLEAR]:
        counts["not_english"] += counts[UNCLEAR]
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
