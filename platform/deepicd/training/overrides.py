"""Dotted values of an experiment's `[verl]` table, put into a configuration or refused.

In: a composed configuration and dotted key → value. Out: the configuration, changed in place. Which
keys may not be set, and why, is the caller's knowledge; here a key is only compared with what the
configuration holds: an unknown one is refused with the nearest, a table or a value of another kind
is refused too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from deepicd.config import flatten, nearest
from deepicd.errors import ConfigError

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
    keys = _known_keys(config)
    for key, value in overrides.items():
        name = key.removeprefix("+")
        _check_refused(name, refused)
        _check_known(key, keys)
        _check_kind(name, value, OmegaConf.select(config, name))
        set_values(config, {name: value})


def set_values(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Set dotted keys, known or new."""
    with open_dict(config):
        for key, value in values.items():
            # A table takes the place of verl's own, whose keys would else stay in it.
            OmegaConf.update(config, key, value, merge=False)


def _known_keys(config: DictConfig) -> list[str]:
    """Every dotted key of a configuration that holds a value."""
    return list(flatten(OmegaConf.to_container(config, resolve=False)))


def _check_refused(name: str, refused: Mapping[str, str]) -> None:
    for key, reason in refused.items():
        if name == key or name.startswith(f"{key}."):
            raise ConfigError(f"{PLACE} {name} {reason}.")


def _check_known(key: str, keys: Sequence[str]) -> None:
    name = key.removeprefix("+")
    if any(other.startswith(f"{name}.") for other in keys):
        raise ConfigError(f"{PLACE} {name} is a table; set one of its keys.")
    if key.startswith("+") and name in keys:
        raise ConfigError(f"{PLACE} {name} exists already; write it without the +.")
    if not key.startswith("+") and name not in keys:
        raise ConfigError(
            f"{PLACE} unknown key {name}{nearest(name, keys)}. "
            f"To add a key that verl does not list, write +{name}."
        )


def _check_kind(name: str, value: Any, present: Any) -> None:
    if present is None or not isinstance(present, bool | int | float | str):
        return
    # For Python, True is an int.
    is_number = isinstance(present, int | float) and not isinstance(present, bool)
    wanted: tuple[type, ...] = (int, float) if is_number else (type(present),)
    if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(present, bool):
        raise ConfigError(
            f"{PLACE} {name} must be of the kind of its default {present!r}; got {value!r}."
        )
