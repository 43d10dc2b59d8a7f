"""What every part of an experiment has in common."""

from pydantic import BaseModel, ConfigDict

Scalar = float | int | str | bool


class Part(BaseModel):
    """Base of every part: frozen, no unknown keys, docstrings are the descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
