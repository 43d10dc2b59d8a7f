"""How the ranking of answers changes with each weight over its search domain.

In: an experiment and notes (`candidates.Case`). Out: for each weight the totals of named answers at
both ends of its domain and every value between them at which two answers change places. Decided
here: a total is linear in one weight, so two answers change places at one value at most, and it is
computed and not searched for. Values of parts are means over the notes that have such an answer.
The other weights are those of the experiment. Where no weight is searched each one is shown from 0
to twice its value. The judge is not asked, and its weight is left out.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from deepicd import codes
from deepicd.answers import parse_answer
from deepicd.config import Experiment, all_values
from deepicd.rewards.candidates import Case, dishonest_answers, honest_codes, write_answer
from deepicd.rewards.composite import JUDGE, Reward, build_reward, resolve_weights

_PREFIX = "rewards.weights."
_TOLERANCE = 1e-9
_LEVELS = ("other chapter", "same chapter", "same block", "same category")
"""What an honest wrong answer has right, by nodes of the gold code's path."""
EXACT = "right code"
HONEST = (EXACT, *reversed(_LEVELS))
"""Names of the honest answers, best first."""


@dataclass(frozen=True)
class Crossing:
    """Two answers change places."""

    at: float
    """Value of the weight: below it `falls` earns more, above it `rises`."""
    rises: str
    falls: str


@dataclass(frozen=True)
class WeightEffect:
    """What one weight does to the ranking."""

    address: str
    low: float
    high: float
    own: float
    """The experiment's value."""
    totals: Mapping[str, tuple[float, float]]
    """Answer → mean total at the low and at the high end."""
    crossings: tuple[Crossing, ...]
    """In the order of their values."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            **asdict(self),
            "totals": {name: list(ends) for name, ends in self.totals.items()},
            "ranking": [self.ranking(0), self.ranking(1)],
        }

    def ranking(self, end: int) -> list[str]:
        """Answers at the low (0) or the high (1) end, best first; equals in the order of names."""
        return sorted(self.totals, key=lambda name: (-round(self.totals[name][end], 9), name))


def find_effects(experiment: Experiment, cases: Sequence[Case]) -> list[WeightEffect]:
    """What each weight does, in the order of the search.

    Raises:
        ConfigError: no reward can be built.
    """
    rewards = experiment.rewards
    own = resolve_weights(rewards.preset, rewards.weights)
    domains = _domains(experiment, own)
    known = {**dict.fromkeys(domains, 0.0), **own}
    # Weights do not change the values of parts, so that any above 0 do.
    reward = build_reward(
        rewards.preset, dict.fromkeys(known, 1.0), hierarchy_curve=rewards.hierarchy_curve
    )
    values = _mean_values(reward, cases)
    return [_effect(name, ends, known, values=values) for name, ends in domains.items()]


def _domains(experiment: Experiment, own: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Name of a weight → both ends of what it may be."""
    found = {}
    for address, domain in experiment.sweep.search.items():
        name = address.removeprefix(_PREFIX)
        if name not in {address, JUDGE}:
            values = all_values(domain)
            # Of whole numbers the ends are enough: there may be billions.
            ends = (values[0], values[-1]) if isinstance(values, range) else values
            found[name] = (float(min(ends)), float(max(ends)))
    fixed = {name: (0.0, 2 * weight) for name, weight in own.items() if weight and name != JUDGE}
    return found or fixed


def _effect(
    name: str,
    ends: tuple[float, float],
    weights: Mapping[str, float],
    *,
    values: Mapping[str, Mapping[str, float]],
) -> WeightEffect:
    lines = {
        answer: (
            math.fsum(weights[part] * value for part, value in parts.items() if part != name),
            parts[name],
        )
        for answer, parts in values.items()
    }
    totals = {
        answer: (base + ends[0] * slope, base + ends[1] * slope)
        for answer, (base, slope) in lines.items()
    }
    found = sorted(find_crossings(lines, ends), key=lambda crossing: crossing.at)
    return WeightEffect(f"{_PREFIX}{name}", *ends, weights[name], totals, tuple(found))


def find_crossings(
    lines: Mapping[str, tuple[float, float]], ends: tuple[float, float]
) -> Iterator[Crossing]:
    """Where two of several straight lines (name → value at 0, slope) cross between two ends."""
    for (first, (base, slope)), (second, (other_base, other_slope)) in combinations(
        lines.items(), 2
    ):
        steeper = slope - other_slope
        if abs(steeper) <= _TOLERANCE:
            continue
        at = (other_base - base) / steeper
        # At an end itself nobody has passed anybody: one side is outside of the domain.
        if ends[0] + _TOLERANCE < at < ends[1] - _TOLERANCE:
            rises, falls = (first, second) if steeper > 0 else (second, first)
            yield Crossing(at, rises, falls)


def _mean_values(reward: Reward, cases: Sequence[Case]) -> dict[str, dict[str, float]]:
    """Answer → part → mean of its unweighted values over the notes."""
    seen: dict[str, list[Mapping[str, float]]] = {name: [] for name in HONEST}
    for case in cases:
        for name, text in _answers(case):
            score = reward(parse_answer(text), case.gold, case.note)
            seen.setdefault(name, []).append(score.components)
    return {
        name: {part: math.fsum(row[part] for row in rows) / len(rows) for part in rows[0]}
        for name, rows in seen.items()
        if rows
    }


def _answers(case: Case) -> Iterator[tuple[str, str]]:
    """One honest answer for each level, and the others by name."""
    named: dict[str, str] = {}
    for near in honest_codes(case).values():
        depth = codes.shared_depth(codes.path(near[0]), codes.path(case.gold))
        level = EXACT if near[0] == case.gold else _LEVELS[min(depth, len(_LEVELS) - 1)]
        # Of a category's several depths the first, which is the least, speaks for it.
        named.setdefault(level, write_answer(case.reasonings[0], near[0]))
    yield from named.items()
    for one in dishonest_answers(case):
        if not one.name.startswith("another code"):
            yield one.name, one.text
