"""Every fault of an experiment's table, not only those that pydantic meets first.

In: a nested table. Out: its faults by address, and the experiment without the values at fault, so
that whoever checks further can go on. Decided here: pydantic stops at a model whose fields are
wrong, so a table is read again without the values at fault until it passes. What is then refused
and names a value that was left out would only follow from leaving it out: it is no fault.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from deepicd.config.addresses import known_addresses, nearest, set_address
from deepicd.config.experiment import Experiment
from deepicd.config.search_checks import extreme_trials
from deepicd.config.search_space import Search, with_parents
from deepicd.config.strict_model import ADDRESS, CONTRADICTIONS, Scalar
from deepicd.errors import ConfigError, Fault

_SEARCHED = "[sweep.search]"
_TAGS = ("range", "int", "choice")
"""What pydantic puts into the place of a domain, where nobody wrote it."""
_SEARCH = ("sweep", "search")
_MAX_SHOWN = 80
"""Characters of a value in a sentence."""
_MAX_BITS = 256
_WORDS = {
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a table"),
    **dict.fromkeys(("tuple_type", "list_type"), "must be a list"),
    "missing": "is missing",
}
"""Type of pydantic's error → what has to hold."""
_ELSEWHERE = {
    **dict.fromkeys(("parameters", "space", "search_space", "param_space"), "sweep.search"),
    **dict.fromkeys(("num_samples", "n_trials", "run_cap"), "sweep.num_trials"),
    **dict.fromkeys(("method", "search_alg", "algorithm"), "sweep.sampler"),
    **dict.fromkeys(("max_concurrent_trials", "n_jobs"), "sweep.max_concurrent"),
}
"""Keys of W&B, Ray Tune and Optuna → where the same is said here."""
_Keys = tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """What a table says, and what is wrong with it."""

    experiment: Experiment
    """Without the values at fault: these have their defaults, or are not searched."""
    faults: tuple[Fault, ...]
    left_out: frozenset[str]
    """Addresses of the values that the experiment lacks."""

    def is_own(self, fault: Fault) -> bool:
        """Whether a further fault would stand without what was left out."""
        return not _names_one_of(fault, self.left_out)


def inspect_experiment(table: Mapping[str, Any]) -> Inspection:
    """Read a nested table, as TOML has it, as far as it can be read."""
    # A copy: values at fault are taken out of it.
    rest, faults, left_out = deepcopy(dict(table)), list[Fault](), set[str]()
    while True:
        try:
            experiment = Experiment.model_validate(rest)
            break
        except ValidationError as error:
            placed = _placed_faults(error)
        faults += [fault for _, fault in placed if not _names_one_of(fault, left_out)]
        removed = [_leave_out(rest, keys, fault) for keys, fault in placed]
        left_out |= set().union(*removed)
        if not any(removed):  # nothing that the table says; its defaults alone always pass
            rest = {}
    so_far = Inspection(experiment, tuple(faults), frozenset(left_out))
    return _inspect_search(experiment, so_far)


def _inspect_search(experiment: Experiment, so_far: Inspection) -> Inspection:
    """Each end of each range once with everything else as it is: a trial must not be the first to
    learn that its values are refused.
    """
    search = experiment.sweep.search
    refused = {address: why for address in search if (why := list(_refusals(experiment, address)))}
    if not refused:
        return so_far
    faults = [
        Fault(
            f"sweep.search.{address}",
            _split(why)[0],
            "change its domain, or remove it from the search",
            search[address].model_dump(mode="json"),
        )
        for address, sentences in refused.items()
        # Both ends may be refused for one reason.
        for why in dict.fromkeys(sentences)
    ]
    own = [fault for fault in faults if so_far.is_own(fault)]
    sweep = experiment.sweep.model_copy(update={"search": _without(search, refused)})
    return Inspection(
        experiment.model_copy(update={"sweep": sweep}),
        (*so_far.faults, *own),
        so_far.left_out | refused.keys(),
    )


def _refusals(experiment: Experiment, address: str) -> Iterator[str]:
    for values in extreme_trials(experiment.sweep.search, address):
        try:
            with_values(experiment, values, source=_SEARCHED)
        except ConfigError as error:
            yield str(error)


def _without(search: Search, refused: Iterable[str]) -> dict[str, Any]:
    """The search without some addresses and those that depend on them."""
    gone = set(refused)
    return {
        address: domain
        for address, domain in search.items()
        if not gone & with_parents(search, [address]).keys()
    }


def with_values(
    experiment: Experiment, values: Mapping[str, Scalar], *, source: str = "trial"
) -> Experiment:
    """Experiment with some dotted addresses replaced, validated anew.

    Raises:
        ConfigError: one is unknown or out of range, or they do not go together.
    """
    table = experiment.model_dump(mode="json")
    for address, value in values.items():
        set_address(table, address, value)
    try:
        return Experiment.model_validate(table)
    except ValidationError as error:
        raise ConfigError(tell((fault for _, fault in _placed_faults(error)), source)) from None


def tell(faults: Iterable[Fault], source: str) -> str:
    """Faults as one sentence, each with its source and place where it does not name them."""
    return "; ".join(_sentence(fault, source) for fault in faults)


def _sentence(fault: Fault, source: str) -> str:
    if fault.rule.startswith(_SEARCHED):
        return f"{source} {fault}"
    place = "" if fault.place in fault.rule else f"{fault.place}: "
    return f"{source}: {place}{fault}"


def _placed_faults(error: ValidationError) -> list[tuple[_Keys, Fault]]:
    """pydantic's errors in our words, each with the keys that lead to its place."""
    return [placed for item in error.errors() for placed in _place(item)]


def _place(item: Mapping[str, Any]) -> Iterator[tuple[_Keys, Fault]]:
    keys = tuple(str(key) for key in item["loc"] if key not in _TAGS)
    if item["type"] == CONTRADICTIONS:
        for below, why, value in item["ctx"]["found"]:
            at = (*keys, *below)
            yield at, Fault(".".join(at), *_split(why), value)
        return
    address = ".".join(keys) or "experiment"
    if item["type"] == "extra_forbidden":
        meant = _ELSEWHERE.get(keys[-1]) if keys[:-1] in {(), ("sweep",)} else None
        close = f" (here: {meant})" if meant else nearest(address, known_addresses())
        rule = f"unknown key {address}{close}"
        yield keys, Fault(address, rule, "correct it, or remove it", as_json(item["input"]))
        return
    value = None if isinstance(item["input"], dict | BaseModel) else as_json(item["input"])
    shown = "" if value is None else f"; got {_shorten(repr(value))}"
    words = _words_of(item).replace(ADDRESS, re.sub(r"^(sweep\.search|verl)\.", "", address))
    yield keys, Fault(address, f"{words}{shown}", f"change it, or --set {address}=…", value)


def _words_of(item: Mapping[str, Any]) -> str:
    """pydantic's sentence, or what TOML calls the types that Python has other words for."""
    return _WORDS.get(item["type"]) or str(item["msg"]).removeprefix("Value error, ")


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"


def as_json(value: Any) -> Any:
    """A value as JSON has it, with words for a number that it cannot hold."""
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # Python refuses to write out more than 4,300 digits.
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"a whole number of {value.bit_length()} bits"
    return value


def _split(why: str) -> tuple[str, str]:
    """A sentence: what is wrong, and after the last semicolon the way out."""
    rule, _, way_out = why.rpartition("; ")
    return (rule, way_out) if rule else (way_out, "")


def _leave_out(table: dict[str, Any], keys: _Keys, fault: Fault) -> set[str]:
    """Remove from a table what lies at a place, and return the addresses of what was removed: the
    value itself; where it is a default, those beside it that the fault names, else all of them.
    """
    # A domain goes as a whole: half of one is none.
    keys, parent = keys[:3] if keys[:2] == _SEARCH else keys, table
    for depth, key in enumerate(keys):
        if key not in parent:
            break
        if depth == len(keys) - 1 or not isinstance(parent[key], dict):
            del parent[key]
            return {_address((*keys[:depth], key))}
        parent = parent[key]
    above = keys[: len(keys) - 1]
    gone = [key for key in parent if re.search(rf"\b{re.escape(key)}\b", fault.rule)] or [*parent]
    for key in gone:
        del parent[key]
    return {_address((*above, key)) for key in gone}


def _address(keys: _Keys) -> str:
    """Dotted address; that of a domain is the address that it searches."""
    return keys[2] if keys[:2] == _SEARCH and len(keys) > 2 else ".".join(keys)


def _names_one_of(fault: Fault, addresses: Iterable[str]) -> bool:
    """Whether a fault is about one of these, or names one: whole, or by its last part, where these
    are no words of English.
    """
    for address in addresses:
        names = [name for name in (address, address.rpartition(".")[2]) if re.search("[._]", name)]
        if fault.place == address:
            return True
        if any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", fault.rule) for name in names):
            return True
    return False
