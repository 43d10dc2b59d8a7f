"""Patients → splits: by hash first, then repaired so that training has every frequent label.

Decided here: a hash of seed and patient gives a number in [0, 1) that falls into one of the shares;
so a split does not change when other patients come or go, every worker finds it alone, and the
embedded corpus can withhold phrases from training before any table is written. Then, for each
label (in order of codes) that at least `MIN_PATIENTS` patients have and no training patient has,
the patient whose number is smallest, so nearest to training's share, moves to training with all
admissions. So a patient's split depends on others only where a label would else be unseen. Pure.
"""

import hashlib
from bisect import bisect_right
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


def _position(patient_id: str, seed: int) -> float:
    """A number in [0, 1) that looks random and is always the same."""
    digest = hashlib.sha256(f"{seed}:{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
