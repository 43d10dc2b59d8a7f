"""A small search over tokens and spans for an answer that earns more than it should.

In: a note and a function that says by how much an answer earns too much. Out: the best answers that
were found, as short as they could be made. Decided here: hill climbing from a few answers; a step
puts in, takes out, replaces, moves or doubles one token, where a token is a tag, a code, a word of
no meaning, or a span of the note or of an honest reasoning. It knows no part of the reward, so it
finds what nobody thought of, and what is out of reach of single steps it does not find.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random

from deepicd import codes
from deepicd.rewards.candidates import GENERIC, Candidate, Case, honest_codes

_NUM_STEPS = 250
_MAX_TOKENS = 60
_NUM_SPANS = 12
"""Spans of the note, and of the reasonings, that are among the tokens."""
_MAX_SPAN = 9
"""Words of a span."""
_TAGS = ("<think>", "</think>", "<diagnosis>", "</diagnosis>")

_Token = tuple[str, str]
"""As it is scored, and as it may be printed."""
_Answer = tuple[_Token, ...]


def search_answers(case: Case, excess: Callable[[str], float], rng: Random) -> Iterator[Candidate]:
    """One candidate for each start, whether it earns too much or not.

    Args:
        case: the note.
        excess: text of an answer → how much more it earns than an honest one.
        rng: every choice is drawn from it.
    """
    vocabulary = _vocabulary(case, rng)
    for name, start in _starts(case).items():
        best = _trim(_climb(start, vocabulary, excess=excess, rng=rng), excess)
        yield Candidate(f"searched from {name}", _text(best), _shown(best))


def _starts(case: Case) -> dict[str, _Answer]:
    reasoning = _spans(case.reasonings[0].split(), "reasoning")
    wrong = next(iter(honest_codes(case).values()))[0]
    return {
        "the right answer": (*reasoning, *_ending(case.gold)),
        "a wrong answer": (*reasoning, *_ending(wrong)),
        "an empty answer": (),
    }


def _ending(code: str) -> _Answer:
    texts = ("</think>", "<diagnosis>", codes.dotted(code), "</diagnosis>")
    return tuple((text, text) for text in texts)


def _spans(words: Sequence[str], kind: str) -> _Answer:
    """A text as one token, if there is one."""
    return ((" ".join(words), f"[{kind}]"),) if words else ()


def _vocabulary(case: Case, rng: Random) -> _Answer:
    near = [code for found in honest_codes(case).values() for code in found]
    known = dict.fromkeys((case.gold, *near, *case.common[:3]))
    category = codes.category(case.gold)
    plain = [*_TAGS, "\n", *map(codes.dotted, known), category, f"{category}99", *GENERIC.split()]
    spans = [*_draw_spans(case.note or "", "note", rng)]
    spans += _draw_spans(" ".join(case.reasonings), "reasoning", rng)
    return (*((text, text) for text in plain), *spans)


def _draw_spans(text: str, kind: str, rng: Random) -> Iterator[_Token]:
    words = text.split()
    for _ in range(_NUM_SPANS if words else 0):
        start, length = rng.randrange(len(words)), rng.randint(1, _MAX_SPAN)
        chosen = words[start : start + length]
        yield " ".join(chosen), f"[{kind}: {len(chosen)} words from word {start + 1}]"


def _climb(
    start: _Answer, vocabulary: _Answer, *, excess: Callable[[str], float], rng: Random
) -> _Answer:
    best, reached = start, excess(_text(start))
    for _ in range(_NUM_STEPS):
        step = _mutate(best, vocabulary, rng)
        earned = excess(_text(step))
        # Equals are taken too: a plateau is crossed that way.
        if earned >= reached:
            best, reached = step, earned
    return best


def _mutate(answer: _Answer, vocabulary: _Answer, rng: Random) -> _Answer:
    place = rng.randint(0, len(answer))
    before, rest = answer[:place], answer[place:]
    token = rng.choice(vocabulary)
    changed = {
        "put in": (*before, token, *rest),
        "take out": (*before, *rest[1:]),
        "replace": (*before, token, *rest[1:]),
        "move": (*rest, *before),
        "double": (*before, *rest[:1], *rest),
    }
    return changed[rng.choice(list(changed))][:_MAX_TOKENS]


def _trim(answer: _Answer, excess: Callable[[str], float]) -> _Answer:
    """Without the tokens that earn nothing, from the end to the beginning."""
    reached = excess(_text(answer))
    for place in reversed(range(len(answer))):
        shorter = (*answer[:place], *answer[place + 1 :])
        if excess(_text(shorter)) >= reached:
            answer = shorter
    return answer


def _text(answer: _Answer) -> str:
    return " ".join(text for text, _ in answer)


def _shown(answer: _Answer) -> str:
    return " ".join(shown for _, shown in answer)
