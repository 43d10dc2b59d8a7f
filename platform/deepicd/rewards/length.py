"""Length: a penalty for endless answers, after the overlong penalty of DAPO (Yu et al., 2025).

0 up to `_SOFT_LIMIT` characters, then linear down to -1 at `_HARD_LIMIT` and beyond. The prompt's
`<think>` is counted too. In characters and not tokens: the reward knows no tokeniser; 4,000 are
about 1,000 tokens of English.
"""

from deepicd.records import Answer

_SOFT_LIMIT = 4_000
_HARD_LIMIT = 8_000


def reward_length(answer: Answer, gold: str, note: str | None = None) -> float:
    """Penalty in [-1, 0]."""
    surplus = len(answer.text) - _SOFT_LIMIT
    return -min(1.0, max(0.0, surplus / (_HARD_LIMIT - _SOFT_LIMIT)))
