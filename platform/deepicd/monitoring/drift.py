"""Which features of a version's answers have drifted since its first ones, without a label.

In: the first answers of a version, and its latest ones. Out: one `Drift` a feature. Decided here: a
feature has drifted when its distribution differs beyond chance (chi-square test, Holm's correction
over the features) and by enough to matter (population stability index above 0.2, the customary
limit). Prompt lengths are compared in the tenths of the first answers. A share that is nought in
both has not drifted.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepicd import codes

_MIN_PSI = 0.2
_LEVEL = 0.01
"""Of the tests, all features together."""
_MIN_ANSWERS = 50
"""Of either side; with fewer nothing is compared."""
_NUM_BINS = 10
_SMALL = 0.5
"""Added to every count in the index, which has no value for an empty class."""
_NONEXISTENT = frozenset({"unknown_code", "not_billable"})

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What is compared of one answer."""

    code: str | None
    reason: str | None
    num_prompt_tokens: int | None


@dataclass(frozen=True)
class Drift:
    """One feature of one version, now against its first answers."""

    version: str
    role: str
    feature: str
    """chapter, prompt_length, unparsable or nonexistent."""
    psi: float
    """Population stability index."""
    p: float
    """Of the chi-square test, after Holm's correction."""
    is_drifting: bool


def find_drift(
    first: Sequence[Seen], latest: Sequence[Seen], *, version: str, role: str
) -> list[Drift]:
    """One row for each feature; none where either side has too few answers."""
    if min(len(first), len(latest)) < _MIN_ANSWERS:
        return []
    tables = {name: count(first, latest, feature) for name, feature in features(first).items()}
    raw = {name: chi_square(*pair) for name, pair in tables.items()}
    rows = []
    for name, p in holm(raw).items():
        index = stability_index(*tables[name])
        rows.append(Drift(version, role, name, index, p, bool(p < _LEVEL and index > _MIN_PSI)))
    return rows


def features(first: Sequence[Seen]) -> Mapping[str, Callable[[Seen], object]]:
    """Name of a feature → its class of an answer."""
    lengths = [answer.num_prompt_tokens for answer in first if answer.num_prompt_tokens is not None]
    edges = (
        # Inner edges only, so the outer tenths are open; equal ones (many prompts of one length)
        # would make classes that nothing can fall into.
        np.unique(np.quantile(lengths, np.linspace(0, 1, _NUM_BINS + 1)[1:-1])) if lengths else ()
    )

    def tenth(answer: Seen) -> object:
        length = answer.num_prompt_tokens
        return None if length is None else int(np.searchsorted(edges, length, side="left"))

    return {
        "chapter": lambda answer: None if answer.code is None else codes.chapter(answer.code),
        "prompt_length": tenth,
        # A share is a feature of two classes, so that one test serves all four.
        "unparsable": lambda answer: answer.code is None,
        "nonexistent": lambda answer: answer.reason in _NONEXISTENT,
    }


def count(
    first: Sequence[Seen], latest: Sequence[Seen], feature: Callable[[Seen], object]
) -> tuple[Counts, Counts]:
    """Counts of every class that occurs, then and now."""
    then, now = Counter(map(feature, first)), Counter(map(feature, latest))
    # By their text: a class may be None, which nothing can be compared with.
    classes = sorted({*then, *now}, key=str)
    return (
        np.array([then[name] for name in classes], float),
        np.array([now[name] for name in classes], float),
    )


def stability_index(then: Counts, now: Counts) -> float:
    """Population stability index of two counts over the same classes; 0 for equal shares."""
    shares = [(counts + _SMALL) / (counts + _SMALL).sum() for counts in (then, now)]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def chi_square(then: Counts, now: Counts) -> float:
    """P value of Pearson's test that both come from one distribution; 1 for a single class."""
    from scipy.stats import chi2_contingency

    if len(then) < 2:
        return 1.0
    # Without Yates' correction, which scipy makes for two classes only: all features are tested
    # alike.
    return float(chi2_contingency(np.stack([then, now]), correction=False).pvalue)


def holm(raw: Mapping[str, float]) -> dict[str, float]:
    """P values corrected for their number (Holm 1979), under the same names."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(raw, key=lambda name: raw[name])):
        # Never below the one before: corrected values keep the order of the raw ones.
        largest = max(largest, min(1.0, raw[name] * (len(raw) - rank)))
        corrected[name] = largest
    return {name: corrected[name] for name in raw}
