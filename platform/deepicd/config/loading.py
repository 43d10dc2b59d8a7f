"""Experiment files: read, override, validate with errors that name the place, write resolved."""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from deepicd.config.addresses import flatten, nearest, set_override
from deepicd.config.data import DataConfig
from deepicd.config.experiment import Experiment
from deepicd.config.inspection import Inspection, inspect_experiment, tell
from deepicd.config.sweep import SweepConfig
from deepicd.config.traces import TracesConfig
from deepicd.errors import ConfigError, Fault, MissingError, faults_of
from deepicd.files import write_json
from deepicd.text_lines import read_text

_OF_DATA = re.compile(r"\bdata\.(\w+)(?:\.(\w+))?")
_OF_SEARCH = ("num_trials", "num_seeds", "confirm_top", "sampler", "search", "freeze", "start_from")


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read one experiment file and apply `a.b=value` overrides.

    Values are in TOML syntax; bare words are strings. A file may begin from others, named by `base`
    relative to it (one, or a list): its values and those of later bases replace earlier ones,
    address by address.

    Raises:
        MissingError: the file, or one that it begins from, does not exist.
        ConfigError: broken TOML, an unknown key, or a value out of range; names the nearest valid
            key.
    """
    table = _read_table(Path(path))
    for override in overrides:
        set_override(table, override)
    return parse_experiment(table, str(path))


def _read_table(path: Path, above: Sequence[Path] = ()) -> dict[str, Any]:
    """A file's table on top of those it begins from; `above` are the files that begin from it."""
    if path.resolve() in above:
        raise ConfigError(f"{path} begins from itself, by way of its base; remove one of them")
    if not path.is_file():
        names = sorted(str(p) for p in Path("experiments").glob("*.toml"))
        raise MissingError(
            f"no experiment file at {path}; known here: {', '.join(names) or 'none'}"
        )
    try:
        table = tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # also a number of too many digits
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    bases, merged = table.pop("base", []), dict[str, Any]()
    for base in [bases] if isinstance(bases, str) else bases:
        merged = _merge(merged, _read_table(path.parent / base, (*above, path.resolve())))
    return _merge(merged, table)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables; where both have a value that of `above`. A domain of a search is one value."""
    merged = dict(below)
    for name, value in above.items():
        is_table = isinstance(value, dict) and isinstance(below.get(name), dict)
        merged[name] = _merge(below[name], value) if is_table and "type" not in value else value
    return merged


def parse_experiment(table: Mapping[str, Any], source: str) -> Experiment:
    """Validate a nested table; `source` names where it is from in errors. Also checks every search
    address.

    Raises:
        ConfigError: with every fault of the table.
    """
    inspection = inspect_experiment(table)
    if inspection.faults:
        raise ConfigError(tell(inspection.faults, source))
    return inspection.experiment


def parse_build_options(table: Mapping[str, Any]) -> DataConfig:
    """`[data]`, as options of `deepicd notes build` say it.

    Raises:
        ConfigError: with every fault, by the names of the options.
    """
    inspection = inspect_experiment({"data": table})
    if inspection.faults:
        # An experiment has a second way out: `--set`.
        faults = (
            replace(fault, way_out=fault.way_out.partition(", or --set ")[0])
            for fault in inspection.faults
        )
        raise ConfigError(_OF_DATA.sub(_as_option, tell(faults, "command line")))
    return inspection.experiment.data


def _as_option(match: re.Match[str]) -> str:
    name = "seed" if match[1] == "split_seed" else match[1]
    role = f" {match[2]}" if match[2] else ""
    return f"--{name.replace('_', '-')}{role}"


def parse_traces_options(table: Mapping[str, Any], overrides: Sequence[str] = ()) -> TracesConfig:
    """`[traces]`, as options of `deepicd traces build` and its `--set ADDRESS=VALUE` say it.

    Raises:
        ConfigError: with every fault, or an address that is not of `[traces]`.
    """
    values = {"traces": dict(table)}
    for override in overrides:
        set_override(values, override)
    if others := sorted(values.keys() - {"traces"}):
        raise ConfigError(
            "--set takes addresses of [traces] here, such as traces.max_words=200; got "
            f"{others[0]!r}"
        )
    return parse_experiment(values, "command line").traces


def inspect_file(path: Path, overrides: Sequence[str] = ()) -> Inspection:
    """What `load_experiment` would refuse, all of it, and the experiment as far as it can be read.

    Raises:
        MissingError, ConfigError: as `load_experiment`, where there is no table to look at.
    """
    table, faults = _read_table(path), list[Fault]()
    for override in overrides:
        faults += faults_of(partial(set_override, table, override), f"--set {override}")
    inspection = inspect_experiment(table)
    return replace(inspection, faults=(*faults, *inspection.faults))


def override(
    experiment: Experiment, overrides: Sequence[str], *, allowed: Sequence[str]
) -> Experiment:
    """Experiment with `a.b=value` overrides, where only some addresses may change.

    Raises:
        ConfigError: another address, or a value out of range.
    """
    table = experiment.model_dump(mode="json")
    for text in overrides:
        address = text.partition("=")[0].strip()
        if address not in allowed:
            raise ConfigError(
                f"--set {text}: a run that goes on may change {', '.join(allowed)} and nothing "
                f"else{nearest(address, list(allowed))}; start another run for that"
            )
        set_override(table, text)
    return parse_experiment(table, "--set")


def single_training(experiment: Experiment) -> Experiment:
    """The experiment as one training: a sweep of one trial that searches nothing and stops nobody.

    What guards, caps and scores a trial stays.
    """
    sweep = experiment.sweep.model_dump(exclude=set(_OF_SEARCH))
    sweep |= {"num_trials": 1, "max_concurrent": 1, "scheduler": "none", "sampler": "random"}
    single = SweepConfig.model_validate(sweep | {"compare_fingerprints": False})
    return experiment.model_copy(update={"sweep": single})


def dump_experiment(experiment: Experiment, path: Path) -> None:
    """Write the resolved experiment as JSON beside its results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, experiment.model_dump(mode="json"))


def read_experiment(path: Path) -> Experiment:
    """The experiment that `dump_experiment` wrote; `path` must exist.

    Raises:
        ConfigError: another version wrote it, or it was changed by hand.
    """
    try:
        return Experiment.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ConfigError(
            f"{path} is no experiment of this version ({error.error_count()} faults); go on with "
            "the version that wrote it, or start another run"
        ) from None


def differing(first: Experiment, second: Experiment) -> dict[str, tuple[Any, Any]]:
    """Address → both values, where two experiments differ."""
    left, right = (flatten(each.model_dump(mode="json")) for each in (first, second))
    return {
        address: (left.get(address), right.get(address))
        for address in dict.fromkeys((*left, *right))
        if left.get(address) != right.get(address)
    }


def fingerprint(model: BaseModel) -> str:
    """First 16 hex digits of the SHA-256 of a model's resolved values; equal values give equal
    fingerprints."""
    text = json.dumps(model.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
