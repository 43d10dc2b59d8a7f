"""The base of every settings class, and the types of its values: numbers, seeds, places.

Decided here, so that no setting has to think of it:

- A number is finite and at most `MAX_NUMBER` either way. Libraries count in 32 bits and wait in
  seconds: more would only be refused later, or overflow.
- A truth value is no number, though Python counts with it.
- A path is made absolute when it is read, by its type, so that nothing later asks from which folder
  a command was called. A relative one counts from the working directory; `~` is the user's home,
  `$NAME` comes from the environment.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from deepicd.paths import expand_path

ADDRESS = "{address}"
"""Stands in an error for the address that it is about."""
MAX_NUMBER = 2**31 - 1
"""Greatest number of a setting or an option, either way."""
MAX_SEED = 2**31 - 1
"""Greatest seed. NumPy's old generators, scikit-learn, Optuna and vLLM take 0 to 2^32 - 1; ranks
and repeated trials add to a seed, and a sweep after another mixes 31 bits into it."""
MAX_WHOLE = 2**53
"""Whole numbers up to here are the same in JSON, in Optuna's floats and in Python."""

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
"""A seed that every library takes."""


def _explain(value: object) -> str:
    if not isinstance(value, dict):
        return ", not a list" if isinstance(value, list | tuple) else ""
    rest = ""
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        rest = f"{rest}.{key}"
    return f', not a table: a key with dots stands in quotes; write "{ADDRESS}{rest}" = …'


def _check_scalar(value: object) -> object:
    # Before the union, which would tell for each of its types why the value is none.
    if not isinstance(value, float | int | str | bool):
        raise ValueError(f"must be a number, a text, true or false{_explain(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    if isinstance(value, int | float) and abs(value) > MAX_WHOLE:
        raise ValueError(f"must lie within -{MAX_WHOLE} and {MAX_WHOLE}")
    return value


Scalar = Annotated[float | int | str | bool, BeforeValidator(_check_scalar)]
"""What a searched parameter, or a key of verl's, can be."""

Contradiction = tuple[tuple[str, ...], str]
"""Keys that lead from a model to a value, and why this does not go with the others."""
CONTRADICTIONS = "contradictions"
"""Type of the error that holds them."""


def _check_path(value: object) -> object:
    # Before pydantic makes a path of it, which would be "." and "s3:/bucket".
    if not isinstance(value, str | Path | None):
        raise ValueError("must be a path, as text in quotes")
    if value == "":
        raise ValueError("is an empty path; name one, or remove the line")
    if isinstance(value, str) and "://" in value:
        raise ValueError("must be a path in the file system, not a URL; mount it, or copy it")
    return expand_path(value) if isinstance(value, str) else value


def _resolve(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError as error:  # links lead round in a circle
        raise ValueError(f"{error}; write the path out") from None


def _resolve_folder(address: str) -> str:
    # `{run}` stands for a folder that is not known yet.
    if "{run}" in address and not f"{address}/".startswith("{run}/"):
        raise ValueError(
            "{run} stands for the whole path of the run's folder, so nothing stands before it; "
            "write {run}/registry, or the folder or URL itself"
        )
    address = expand_path(address)
    is_open = not address or "://" in address or address.startswith("{run}")
    return address if is_open else str(_resolve(Path(address)))


LocalPath = Annotated[Path, BeforeValidator(_check_path), AfterValidator(_resolve)]
"""A file or folder, absolute once it is read."""
FolderOrUrl = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value),
    AfterValidator(_resolve_folder),
]
"""A folder, absolute once it is read, or an fsspec URL as it is."""


class StrictModel(BaseModel):
    """Frozen, without unknown keys; the docstrings of fields are their descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )
    max_number: ClassVar[int] = MAX_NUMBER
    """Greatest number of a field, either way."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: object, info: ValidationInfo) -> object:
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and {int, float} & {kind, *get_args(kind)}:
            raise ValueError("must be a number, not true or false")
        return value

    @field_validator("*")
    @classmethod
    def _refuse_large_numbers(cls, value: object) -> object:
        numbers = value if isinstance(value, Mapping) else {"": value}
        if isinstance(value, tuple):
            numbers = dict(enumerate(value))
        for name, number in numbers.items():
            if isinstance(number, int | float) and abs(number) > cls.max_number:
                limits = f"must lie within -{cls.max_number} and {cls.max_number}"
                raise ValueError(f"{name} {limits}".lstrip())
        return value

    def contradictions(self) -> Iterator[Contradiction]:
        """Values that are right by themselves and do not go together: all of them, where a
        validator of its own would tell the first.
        """
        return iter(())

    # pydantic asks this only where every field is right by itself.
    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if found := list(self.contradictions()):
            words = "; ".join(why for _, why in found)
            placed = [(keys, why, _value_at(self, keys)) for keys, why in found]
            # One error with all of them; `inspection` takes it apart again.
            raise PydanticCustomError(CONTRADICTIONS, "{words}", {"words": words, "found": placed})
        return self


def _value_at(model: BaseModel, keys: tuple[str, ...]) -> Any:
    """What lies there, as JSON has it."""
    value: Any = model.model_dump(mode="json")
    for key in keys:
        value = value.get(key)
    return value
