"""What stands beside a model's scores, and on its card.

`entries` scores what else answers the notes of a run, `rows` sets a model beside it, `card` gathers
what a model card says.
"""

from deepicd.pipeline.context.card import card_facts
from deepicd.pipeline.context.entries import (
    TEST,
    VALIDATION,
    base_model,
    load_scored,
    read_context,
    write_context,
)
from deepicd.pipeline.context.rows import (
    START_MODEL,
    Model,
    rows_of_test,
    rows_of_trials,
    set_beside,
    winner_of,
    with_context,
)

__all__ = [
    "START_MODEL",
    "TEST",
    "VALIDATION",
    "Model",
    "base_model",
    "card_facts",
    "load_scored",
    "read_context",
    "rows_of_test",
    "rows_of_trials",
    "set_beside",
    "winner_of",
    "with_context",
    "write_context",
]
