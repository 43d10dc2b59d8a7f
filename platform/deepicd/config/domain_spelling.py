"""Domains as people write them who come from elsewhere → the spelling that was meant.

In: the value of one address of `[sweep.search]`, as TOML has it. Out: nothing where it is one of
our domains, else an error with the domain that was meant, ready to be copied. Decided here: a
foreign spelling is translated for the error and never silently: W&B's `max` of integers and Ray's
`upper` differ by one, and who wrote the one may mean the other. Known are W&B's `distribution`,
`min`, `max`, `value`; Optuna's `log`, `choices`, `float`, `categorical`; Ray's `lower`, `upper`,
`categories`, and its functions as text (`tune.loguniform(1e-5, 1e-3)`).
"""

import json
import re
from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from pydantic import BaseModel

from deepicd.config.strict_model import ADDRESS

DOMAIN_KEYS = ("type", "low", "high", "num_points", "values", "when")
"""What a domain is written with."""
_TYPES = ("uniform", "loguniform", "int", "choice")
_FORMS = (
    '{ type = "uniform", low = 0.1, high = 1.0 }, "loguniform" or "int" with both ends, or '
    '{ type = "choice", values = [1, 2] }'
)
_KEYS = {
    **dict.fromkeys(("min", "lower", "lo", "start", "minimum", "from"), "low"),
    **dict.fromkeys(("max", "upper", "hi", "stop", "end", "maximum", "to"), "high"),
    **dict.fromkeys(("choices", "categories", "options", "value", "grid", "grid_search"), "values"),
    **dict.fromkeys(("distribution", "dist", "kind", "sampler"), "type"),
}
"""Other tools' keys → ours."""
_NAMES = {
    **dict.fromkeys(("uniform", "quniform", "float", "real", "double", "range"), "uniform"),
    **dict.fromkeys(
        ("loguniform", "qloguniform", "loguniformvalues", "qloguniformvalues", "log", "logfloat"),
        "loguniform",
    ),
    **dict.fromkeys(
        ("int", "integer", "intuniform", "randint", "qrandint", "lograndint", "discreteuniform"),
        "int",
    ),
    **dict.fromkeys(
        ("choice", "categorical", "gridsearch", "grid", "constant", "category", "samplefrom"),
        "choice",
    ),
}
"""Other tools' distributions, without marks and prefixes → ours."""
_HALF_OPEN = frozenset(("randint", "qrandint", "lograndint"))
"""Ray's integers, whose upper end is not among them."""
_CALL = re.compile(r"\s*(?:\w+\.)*(\w+)\s*\((.*)\)\s*", re.DOTALL)


def check_domain(value: object) -> object:
    """The value, where it is written as a domain, or is one.

    Raises:
        ValueError: it is not; with the spelling that was meant, as far as it can be told. `ADDRESS`
            stands for the address in it.
    """
    if isinstance(value, BaseModel):
        return value
    if isinstance(value, Mapping):
        if value.get("type") in _TYPES and value.keys() <= set(DOMAIN_KEYS):
            return value
        rest, domain = _find_unquoted(value)
        if rest:
            below = _translate(domain) or domain
            raise ValueError(
                "is an address without quotes, which TOML takes for tables; write "
                f'"{ADDRESS}{rest}" = {write_domain(below)}'
            )
    meant = _translate(value)
    if meant is None:
        raise ValueError(f"is no domain: {_strangeness(value)}; write {_FORMS}")
    raise ValueError(f"is no domain: {_strangeness(value)}; write {write_domain(meant)}")


def _strangeness(value: object) -> str:
    """What keeps it from being a domain."""
    if not isinstance(value, Mapping):
        return "it has to be a table with a type"
    strange = [f"`{key}`" for key in value if key not in DOMAIN_KEYS]
    faults = [f"{', '.join(strange)} is no key of one"] if strange else []
    if "type" not in value:
        faults.insert(0, "`type` is missing")
    elif value["type"] not in _TYPES:
        faults.insert(0, f"{json.dumps(value['type'], default=str)} is no type of one")
    return ", ".join(faults)


def _find_unquoted(value: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The rest of an address that TOML took for tables, and what lies there; empty where nothing
    does.
    """
    rest: list[str] = []
    while not {*value} & {*DOMAIN_KEYS, *_KEYS}:
        key, below = next(iter(value.items()), ("", None))
        if not isinstance(below, Mapping):
            break
        rest, value = [*rest, key], below
    return "".join(f".{key}" for key in rest), value


def write_domain(domain: Mapping[str, Any]) -> str:
    """A domain as TOML has it, on one line."""
    return f"{{ {', '.join(f'{key} = {_write(value)}' for key, value in domain.items())} }}"


def _write(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(str(key))} = {_write(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_write, value))}]"
    return json.dumps(value, ensure_ascii=False, default=str)


def _translate(value: object) -> dict[str, Any] | None:
    """The domain that was meant; None where nobody could tell."""
    if isinstance(value, str):
        return _translate_call(value)
    if isinstance(value, list | tuple):
        return {"type": "choice", "values": list(value)} if value else None
    if not isinstance(value, Mapping):
        return {"type": "choice", "values": [value]}
    return _translate_table(value)


def _translate_call(text: str) -> dict[str, Any] | None:
    """`tune.loguniform(1e-5, 1e-3)`, or a word that is a single value."""
    found = _CALL.fullmatch(text)
    if not found:
        return {"type": "choice", "values": [text]}
    name = found[1].removeprefix("suggest_")
    arguments, options = list[Any](), dict[str, Any]()
    for part in re.findall(r"\[[^\]]*\]|[^,\[\]]+(?:=\s*\[[^\]]*\])?", found[2]):
        key, sign, given = part.partition("=")
        if sign:
            options[key.strip()] = _read(given)
        elif part.strip():
            arguments.append(_read(part))
    # Optuna names the parameter first.
    if arguments and isinstance(arguments[0], str):
        arguments = arguments[1:]
    if len(arguments) == 1:
        options["values"] = arguments[0] if isinstance(arguments[0], list) else [arguments[0]]
    ends = dict(zip(("low", "high"), arguments, strict=False)) if len(arguments) > 1 else {}
    return _translate_table({"type": name, **ends, **options})


def _read(text: str) -> Any:
    text = text.strip().replace("'", '"').replace("True", "true").replace("False", "false")
    try:
        return json.loads(text)
    except ValueError:
        return text.strip('"')


def _translate_table(table: Mapping[str, Any]) -> dict[str, Any] | None:
    named = {_KEYS.get(str(key).lower(), str(key).lower()): each for key, each in table.items()}
    word = re.sub(r"[^a-z]", "", str(named.get("type", "")).lower().rpartition(".")[2])
    kind = _NAMES.get(word.removeprefix("suggest")) if word else _guess(named)
    when = {"when": named["when"]} if isinstance(named.get("when"), Mapping) else {}
    if kind == "choice":
        values = named.get("values", ())
        listed = list(values) if isinstance(values, list | tuple) else [values]
        return {"type": "choice", "values": listed, **when} if listed else None
    low, high = _number(named.get("low")), _number(named.get("high"))
    if kind is None or low is None or high is None:
        return None
    if str(table.get("distribution", "")).endswith("log_uniform"):
        low, high = exp(min(low, 700)), exp(min(high, 700))  # W&B's ends are exponents there
    if kind == "uniform" and named.get("log") is True:
        kind = "loguniform"
    if kind == "int":
        low, high = int(low), int(high) - (word in _HALF_OPEN)
    return {"type": kind, "low": low, "high": high, **when}


def _guess(named: Mapping[str, Any]) -> str | None:
    """The type that other keys tell."""
    if "values" in named:
        return "choice"
    ends: Sequence[Any] = (named.get("low"), named.get("high"))
    if any(_number(end) is None for end in ends):
        return None
    return (
        "int" if all(isinstance(end, int) for end in ends) and not named.get("log") else "uniform"
    )


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
