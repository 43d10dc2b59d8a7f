"""Reasoning: does the text between the think tags look like reasoning about this note?

The product of cheap, deterministic checks, each in [0, 1], so that failing one of them is enough to
lose the reward:

- length: at least `_MIN_WORDS` words, falling to 0 between `_MAX_WORDS` and twice as many;
- repetition: share of distinct word triples, from 0 at `_LOW_DISTINCT` to 1 at `_HIGH_DISTINCT`;
- an outcome: 0 without a usable code;
- order: 0 if the diagnosed code is named in the first half, before the reasoning;
- with a note, grounding: distinct words of the reasoning that the note holds too, 1 from
  `_NUM_FINDINGS` on, common words not counted;
- with a note, copying: share of runs of `_RUN_WORDS` words taken word for word from the note, 1 up
  to `_LOW_COPIED`, 0 from `_HIGH_COPIED` on.

These checks catch hacks; they do not judge medicine. Keep the weight small: what is checked by rule
is learnt as a rule. At most `_MAX_CHARACTERS` of the reasoning are read.
"""

import re
from functools import lru_cache

from deepicd import codes
from deepicd.records import Answer

_MIN_WORDS = 5
_MAX_WORDS = 400
_LOW_DISTINCT = 0.3
_HIGH_DISTINCT = 0.7
_NUM_FINDINGS = 3
_MIN_LETTERS = 3
_RUN_WORDS = 8
_LOW_COPIED = 0.2
_HIGH_COPIED = 0.8
_MAX_CHARACTERS = 16_000

_COMMON_TEXT = """
about admission admitted after ago also and are been before being but code could diagnosis due for
from given had has have having her his history hospital into likely main most not note old patient
points presented presents principal she shows suggest suggests than that the their them then there
therefore these they this those was who with without would year years
"""
COMMON_WORDS = frozenset(_COMMON_TEXT.split())
"""Words of three letters and more that any note shares with any reasoning."""

_WORD = re.compile(r"[^\W_]+")


def reward_reasoning(answer: Answer, gold: str, note: str | None = None) -> float:
    """Product of the checks, in [0, 1]; without a note only those that need none.

    0 without a usable code: reasoning that leads nowhere must not earn more than a wrong answer.
    """
    if answer.code is None:
        return 0.0
    text = answer.think[:_MAX_CHARACTERS]
    words = _WORD.findall(text.lower())
    value = _length_check(len(words)) if len(answer.think) <= _MAX_CHARACTERS else 0.0
    if value:
        value *= _repetition_check(words) * _order_check(text, answer.code)
    if value and note:
        value *= _grounding_check(words, note) * _copying_check(words, note)
    return value


def _length_check(num_words: int) -> float:
    if num_words <= _MAX_WORDS:
        return min(1.0, num_words / _MIN_WORDS)
    return max(0.0, 2.0 - num_words / _MAX_WORDS)


def _repetition_check(words: list[str]) -> float:
    num_triples = len(words) - 2
    if num_triples < 1:
        return 1.0
    num_distinct = len(set(zip(words, words[1:], words[2:], strict=False)))
    return _ramp(num_distinct / num_triples, _LOW_DISTINCT, _HIGH_DISTINCT)


def _order_check(text: str, code: str) -> float:
    first_half = text[: len(text) // 2].upper()
    return 0.0 if code in first_half or codes.dotted(code) in first_half else 1.0


def _grounding_check(words: list[str], note: str) -> float:
    findings = {word for word in words if len(word) >= _MIN_LETTERS} - COMMON_WORDS
    return min(1.0, len(findings & _note_words(note)) / _NUM_FINDINGS)


def _copying_check(words: list[str], note: str) -> float:
    runs = _runs(words)
    copied = sum(run in _note_runs(note) for run in runs)
    return 1.0 - _ramp(copied / len(runs), _LOW_COPIED, _HIGH_COPIED) if runs else 1.0


def _runs(words: list[str]) -> list[str]:
    joined = range(len(words) - _RUN_WORDS + 1)
    return [" ".join(words[i : i + _RUN_WORDS]) for i in joined]


# GRPO scores a group of answers to the same note, one after the other.
@lru_cache(maxsize=32)
def _note_words(note: str) -> frozenset[str]:
    return frozenset(_WORD.findall(note.lower()))


@lru_cache(maxsize=32)
def _note_runs(note: str) -> frozenset[str]:
    return frozenset(_runs(_WORD.findall(note.lower())))


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, linear between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
