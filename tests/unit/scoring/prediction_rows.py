"""Rows of predictions that several tests of scoring build."""

import random

from deepicd.records import Prediction

# Siblings, one category, one chapter and others, so that every level can be right or wrong.
POOL = [
    "I2510",
    "I25110",
    "I252",
    "I10",
    "I214",
    "J189",
    "J690",
    "C4A9",
    "O9A111",
    "S0262XA",
    "R69",
]


def build_rows(golds_and_predictions, notes_per_patient=1):
    return [
        Prediction(str(i), f"p{i // notes_per_patient}", gold, prediction)
        for i, (gold, prediction) in enumerate(golds_and_predictions)
    ]


def build_random_rows(size, seed, share_right=0.4):
    gold_rng, rng = random.Random(11), random.Random(seed)
    rows = []
    for _ in range(size):
        gold = gold_rng.choice(POOL)
        rows.append((gold, gold if rng.random() < share_right else rng.choice([*POOL, None])))
    return build_rows(rows, notes_per_patient=2)
