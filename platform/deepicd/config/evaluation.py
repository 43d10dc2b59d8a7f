"""What else answers the notes that a run's models are scored on."""

from pydantic import Field

from deepicd.config.strict_model import StrictModel


class EvaluationConfig(StrictModel):
    """The context of a run's scores (`evaluation/context.json`)."""

    num_zero_shot: int = Field(default=200, ge=0)
    """Notes of the test and of the validation split (the first ones, as far as their prompts fit)
    that the base model answers before any training; 0 leaves it out."""
    num_rival_notes: int = Field(default=4000, ge=1)
    """Training notes (the first ones; splits are shuffled) that TF-IDF and its linear model learn
    from. 4,000 notes of 1,200 words take about 35 s of one core and 1 GB; both grow with them."""
