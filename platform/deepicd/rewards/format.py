"""Format: is the answer `<think>reasoning</think><diagnosis>CODE</diagnosis>` and nothing else?

1 for an answer without any fault; 0.5 for a usable code beside faults of form (text outside the
tags, no reasoning); 0.25 for right blocks around something that is not a usable code, so that a
code that does not exist never earns as much as a wrong one that does; 0 for everything else.
"""

from deepicd.answers import CODE_FAULTS
from deepicd.records import Answer

_WITH_FORM_FAULTS = 0.5
_WITHOUT_CODE = 0.25


def reward_format(answer: Answer, gold: str, note: str | None = None) -> float:
    """Share of the form that is right: 0, 0.25, 0.5 or 1."""
    if not answer.faults:
        return 1.0
    if answer.reason is None:
        return _WITH_FORM_FAULTS
    return _WITHOUT_CODE if CODE_FAULTS.issuperset(answer.faults) else 0.0
