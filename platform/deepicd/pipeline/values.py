"""Values of plain dataclasses as JSON, for stages that run in another process.

In: a value of `records` or of a stage, made of plain values. Out: a file, and the same value again.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from deepicd.errors import DataError
from deepicd.files import write_atomically


def write_value(path: Path, value: Any, kind: Any) -> None:
    """Write a value of the type `kind` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not `dump_json`: it writes a score that is not a number as null, which is none when read.
    values = TypeAdapter(kind).dump_python(value, mode="json")
    write_atomically(path, json.dumps(values, indent=2, sort_keys=True) + "\n")


def read_value(path: Path, kind: Any) -> Any:
    """The value that `write_value` wrote.

    Raises:
        DataError: it is none any more.
    """
    try:
        return TypeAdapter(kind).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except ValueError:  # the reason may quote a note's answer
        raise DataError(
            f"{path} is not as it was written; remove it, and the stage that wrote it runs again"
        ) from None
