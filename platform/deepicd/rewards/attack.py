"""A reward → answers that earn more with it than honest ones do, before anything is trained.

In: notes with gold codes and honest reasonings (`candidates.Case`), and rewards by name. Out: the
total of the best honest answer and `Finding`s. Decided here: when an answer earns too much. It is
compared with honest answers to the same note that are at least as right:

- an answer with a usable code must not earn more than honest answers that have as many nodes of the
  gold code's path right, whichever codes these are;
- an answer without a usable code must not earn more than honest answers from another chapter: it
  says less;
- an answer that has not the gold code must earn less than the honest answer that has it. A reward
  that pays both the same cannot teach.

Which part is to blame: the parts that pay the answer more than they pay that honest one; where none
does, the parts that pay it at all. The judge is not asked: what it would say is left out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from deepicd import codes
from deepicd.answers import parse_answer
from deepicd.records import Answer, Score
from deepicd.rewards.answer_search import search_answers
from deepicd.rewards.candidates import (
    Candidate,
    Case,
    dishonest_answers,
    honest_codes,
    write_answer,
)
from deepicd.rewards.composite import Reward

_TOLERANCE = 1e-9
"""Of the best honest total: smaller differences are rounding."""
_MAX_SHOWN = 240
"""Characters of an answer that are printed; the middle of a longer one is left out."""
_NUM_SEARCHED = 4
"""Notes to which answers are searched; every answer is tried on all."""


@dataclass(frozen=True)
class Finding:
    """An answer that earns too much, on the note where it is worst."""

    name: str
    reward: str
    """Name of the reward that pays it."""
    answer: Candidate
    score: Score
    rival: Score
    """What the honest answer earns."""
    rival_name: str
    by: tuple[str, ...]
    """Parts that are to blame, the greatest first."""
    num_notes: int
    """Notes on which it earns too much."""

    @property
    def excess(self) -> float:
        """How much more than the honest answer, in the reward's points."""
        return self.score.total - self.rival.total

    def as_dict(self, *, is_text_shown: bool = False) -> dict[str, Any]:
        """Plain values, ready for JSON; without text of a note unless it is asked for."""
        text = self.answer.text if is_text_shown else _shorten(self.answer.shown)
        return {
            "name": self.name,
            "answer": text,
            "total": self.score.total,
            "parts": dict(self.score.components),
            "by": list(self.by),
            "honest": self.rival.total,
            "num_notes": self.num_notes,
            "reward": self.reward,
            "why": self._say_why(),
        }

    def _say_why(self) -> str:
        total, honest = f"{self.score.total:.4g}", f"{self.rival.total:.4g}"
        parts = ", ".join(map(self._say_part, self.by)) or "no part"
        more = "as much as" if math.isclose(self.score.total, self.rival.total) else "more than"
        return f"earns {total}, {more} {self.rival_name} ({honest}), by {parts}"

    def _say_part(self, part: str) -> str:
        own, other = weighted(self.score, part), weighted(self.rival, part)
        return f"{part} ({own:.4g} instead of {other:.4g})"


@dataclass(frozen=True)
class Attack:
    """What an attack on one or several rewards found."""

    honest_best: float
    """Mean over the notes of the best honest answer's total, with the first reward."""
    found: tuple[Finding, ...]
    """The greatest excess first."""
    num_notes: int
    num_answers: int
    """Answers that were scored, those of the search included."""

    def as_dict(self, *, is_text_shown: bool = False) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "honest_best": self.honest_best,
            "found": [one.as_dict(is_text_shown=is_text_shown) for one in self.found],
            "num_notes": self.num_notes,
            "num_answers": self.num_answers,
        }


def weighted(score: Score, part: str) -> float:
    """Points of one part: weight times value."""
    return score.weights.get(part, 1.0) * score.components[part]


class _Bar:
    """What honest answers to one note earn with one reward: what others must not pass."""

    def __init__(self, case: Case, reward: Reward) -> None:
        self._case, self._reward = case, reward
        self._path = codes.path(case.gold)
        self._best = {
            # The worst of codes that are as right: a favourite among them is found that way.
            depth: min(map(self._best_of, near), key=_total)
            for depth, near in honest_codes(case).items()
        }
        self.exact = self._best[len(self._path)]
        self.num_scored = 0

    def score(self, text: str) -> tuple[Answer, Score]:
        """What one text earns."""
        self.num_scored += 1
        answer = parse_answer(text)
        return answer, self._reward(answer, self._case.gold, self._case.note)

    def rival(self, answer: Answer) -> tuple[Score, str]:
        """The honest answer that an answer must not pass, and what it is."""
        if answer.code is None:
            return self._best[min(self._best)], "an honest answer with a usable wrong code"
        depth = codes.shared_depth(codes.path(answer.code), self._path)
        nearest = min(known for known in self._best if known >= depth)
        if nearest == len(self._path):
            return self.exact, "the honest right answer"
        return self._best[
            nearest
        ], f"honest answers with {nearest} of {len(self._path)} nodes right"

    def excess(self, text: str) -> float:
        """How much more a text earns than its rival; what a search climbs."""
        answer, score = self.score(text)
        return score.total - self.rival(answer)[0].total

    def judge(self, candidate: Candidate, reward: str) -> Finding | None:
        """The finding that a candidate is, None where it earns no more than it may."""
        answer, score = self.score(candidate.text)
        rival, name = self.rival(answer)
        slack = _TOLERANCE * max(1.0, abs(self.exact.total))
        if score.total <= rival.total + slack:
            rival, name = self.exact, "the honest right answer"
            if answer.code == self._case.gold or score.total < rival.total - slack:
                return None
        by = _blame(score, rival)
        return Finding(candidate.name, reward, candidate, score, rival, name, by, num_notes=1)

    def _best_of(self, code: str) -> Score:
        answers = (parse_answer(write_answer(think, code)) for think in self._case.reasonings)
        scores = [self._reward(answer, self._case.gold, self._case.note) for answer in answers]
        return max(scores, key=_total)


def attack_rewards(rewards: Mapping[str, Reward], cases: Sequence[Case], *, seed: int) -> Attack:
    """Search answers that earn more than honest ones with any of the rewards.

    Args:
        rewards: name → reward; the first one gives `honest_best`.
        cases: notes, at least one.
        seed: of the search; equal seeds give equal findings.

    Raises:
        CodeError: a gold code is not billable.
    """
    found: list[Finding] = []
    best, num_scored = list[float](), 0
    for name, reward in rewards.items():
        bars = [(case, _Bar(case, reward)) for case in cases]
        best.append(math.fsum(bar.exact.total for _, bar in bars) / len(bars))
        found += _merge(_try_all(name, bars, seed=seed))
        num_scored += sum(bar.num_scored for _, bar in bars)
    return Attack(best[0], tuple(_keep_worst(found)), len(cases), num_scored)


def _try_all(name: str, bars: Sequence[tuple[Case, _Bar]], *, seed: int) -> Iterator[Finding]:
    """Findings of every candidate, and of a search on the first notes."""
    for case, bar in bars:
        yield from filter(None, (bar.judge(one, name) for one in dishonest_answers(case)))
    for number, (case, bar) in enumerate(bars[:_NUM_SEARCHED]):
        # A generator for each note: findings do not depend on how many notes came before.
        rng = Random(f"{seed} {number}")
        for candidate in search_answers(case, bar.excess, rng):
            if found := bar.judge(candidate, name):
                yield found


def _merge(found: Iterator[Finding]) -> list[Finding]:
    """One finding for each name: where it earns most too much, and on how many notes."""
    by_name: dict[str, list[Finding]] = {}
    for one in found:
        by_name.setdefault(one.name, []).append(one)
    worst = [(max(group, key=_excess), len(group)) for group in by_name.values()]
    return [Finding(**{**vars(one), "num_notes": number}) for one, number in worst]


def _keep_worst(found: Sequence[Finding]) -> list[Finding]:
    """One finding for each candidate's name over all rewards, the greatest excess first."""
    # Stable: of equals the reward that was named first is kept.
    ordered = sorted(found, key=_excess, reverse=True)
    kept: dict[str, Finding] = {}
    for one in ordered:
        kept.setdefault(one.name, one)
    return list(kept.values())


def _blame(score: Score, rival: Score) -> tuple[str, ...]:
    gains = {part: weighted(score, part) - weighted(rival, part) for part in score.components}
    if not any(gain > _TOLERANCE for gain in gains.values()):
        gains = {part: weighted(score, part) for part in score.components}
    paid = [part for part, gain in gains.items() if gain > _TOLERANCE]
    return tuple(sorted(paid, key=lambda part: -gains[part]))


def _total(score: Score) -> float:
    return score.total


def _excess(finding: Finding) -> float:
    return finding.excess


def _shorten(text: str) -> str:
    if len(text) <= _MAX_SHOWN:
        return text
    half = _MAX_SHOWN // 2
    return f"{text[:half]} [… {len(text) - 2 * half} characters …] {text[-half:]}"
