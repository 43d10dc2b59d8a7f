"""A teacher's reply → a trace, or the name of the first rule that it breaks.

In: a reply, its note, the settings. Out: the response for the file, or a reason of `REASONS`.
Decided here:

- The rules are tried in the order of `REASONS`; what is counted is the first one that is broken.
- Code and title may be named at the end only: in the last sentence, and not in the first half of
  the reasoning. A title that the note itself states is a finding, and may be named anywhere.
- A title is given away word for word, in a short form (`notes.wordings.gold_phrases`), or when one
  sentence has most of its telling words that the note does not have.
- Numbers of the code and of its title are known at the end; all others must stand in the note.

Rules cannot tell whether medicine is right. They keep out what would teach a model to copy, to
invent, or to know the answer before it reasons.
"""

import re
from collections.abc import Mapping

import pyarrow as pa

from deepicd import answers, codes, prompts
from deepicd.config import TracesConfig
from deepicd.notes.near_duplicates import BANDS, ROWS, minhash_signatures
from deepicd.notes.wordings import gold_phrases, is_gold_named
from deepicd.records import Answer, Note
from deepicd.rewards.reasoning import COMMON_WORDS
from deepicd.traces.grounding import (
    note_spans,
    share_copied,
    share_distinct,
    unknown_numbers,
    words_of,
)

REASONS: Mapping[str, str] = {
    "does_not_parse": "is not <think>reasoning</think><diagnosis>CODE</diagnosis>",
    "other_code": "answers another code than the note's",
    "too_short": "has fewer words than traces.min_words",
    "too_long": "has more words than traces.max_words",
    "speaks_of_answer": "speaks of an answer that is given or known",
    "given_away": "names the code or its title before the end",
    "repeated": "says the same again and again",
    "copied": "is copied from the note",
    "unknown_number": "names a number that the note does not have",
    "not_grounded": "takes up too little of the note",
    "near_duplicate": "is almost the same as an accepted trace",
}
"""Reason → what such a reply does, in the order in which the rules are tried."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_GIVEN = r"(?:given|provided|supplied|known|gold|reference|target|expected|assigned)"
_SPEAKS = re.compile(
    rf"\b{_GIVEN}[ -](?:icd(?:-10(?:-cm)?)? )?(?:code|answer|label|title|solution)s?\b"
    r"|\b(?:given|provided|gold|reference|target|expected|assigned) diagnos[ie]s\b"
    rf"|\b(?:code|answer|label|title)s? (?:\w+ )?(?:is|was|were|are|being|as) "
    rf"(?:already )?{_GIVEN}\b"
    r"|\b(?:i|we) (?:was|were|am|are) (?:told|given|provided|informed)\b"
    r"|\b(?:i|we) (?:already )?know (?:that )?the (?:code|answer|diagnosis|label)\b"
    r"|\b(?:match|agree|correspond|fit)\w* (?:with |to )?the (?:correct|true|right|final) "
    r"(?:code|answer|diagnosis)\b"
    r"|\bknowing the (?:code|answer|diagnosis|label)\b|\bground[ -]truth\b|\banswer key\b"
    r"|\b(?:as if|pretend(?:ing)?|suppose) .{0,30}\b(?:un)?known?\b"
    r"|\b(?:code|answer|diagnosis) (?:we|i|you) (?:are|were|have been|was) (?:given|provided)\b"
    r"|\b(?:official|its|code's) title\b|\bas an? (?:ai|language model)\b"
    r"|\b(?:in|by|per|from) (?:the|this|your) (?:prompt|instructions?|task|question)\b",
    re.IGNORECASE,
)
_MIN_TITLE_WORDS = 3
"""Telling words of a title that a sentence must share before a paraphrase counts as the title."""
_TITLE_SHARE = 0.75
"""Share of them that it must have."""
_REPEATED_WORDS = 4
"""A sentence of so many words stands in a reasoning once."""


class Verifier:
    """Checks replies one after another, and remembers the accepted ones for near-duplicates."""

    def __init__(self, settings: TracesConfig) -> None:
        self._settings = settings
        self._accepted = _NearDuplicates(settings.similarity)

    def check(self, reply: str, note: Note) -> tuple[str, str]:
        """The reason (empty for a trace), and the response of the trace (empty without one)."""
        answer = parse_reply(reply)
        reason = find_fault(answer, note, self._settings)
        if not reason and not self._accepted.add(answer.think):
            reason = "near_duplicate"
        if reason:
            return reason, ""
        return "", prompts.response_text(answer.think, codes.dotted(note.code))

    def remember(self, response: str) -> None:
        """Count a response that was accepted earlier among the accepted ones."""
        self._accepted.add(parse_reply(response).think)


def parse_reply(reply: str) -> Answer:
    """A reply as an answer; it may begin with `<think>` or behind it."""
    return answers.parse_answer(reply, is_prefilled=not reply.lstrip().startswith("<think>"))


def find_fault(answer: Answer, note: Note, settings: TracesConfig) -> str:
    """The first rule that one reply breaks by itself, empty for none."""
    think = answer.think
    # A tag of another kind would not survive as a response.
    if answer.faults or "<" in think:
        return "does_not_parse"
    if answer.code != note.code:
        return "other_code"
    num_words = len(words_of(think))
    if num_words < settings.min_words:
        return "too_short"
    if num_words > settings.max_words:
        return "too_long"
    if _SPEAKS.search(think):
        return "speaks_of_answer"
    if _is_given_away(think, note):
        return "given_away"
    return _find_weakness(think, note, settings)


def _find_weakness(think: str, note: Note, settings: TracesConfig) -> str:
    """The first rule of content that a reasoning breaks, empty for none."""
    if share_distinct(think) < settings.min_distinct or _has_equal_sentences(think):
        return "repeated"
    if share_copied(think, note.text) > settings.max_copied:
        return "copied"
    start, end = _split_end(think)
    title = (codes.dotted(note.code), codes.title(note.code))
    if unknown_numbers(start, [note.text]) or unknown_numbers(end, [note.text, *title]):
        return "unknown_number"
    if len(note_spans(think, note.text)) < settings.min_spans:
        return "not_grounded"
    return ""


def _split_end(think: str) -> tuple[str, str]:
    """The reasoning before its end, and the end: where code and title may stand."""
    sentences = [match.end() for match in _SENTENCE_END.finditer(think.strip())]
    last = max(sentences[-1] if sentences else 0, len(think) // 2)
    # Not within a word: half of it would not be found.
    while last < len(think) and think[last - 1 : last].strip():
        last -= 1
        if not last:
            break
    return think[:last], think[last:]


def _is_given_away(think: str, note: Note) -> bool:
    start = _split_end(think)[0].lower()
    squeezed = re.sub(r"(?<=[a-z0-9])[. ]+(?=[a-z0-9])", ".", start)
    dotted = codes.dotted(note.code).lower()
    if any(
        re.search(rf"(?<![a-z0-9]){re.escape(name)}(?![a-z0-9])", text)
        for name in (dotted, note.code.lower())
        for text in (start, squeezed)
    ):
        return True
    stated = note.text.lower()
    phrases = [name for name in gold_phrases(note.code) if not is_gold_named(stated, [name])]
    return is_gold_named(" ".join(start.split()), phrases) or _is_paraphrased(start, note)


def _is_paraphrased(start: str, note: Note) -> bool:
    """Whether one sentence has most telling words of the title that the note does not have."""
    title = {word for word in words_of(codes.title(note.code)) if len(word) > _MIN_TITLE_WORDS}
    telling = title - COMMON_WORDS - set(words_of(note.text))
    if len(telling) < _MIN_TITLE_WORDS:
        return False
    sentences = _SENTENCE_END.split(start)
    most = max(len(telling & set(words_of(sentence))) for sentence in sentences)
    return most >= _TITLE_SHARE * len(telling)


def _has_equal_sentences(think: str) -> bool:
    sentences = [tuple(words_of(each)) for each in _SENTENCE_END.split(think)]
    long = [each for each in sentences if len(each) >= _REPEATED_WORDS]
    return len(set(long)) < len(long)


class _NearDuplicates:
    """Texts by their MinHash signatures; a text that is similar to one of them is not added."""

    def __init__(self, similarity: float) -> None:
        self._similarity = similarity
        self._signatures: list[bytes] = []
        self._buckets: dict[tuple[int, bytes], list[int]] = {}

    def add(self, text: str) -> bool:
        """Add a text; False where a similar one is there."""
        signature = minhash_signatures(pa.array([" ".join(words_of(text))]))[0]
        width = ROWS * signature.itemsize
        packed = signature.tobytes()
        keys = [(band, packed[band * width : (band + 1) * width]) for band in range(BANDS)]
        rows = {row for key in keys for row in self._buckets.get(key, ())}
        if any(_agree(packed, self._signatures[row]) >= self._similarity for row in rows):
            return False
        self._signatures.append(packed)
        for key in keys:
            self._buckets.setdefault(key, []).append(len(self._signatures) - 1)
        return True


def _agree(first: bytes, second: bytes) -> float:
    """Share of equal components of two signatures."""
    pairs = zip(memoryview(first).cast("I"), memoryview(second).cast("I"), strict=True)
    return sum(mine == theirs for mine, theirs in pairs) / (BANDS * ROWS)
