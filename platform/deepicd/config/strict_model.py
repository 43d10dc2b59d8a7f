"""The base of every settings class, and the types of its values that are places.

Decided here: a path is made absolute when it is read, by its type, so that nothing later asks from
which folder a command was called. A relative one counts from the working directory; `~` is the
user's home.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

Scalar = float | int | str | bool

Contradiction = tuple[tuple[str, ...], str]
"""Keys that lead from a model to a value, and why this does not go with the others."""
CONTRADICTIONS = "contradictions"
"""Type of the error that holds them."""


def _check_path(value: object) -> object:
    # Before pydantic makes a path of it, which would be "." and "s3:/bucket".
    if value == "":
        raise ValueError("is an empty path; name one, or remove the line")
    if isinstance(value, str) and "://" in value:
        raise ValueError("must be a path in the file system, not a URL; mount it, or copy it")
    return value


def _resolve(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    # Of pathlib: nobody is called what follows `~`, or links lead round in a circle.
    except RuntimeError as error:
        raise ValueError(f"{error}; write the path out") from None


def _resolve_folder(address: str) -> str:
    # `{run}` stands for a folder that is not known yet.
    if "{run}" in address and not f"{address}/".startswith("{run}/"):
        raise ValueError(
            "{run} stands for the whole path of the run's folder, so nothing stands before it; "
            "write {run}/registry, or the folder or URL itself"
        )
    is_open = not address or "://" in address or address.startswith("{run}")
    return address if is_open else str(_resolve(Path(address)))


LocalPath = Annotated[Path, BeforeValidator(_check_path), AfterValidator(_resolve)]
"""A file or folder, absolute once it is read."""
FolderOrUrl = Annotated[str, AfterValidator(_resolve_folder)]
"""A folder, absolute once it is read, or an fsspec URL as it is."""


class StrictModel(BaseModel):
    """Frozen, without unknown keys; the docstrings of fields are their descriptions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

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
