"""Outcome: is the code exactly the gold code? Nothing between."""

from deepicd.records import Answer


def reward_outcome(answer: Answer, gold: str, note: str | None = None) -> float:
    """1 for the gold code, else 0. `gold` is canonical."""
    return 1.0 if answer.code is not None and answer.code == gold else 0.0
