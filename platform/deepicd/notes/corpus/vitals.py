"""Findings that a note states → vital signs that fit them.

In: names of the findings that were sampled, the words of those that are vital signs themselves, a
seeded generator. Out: the entries of the line of vital signs. Decided here: a vital sign is stated
by its own finding (`exam_fever`), or implied by another (fever at home: a febrile temperature), or
else normal and mostly left out, because digits cost tokens. It depends on what was sampled and
on chance, never on the code, and no implied or normal value is a phrase of a finding: so
`sampling.posterior` stays exact.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from random import Random

STABLE = "VSS"
_SHARE_STABLE = 0.3
"""Probability that a note with normal vital signs says so without a number."""
_SHARE_NORMAL = 0.07
"""Probability of each normal vital sign to be stated with its number."""


@dataclass(frozen=True)
class Vital:
    """One vital sign and how findings decide it."""

    name: str
    normal: tuple[str, ...]
    stated_by: tuple[str, ...]
    """Findings whose own words state it."""
    implied: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Finding → abnormal values that go with it; the first finding that is present decides."""
    unsure: tuple[str, ...] = ()
    """Findings with which a normal value would be odd: nothing is stated then."""


VITALS = (
    Vital(
        "temperature",
        normal=("T 98.4", "T 97.8", "T 98.6"),
        stated_by=("exam_fever",),
        implied={"fever": ("T 100.9", "T 101.1")},
    ),
    Vital(
        "heart rate",
        normal=("HR 72", "HR 84", "HR 68"),
        stated_by=("exam_tachycardia", "exam_bradycardia"),
        implied={
            "af_rvr": ("HR 138", "HR 144"),
            "sawtooth": ("HR 148",),
            "dissociation": ("HR 42",),
        },
        unsure=("sinus_pauses", "palpitations"),
    ),
    Vital(
        "blood pressure",
        normal=("BP 124/72", "BP 118/76", "BP 132/78"),
        stated_by=("exam_hypotension", "orthostatic"),
        implied={
            "hypotension_fluids": ("BP 88/52", "BP 86/50"),
            "severe_bp": ("BP 168/110",),
            "mild_bp": ("BP 144/92",),
        },
    ),
    Vital(
        "oxygen saturation",
        normal=("98% RA", "97% RA"),
        stated_by=("exam_hypoxia",),
        unsure=("hypercapnia", "ground_glass"),
    ),
)


def write_vitals(present: Set[str], words: Mapping[str, str], rng: Random) -> list[str]:
    """Entries of the line of vital signs, in the order of `VITALS`; often none.

    Args:
        present: names of all findings that the note states.
        words: finding → its words, for the findings that are vital signs.
        rng: decides which values are written.
    """
    entries = [text for vital in VITALS for text in _write(vital, present, words=words, rng=rng)]
    is_normal = not any(_is_abnormal(vital, present) for vital in VITALS)
    if not entries and is_normal and rng.random() < _SHARE_STABLE:
        return [STABLE]
    return entries


def _write(vital: Vital, present: Set[str], *, words: Mapping[str, str], rng: Random) -> list[str]:
    stated = [words[name] for name in vital.stated_by if name in words]
    if stated:
        return stated
    for name, values in vital.implied.items():
        if name in present:
            return [rng.choice(values)]
    if rng.random() < _SHARE_NORMAL and present.isdisjoint(vital.unsure):
        return [rng.choice(vital.normal)]
    return []


def _is_abnormal(vital: Vital, present: Set[str]) -> bool:
    return not present.isdisjoint((*vital.stated_by, *vital.implied, *vital.unsure))
