"""The reward of the DeepICD-R1 release (single-code variant, without its judge), for comparison.

Its semantics are reproduced, faults included: first-letter credit, credit for codes that do not
exist, categories with a letter in third place never scored, case matters, the reward grows with the
length of the gold code. Do not train with it without a reason; `default` is ours.

The total is the sum of four components, each scaled into [-1, 1] so that value x weight are the
release's points:

- `reference_match`, weight 105 = 15 x 7 characters. Exact: 15 x len(gold). Same first letter, o
  characters of common prefix: 15 x (o / len(gold) + (o - 2 if o >= 3 else 0)). Other first letter,
  no diagnosis block or not a code: -1;
- `reference_think`, weight 1: 1 for a non-empty think in the first pair;
- `reference_extra`, weight 1000: -1 point for each pair after the first (at most 1000);
- `reference_empty`, weight 5: -5 points for an empty output, beside the -1 for the missing block.

A pair is an optional think block and a diagnosis block that start a line; a block holds no tag of
its own kind. Here they are found in linear time.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from deepicd.records import Answer

_MATCH = 15.0
MATCH_WEIGHT = 105.0
EXTRA_WEIGHT = 1000.0
EMPTY_WEIGHT = 5.0

_CODE = re.compile(r"[A-Z][0-9]{2}[A-Z0-9]{0,4}")
_TAG = re.compile(r"</?(?:think|diagnosis)>")


class Pair(NamedTuple):
    """One reasoning and its diagnosis, as written."""

    think: str
    diagnosis: str


class _Tag(NamedTuple):
    name: str
    """As written: `<think>`, `</think>` and so on."""
    start: int
    end: int


def reward_reference_match(answer: Answer, gold: str, note: str | None = None) -> float:
    """Points for the first pair's code, over 105."""
    pairs = find_pairs(answer.text)
    return _match_points(pairs[0].diagnosis, gold) / MATCH_WEIGHT if pairs else -1 / MATCH_WEIGHT


def reward_reference_think(answer: Answer, gold: str, note: str | None = None) -> float:
    """1 for a non-empty think in the first pair."""
    pairs = find_pairs(answer.text)
    return 1.0 if pairs and pairs[0].think else 0.0


def reward_reference_extra(answer: Answer, gold: str, note: str | None = None) -> float:
    """Penalty for every pair after the first, over 1000."""
    surplus = max(0, len(find_pairs(answer.text)) - 1)
    return -min(1.0, surplus / EXTRA_WEIGHT)


def reward_reference_empty(answer: Answer, gold: str, note: str | None = None) -> float:
    """-1 for an output without a single character."""
    # `Answer.text` begins with the prefill, which the model did not write.
    return -1.0 if answer.text in {"", "<think>"} else 0.0


def _match_points(diagnosis: str, gold: str) -> float:
    code = diagnosis.strip().replace(".", "")
    if not _CODE.fullmatch(code) or code[0] != gold[0]:
        return -1.0
    if code == gold:
        return _MATCH * len(gold)
    overlap = next((i for i, (a, b) in enumerate(zip(code, gold, strict=False)) if a != b), None)
    if overlap is None:
        overlap = min(len(code), len(gold))
    return _MATCH * (overlap / len(gold) + (overlap - 2 if overlap >= 3 else 0))


@lru_cache(maxsize=1)  # three of the four components ask for the pairs of the same text
def find_pairs(text: str) -> tuple[Pair, ...]:
    """Every pair of a text, in order."""
    tags = [_Tag(match[0], match.start(), match.end()) for match in _TAG.finditer(text)]
    following = _next_of_kind(tags)
    pairs: list[Pair] = []
    index = 0
    while index < len(tags):
        gap = text[tags[index - 1].end if index else 0 : tags[index].start]
        match = None
        if _starts_line(gap, index):
            match = _match_pair(text, tags, index=index, following=following)
        if match:
            pairs.append(match[0])
        index = match[1] if match else index + 1
    return tuple(pairs)


def _starts_line(gap: str, index: int) -> bool:
    """Whether only blanks stand between a line's start and the tag after `gap`."""
    blanks = gap[len(gap.rstrip()) :]
    return "\n" in blanks or (index == 0 and blanks == gap)


def _match_pair(
    text: str, tags: list[_Tag], *, index: int, following: list[int]
) -> tuple[Pair, int] | None:
    """The pair that starts at a tag, and the index of the tag after it."""
    think = ""
    if tags[index].name == "<think>":
        close = following[index]
        if close + 1 >= len(tags) or tags[close].name != "</think>":
            return None
        think = text[tags[index].end : tags[close].start]
        if text[tags[close].end : tags[close + 1].start].strip():
            return None
        index = close + 1
    close = following[index]
    if tags[index].name != "<diagnosis>" or close == len(tags) or tags[close].name[1] != "/":
        return None
    return Pair(think, text[tags[index].end : tags[close].start]), close + 1


def _next_of_kind(tags: list[_Tag]) -> list[int]:
    """For each tag the index of the next tag, opening or closing, of its kind; else their
    number."""
    following = [len(tags)] * len(tags)
    nearest = {"think": len(tags), "diagnosis": len(tags)}
    for index in range(len(tags) - 1, -1, -1):
        kind = tags[index].name.strip("</>")
        following[index], nearest[kind] = nearest[kind], index
    return following
