"""Patients → splits: by hash, repaired so that training has every frequent label and none is empty.

Decided here: a hash of seed and patient gives a number in [0, 1) that falls into one of the shares;
so a split does not change when other patients come or go, every worker finds it alone, and the
embedded corpus can withhold phrases from training before any table is written. Then, for each
label (in order of codes) that at least `MIN_PATIENTS` patients have and no training patient has,
the patient whose number is smallest, so nearest to training's share, moves to training with all
admissions. Of a small corpus a split may still be empty: it gets the patient of the largest split
whose number is nearest to its share. So a patient's split depends on others only where a label
would else be unseen, or a split empty. Pure.
"""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from deepicd.paths import SPLITS

MIN_PATIENTS = 4
"""A label of fewer patients may be missing from training: with one, it can be in one split only."""

_TRAIN = SPLITS[0]


def assign_split(patient_id: str, shares: Sequence[float], seed: int) -> str:
    """Name of the split of one patient; `shares` in the order of `paths.SPLITS`, summing to 1."""
    edges = list(accumulate(shares))[:-1]
    return SPLITS[bisect_right(edges, _position(patient_id, seed))]


def repair_splits(
    splits: Mapping[str, str], labels: Iterable[tuple[str, str]], *, seed: int
) -> dict[str, str]:
    """Splits in which training has every label that at least `MIN_PATIENTS` patients have.

    Args:
        splits: patient → split by hash.
        labels: (patient, code) of every note.
        seed: the same that gave `splits`.
    """
    repaired = dict(splits)
    patients_of: dict[str, set[str]] = {}
    codes_of: dict[str, set[str]] = {}
    for patient, code in labels:
        patients_of.setdefault(code, set()).add(patient)
        codes_of.setdefault(patient, set()).add(code)
    seen = {
        code for patient, codes in codes_of.items() if splits[patient] == _TRAIN for code in codes
    }
    for code in sorted(patients_of.keys() - seen):
        patients = patients_of[code]
        if code in seen or len(patients) < MIN_PATIENTS:
            continue
        moved = min(patients, key=lambda patient: (_position(patient, seed), patient))
        repaired[moved] = _TRAIN
        seen |= codes_of[moved]
    return repaired


def fill_splits(
    splits: Mapping[str, str],
    labels: Iterable[tuple[str, str]],
    *,
    shares: Sequence[float],
    seed: int,
) -> dict[str, str]:
    """Splits of which none is empty, where there is a patient for each.

    Args:
        splits: patient → split, repaired.
        labels: (patient, code) of every note.
        shares: the same that gave `splits`.
        seed: the same that gave `splits`.
    """
    filled, pairs = dict(splits), list(labels)
    edges = [0.0, *accumulate(shares)]
    for number, name in enumerate(SPLITS):
        sizes = Counter(filled.values())
        if sizes[name] or len(filled) < len(SPLITS):
            continue
        largest = max(SPLITS, key=lambda split: sizes[split])
        members = [patient for patient in filled if filled[patient] == largest]
        needed = _needed(filled, pairs) if largest == _TRAIN else set()
        low, high = edges[number], edges[number + 1]

        def distance(patient: str, low: float = low, high: float = high) -> tuple[float, str]:
            position = _position(patient, seed)
            return max(low - position, position - high), patient

        movable = [patient for patient in members if patient not in needed]
        filled[min(movable or members, key=distance)] = name
    return filled


def _needed(splits: Mapping[str, str], labels: Sequence[tuple[str, str]]) -> set[str]:
    """Training patients without whom training would lack a label of `MIN_PATIENTS` patients."""
    patients_of: dict[str, set[str]] = {}
    for patient, code in labels:
        patients_of.setdefault(code, set()).add(patient)
    needed: set[str] = set()
    for patients in patients_of.values():
        held = {patient for patient in patients if splits[patient] == _TRAIN}
        if len(patients) >= MIN_PATIENTS and len(held) == 1:
            needed |= held
    return needed


def _position(patient_id: str, seed: int) -> float:
    """A number in [0, 1) that looks random and is always the same."""
    digest = hashlib.sha256(f"{seed}:{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
