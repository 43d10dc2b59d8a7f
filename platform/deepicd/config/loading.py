"""Experiment files: read, override, validate with errors that name the place, write resolved."""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from deepicd.config.addresses import flatten, known_addresses, nearest, set_address, set_override
from deepicd.config.experiment import Experiment
from deepicd.config.search_space import extreme_trials
from deepicd.config.strict_model import Scalar
from deepicd.errors import ConfigError, MissingError


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
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
    address."""
    try:
        experiment = Experiment.model_validate(table)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from None
    # Each end of each range once with everything else as it is: a trial must not be the first to
    # learn that its values are refused.
    for address in experiment.sweep.search:
        for values in extreme_trials(experiment.sweep.search, address):
            with_values(experiment, values, source=f"{source} [sweep.search]")
    return experiment


def with_values(
    experiment: Experiment, values: Mapping[str, Scalar], *, source: str = "trial"
) -> Experiment:
    """Experiment with some dotted addresses replaced, validated anew."""
    table = experiment.model_dump(mode="json")
    for address, value in values.items():
        set_address(table, address, value)
    try:
        return Experiment.model_validate(table)
    except ValidationError as error:
        raise ConfigError(_explain(error, source)) from None


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


def dump_experiment(experiment: Experiment, path: Path) -> None:
    """Write the resolved experiment as JSON beside its results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(experiment.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")


def read_experiment(path: Path) -> Experiment:
    """The experiment that `dump_experiment` wrote; `path` must exist."""
    return Experiment.model_validate_json(path.read_text(encoding="utf-8"))


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


def _explain(error: ValidationError, source: str) -> str:
    return "; ".join(_explain_one(item, source) for item in error.errors())


def _explain_one(item: Mapping[str, Any], source: str) -> str:
    # pydantic puts the tag of a discriminated union into the place, where nobody wrote it.
    location = [
        str(key) for key in item["loc"] if key not in ("uniform", "loguniform", "int", "choice")
    ]
    address = ".".join(location) or "experiment"
    if item["type"] != "extra_forbidden":
        value = "" if isinstance(item["input"], dict | BaseModel) else f"; got {item['input']!r}"
        return f"{source}: {address}: {item['msg'].removeprefix('Value error, ')}{value}"
    return f"{source}: unknown key {address}{nearest(address, known_addresses())}"
