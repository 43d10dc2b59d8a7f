"""Dotted addresses of an experiment's values, such as `training.rollout_n`: list, nearest, set."""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from deepicd.config.domain_spelling import DOMAIN_KEYS
from deepicd.config.experiment import Experiment
from deepicd.errors import ConfigError

_VERL, _SEARCH = "verl.", "sweep.search."


def nearest(name: str, choices: Sequence[str]) -> str:
    """` (nearest: X)` for an error message, or nothing when no known name is close."""
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.4)
    return f" (nearest: {close[0]})" if close else ""


def known_addresses(model: type[BaseModel] = Experiment, prefix: str = "") -> list[str]:
    """Every dotted address of an experiment, in order."""
    addresses: list[str] = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        # Only a table is a class: `X | None`, a literal and a list are values.
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            addresses += known_addresses(kind, f"{prefix}{name}.")
        else:
            addresses.append(f"{prefix}{name}")
    return addresses


def flatten(table: Mapping[str, Any], *, into_lists: bool = False) -> dict[str, Any]:
    """Dotted address → value of everything in nested tables; an empty table is a value.

    Args:
        table: nested dicts, as JSON and TOML have them.
        into_lists: whether the items of a list get an address each (`a.0`); else a list is a value.
    """
    return dict(_pairs(table, "", into_lists=into_lists))


def _pairs(values: Any, prefix: str, *, into_lists: bool) -> Iterator[tuple[str, Any]]:
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for name, value in items:
        if value and (isinstance(value, dict) or (into_lists and isinstance(value, list))):
            yield from _pairs(value, f"{prefix}{name}.", into_lists=into_lists)
        else:
            yield f"{prefix}{name}", value


def set_override(table: dict[str, Any], override: str) -> None:
    """Apply one `ADDRESS=VALUE`; the value is in TOML syntax, a bare word is a string."""
    address, sign, text = override.partition("=")
    if not sign or not address.strip():
        raise ConfigError(
            f"an override is ADDRESS=VALUE and not {override!r}; write for example "
            "training.total_steps=20"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # also of a number with too many digits
        value = text
    set_address(table, address.strip(), value)


def set_address(table: dict[str, Any], address: str, value: Any) -> None:
    """Set one dotted address of a nested table. After `verl.` and `sweep.search.` follows an
    address that is one key; its quotes may be left out. Behind it may stand a key of a domain:
    `sweep.search.training.temperature.high`.
    """
    *parents, last = _keys_of(address, value)
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{address}: {parent} is a value, not a table")
    table[last] = value


def _keys_of(address: str, value: Any) -> list[str]:
    prefix = next((each for each in (_VERL, _SEARCH) if address.startswith(each)), "")
    if not prefix:
        return address.split(".")
    rest, above = address.removeprefix(prefix), prefix.rstrip(".").split(".")
    if quoted := re.fullmatch(r"""(["'])(.+?)\1(?:\.(.+))?""", rest):
        return [*above, quoted[2], *(quoted[3].split(".") if quoted[3] else ())]
    inner, _, key = rest.rpartition(".")
    is_key = prefix == _SEARCH and inner and key in DOMAIN_KEYS and not isinstance(value, dict)
    return [*above, inner, key] if is_key else [*above, rest]
