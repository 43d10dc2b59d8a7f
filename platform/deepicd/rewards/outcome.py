"""Outcome: 1 for exactly the gold code, else 0; no partial credit."""

from deepicd.records import Answer


def reward_outcome(answer: Answer, gold: str, note: str | None = None) -> float:
    """1 for the gold code, else 0. `gold` is canonical."""
    return 1.0 if answer.code is not None and answer.code == gold else 0.0
