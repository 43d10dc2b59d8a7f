"""Write the table of every setting of an experiment into `docs/configuration.md`.

In: the settings classes of `deepicd.config`, with their docstrings. Out: the page's part between
its markers, replaced. Decided here: a table a section of the file; a default is written as TOML has
it, or is empty where there is none. A test compares the page with what this script would write.

    python scripts/build_settings.py
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from deepicd.config import Experiment

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- settings: scripts/build_settings.py -->", "<!-- end of settings -->"
_FILLED_IN = ("sweep.warm_start_trials", "sweep.warm_start_notes")
"""Written by a run, not by people."""


def is_table(info: FieldInfo) -> bool:
    """Whether a field is a section of the file."""
    return isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)


def sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Heading and rows of each section, outermost first."""
    fields = model.model_fields.items()
    yield (
        f"[{prefix.rstrip('.')}]" if prefix else "Top level",
        [row(f"{prefix}{name}", info) for name, info in fields if not is_table(info)],
    )
    for name, info in fields:
        if is_table(info):
            assert isinstance(info.annotation, type)
            yield from sections(info.annotation, f"{prefix}{name}.")


def row(address: str, info: FieldInfo) -> str:
    """One setting as a row of Markdown; empty for one that a run fills in."""
    if address in _FILLED_IN:
        return ""
    words = " ".join((info.description or "").split()).replace("|", "\\|")
    return f"| `{address}` | {default_of(info.default)} | {words} |"


def default_of(value: Any) -> str:
    """A default as TOML has it."""
    if value is None or value in ("", (), {}):
        return ""
    return f"`{json.dumps(value)}`"


def table() -> str:
    """The part of the page between its markers."""
    parts = [
        f"### {heading}\n\n| address | default | meaning |\n|---|---|---|\n"
        + "\n".join(filter(None, rows))
        for heading, rows in sections(Experiment)
    ]
    return "\n\n" + "\n\n".join(parts) + "\n\n"


def page() -> str:
    """The page as it has to be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
