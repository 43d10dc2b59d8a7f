"""A commented experiment file to begin from.

In: where it is to lie, and what is known of data and machines. Out: the file, which `deepicd
validate` accepts. Decided here: the files `data/experiment_*.toml` are filled in, not made of
the settings, since the comments are what a newcomer needs. A file that is there stays, unless its
replacement is asked for.
"""

import json
import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from shlex import quote
from string import Template
from typing import Literal

from deepicd.config.loading import load_experiment
from deepicd.errors import ConfigError, MissingError
from deepicd.files import refuse_existing, write_atomically

_FILE = "experiment.toml"
_KEEP = '# sections = "keep"         # where notes are admission notes already, not whole summaries'
_PLACES = {
    "mimic": ('source = "mimic"\nroot = PLACE # holds note/ and hosp/', "data/mimic-iv"),
    "table": (
        'source = "table"\nfile = PLACE # CSV, JSON lines or Parquet with a row a note\n'
        'columns = { note = "note", patient = "patient", admission = "admission", code = "code" }\n'
        f"# further columns, if there are: id, order, sex, race, age, insurance\n{_KEEP}",
        "data/notes.csv",
    ),
    "fhir": (
        f'source = "fhir"\nroot = PLACE # NDJSON files of a bulk export\n{_KEEP}',
        "data/export",
    ),
}
"""Source → its lines in `[data]`, and a place to be filled in."""
_PROMPTS = 64
"""Prompts of a GRPO step, about."""


@dataclass(frozen=True)
class NewExperiment:
    """What a new experiment begins with. The values below `data` are those of notes of one's own;
    None takes a place to be filled in.
    """

    data: Literal["embedded", "mimic", "table", "fhir"] = "embedded"
    root: str | None = None
    """Folder of MIMIC-IV's tables or of a FHIR export, or the file of notes."""
    model: str | None = None
    """Hugging Face folder of the model."""
    traces: str | None = None
    """Parquet file of traces for SFT."""
    gpus: int | None = None
    """GPUs of one trial."""
    base: Path | None = None
    """Experiment file that the new one begins from, instead of all that."""


def write_new_experiment(place: Path, options: NewExperiment, *, may_replace: bool) -> Path:
    """Write an experiment file and return its path.

    Args:
        place: file that ends in `.toml`, or a folder, which gets `experiment.toml`.
        options: what is in it.
        may_replace: whether a file that is there may be replaced.

    Raises:
        ConfigError: a file is there, the new one would be refused, or a value has no place in it.
        MissingError: there is no file to begin from.
    """
    file = place if place.suffix == ".toml" else place / _FILE
    refuse_existing([file], may_replace=may_replace, option="the first argument")
    _check_options(options)
    name = _name_of(file)
    text = _begin_from(options.base, file, name) if options.base else _fill(options, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Read before it takes its place: what is there stays where the new one would be refused.
    # In the same folder, from which its `base` counts.
    draft = file.with_name(f".{file.name}.draft.toml")
    try:
        draft.write_text(text, encoding="utf-8")
        load_experiment(draft)
    finally:
        draft.unlink(missing_ok=True)
    write_atomically(file, text)
    return file


def _name_of(file: Path) -> str:
    """A name for runs: the file's, or its folder's."""
    path = file.resolve()
    words = path.parent.name if path.name == _FILE else path.stem
    return re.sub("[^a-z0-9_-]+", "-", words.lower()).strip("-_")[:64] or "experiment"


def _check_options(options: NewExperiment) -> None:
    """Raise ConfigError for an option that would be passed over."""
    names = ("root", "model", "traces", "gpus")
    given = [f"--{name}" for name in names if getattr(options, name) is not None]
    if given and (options.data == "embedded" or options.base is not None):
        raise ConfigError(
            f"{', '.join(given)} would change nothing: it belongs to --data mimic, table or fhir "
            "without --from; "
            "leave it out, and set the value in the file"
        )


def _fill(options: NewExperiment, name: str) -> str:
    kind = "embedded" if options.data == "embedded" else "own"
    file = resources.files("deepicd").joinpath(f"data/experiment_{kind}.toml")
    gpus = options.gpus or 4
    # Not `format`, to which the braces of TOML's inline tables would be fields.
    return Template(file.read_text(encoding="utf-8")).substitute(
        # A JSON string is one of TOML too.
        name=json.dumps(name),
        place=_place(options),
        model=json.dumps(options.model or "models/Qwen2.5-7B-Instruct"),
        traces=json.dumps(options.traces or "data/traces.parquet"),
        gpus=gpus,
        batch=gpus * -(-_PROMPTS // gpus),  # verl shares a batch out among GPUs
    )


def _place(options: NewExperiment) -> str:
    """Lines of `[data]` that say where the notes lie."""
    lines, place = _PLACES.get(options.data, ("", ""))
    # A JSON string is one of TOML too.
    return lines.replace("PLACE", json.dumps(options.root or place))


def _begin_from(base: Path, file: Path, name: str) -> str:
    if not base.is_file():
        raise MissingError(f"no experiment file at {base} to begin from; name one with --from")
    begun = os.path.relpath(base.resolve(), file.resolve().parent)
    return (
        f"# What is here replaces the values of the file that it begins from, address by address.\n"
        f"base = {json.dumps(begun)}\n"
        f"name = {json.dumps(name)}\n"
        f'question = ""            # what the experiment is to answer\n'
        "\n"
        "# [training]\n"
        "# total_steps = 20\n"
        "\n"
        "# [sweep.search]           # added to the search that is there\n"
        '# "training.temperature" = { type = "uniform", low = 0.7, high = 1.2 }\n'
    )


def next_commands(file: Path) -> list[str]:
    """What to do with a new experiment file, in order."""
    verb = "run" if load_experiment(file).sweep.search else "train"
    return [f"deepicd {word} {quote(str(file))}" for word in ("validate", "plan", verb)]
