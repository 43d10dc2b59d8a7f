"""Values of plain dataclasses as JSON, for stages that run in another process.

In: a value of `records` or of a stage, made of plain values. Out: a file, and the same value again.
"""

import json
import math
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from deepicd.errors import DataError
from deepicd.files import write_json


def write_value(path: Path, value: Any, kind: Any) -> None:
    """Write a value of the type `kind` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, TypeAdapter(kind).dump_python(value, mode="json"))


def read_value(path: Path, kind: Any) -> Any:
    """The value that `write_value` wrote.

    Raises:
        DataError: it is none any more.
    """
    try:
        return _validate(json.loads(path.read_text(encoding="utf-8")), TypeAdapter(kind))
    except ValueError:  # the reason may quote a note's answer
        raise DataError(
            f"{path} is not as it was written; remove it, and the stage that wrote it runs again"
        ) from None


def _validate(values: Any, adapter: TypeAdapter[Any]) -> Any:
    """The value; null where a number has to be was none that JSON has a word for."""
    try:
        return adapter.validate_python(values)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        if any(fault["type"] != "float_type" or fault["input"] is not None for fault in faults):
            raise
    for fault in faults:
        *above, last = fault["loc"]
        table = values
        for name in above:
            table = table[name]
        table[last] = math.nan
    return adapter.validate_python(values)
