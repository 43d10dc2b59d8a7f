"""Patients → splits. A patient's split is a function of patient, seed and shares, of nothing else.

Decided here: a hash of seed and patient gives a number in [0, 1) that falls into one of the shares;
so a split never changes when other patients come or go, every worker finds it alone, and the
embedded corpus can withhold wordings from training before any table is written. Pure.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from deepicd.paths import SPLITS


def assign_split(patient_id: str, shares: Sequence[float], seed: int) -> str:
    """Name of the split of one patient; `shares` in the order of `paths.SPLITS`, summing to 1."""
    digest = hashlib.sha256(f"{seed}:{patient_id}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    edges = list(accumulate(shares))[:-1]
    return SPLITS[bisect_right(edges, position)]
