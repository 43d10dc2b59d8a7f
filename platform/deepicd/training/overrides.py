"""Dotted values of an experiment's `[verl]` table, put into a configuration or refused.

In: a composed configuration and dotted key → value. Out: the configuration, changed in place. Which
keys may not be set, and why, is the caller's knowledge; here a key is only compared with what the
configuration holds: an unknown one is refused with the nearest, a table or a value of another kind
is refused too.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from deepicd.config import flatten, nearest
from deepicd.errors import Fault, refuse

PLACE = "[verl]"


def pass_through(
    config: DictConfig, overrides: Mapping[str, Any], *, refused: Mapping[str, str]
) -> None:
    """Apply `overrides`; `+key` adds a key that the configuration lacks.

    Args:
        config: changed in place.
        overrides: dotted key → value.
        refused: dotted key, or the table it begins, → reason, as the end of a sentence.

    Raises:
        ConfigError: a refused or unknown key, a table, or a value of another kind than the default.
    """
    refuse(faults_of_overrides(config, overrides, refused=refused))
    set_values(config, {key.removeprefix("+"): value for key, value in overrides.items()})


def faults_of_overrides(
    config: DictConfig, overrides: Mapping[str, Any], *, refused: Mapping[str, str]
) -> Iterator[Fault]:
    """What `pass_through` refuses, a fault for each key."""
    keys = _known_keys(config)
    for key, value in overrides.items():
        name = key.removeprefix("+")
        reason = (
            _why_refused(name, refused)
            or _why_unknown(key, keys)
            or _why_of_another_kind(name, value, OmegaConf.select(config, name))
        )
        if reason:
            rule, _, way_out = reason.partition("; ")
            yield Fault(f"verl.{key}", f"{PLACE} {rule}", way_out, value)


def set_values(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Set dotted keys, known or new."""
    with open_dict(config):
        for key, value in values.items():
            # A table takes the place of verl's own, whose keys would else stay in it.
            OmegaConf.update(config, key, value, merge=False)


def _known_keys(config: DictConfig) -> list[str]:
    """Every dotted key of a configuration that holds a value."""
    return list(flatten(OmegaConf.to_container(config, resolve=False)))


def _why_refused(name: str, refused: Mapping[str, str]) -> str:
    tables = (key for key in refused if name == key or name.startswith(f"{key}."))
    return next((f"{name} {refused[key]}" for key in tables), "")


def _why_unknown(key: str, keys: Sequence[str]) -> str:
    name = key.removeprefix("+")
    if any(other.startswith(f"{name}.") for other in keys):
        return f"{name} is a table; set one of its keys"
    if key.startswith("+") and name in keys:
        return f"{name} exists already; write it without the +"
    if not key.startswith("+") and name not in keys:
        return (
            f"unknown key {name}{nearest(name, keys)}; to add a key that verl does not list, write "
            f"+{name}"
        )
    return ""


def _why_of_another_kind(name: str, value: Any, present: Any) -> str:
    if present is None or not isinstance(present, bool | int | float | str):
        return ""
    # For Python, True is an int.
    is_number = isinstance(present, int | float) and not isinstance(present, bool)
    wanted: tuple[type, ...] = (int, float) if is_number else (type(present),)
    if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(present, bool):
        return f"{name} must be of the kind of its default {present!r}; got {value!r}"
    return ""
