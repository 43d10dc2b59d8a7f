"""The base of every settings class: pydantic models that are frozen and refuse unknown keys."""

from pydantic import BaseModel, ConfigDict

Scalar = float | int | str | bool


class StrictModel(BaseModel):
    """Frozen, without unknown keys; the docstrings of fields are their descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
