"""What a searched parameter may be, and when it is drawn at all.

In: the domains of `[sweep.search]` by address. Out: the order in which they are drawn, and the sets
of values that together are one trial's. Decided here: a parameter whose `when` does not hold is not
drawn; it then keeps the experiment's own value, and so do the parameters that depend on it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from deepicd.config.strict_model import Scalar, StrictModel


class _Conditional(StrictModel):
    """What every domain has."""

    when: dict[str, tuple[Scalar, ...]] = {}
    """Another searched address (`choice` or `int`) → the value, or list of values, with which this
    parameter is drawn; of several addresses all must hold. Empty: always."""

    @field_validator("when", mode="before")
    @classmethod
    def _take_one_value(cls, when: object) -> object:
        if not isinstance(when, Mapping):
            return when
        return {
            key: value if isinstance(value, list | tuple) else (value,)
            for key, value in when.items()
        }


class FloatRange(_Conditional):
    """A continuous parameter."""

    type: Literal["uniform", "loguniform"]
    low: float
    high: float
    num_points: int = Field(default=3, ge=2)
    """Values of a grid, both ends included, at equal distances (equal ratios for loguniform)."""

    @model_validator(mode="after")
    def _check(self) -> "FloatRange":
        if not self.low < self.high or (self.type == "loguniform" and self.low <= 0):
            raise ValueError(
                f"{self.type} needs low < high (and low > 0 for loguniform); "
                f"got {self.low}, {self.high}"
            )
        return self

    def contains(self, value: Scalar) -> bool:
        """Whether a trial can have this value."""
        return not isinstance(value, bool | str) and self.low <= value <= self.high


class IntRange(_Conditional):
    """An integer parameter, both ends included."""

    type: Literal["int"]
    low: int
    high: int

    @model_validator(mode="after")
    def _check(self) -> "IntRange":
        if self.low > self.high:
            raise ValueError(f"int needs low <= high; got {self.low}, {self.high}")
        return self

    def contains(self, value: Scalar) -> bool:
        """Whether a trial can have this value."""
        # Not `isinstance`: True is an int in Python.
        return type(value) is int and self.low <= value <= self.high


class Choice(_Conditional):
    """A categorical parameter."""

    type: Literal["choice"]
    values: tuple[Scalar, ...] = Field(min_length=1)

    def contains(self, value: Scalar) -> bool:
        """Whether a trial can have this value."""
        return value in self.values


Domain = Annotated[FloatRange | IntRange | Choice, Field(discriminator="type")]
Search = Mapping[str, Domain]
"""Dotted experiment address → domain."""


def in_order(search: Search) -> list[str]:
    """Addresses, each after those that its condition names; as written where that is free.

    Raises:
        graphlib.CycleError: conditions go round in a circle.
    """
    return list(
        TopologicalSorter({key: domain.when for key, domain in search.items()}).static_order()
    )


def draw_trial(search: Search, draw: Callable[[str, Domain], Scalar]) -> dict[str, Scalar]:
    """One trial's values: `draw(address, domain)` for every parameter whose condition holds."""
    values: dict[str, Scalar] = {}
    for address in in_order(search):
        if _is_drawn(search[address], values):
            values[address] = draw(address, search[address])
    return values


def distinct_trials(
    search: Search, values_of: Callable[[Domain], Iterable[Scalar]]
) -> list[dict[str, Scalar]]:
    """Every different trial whose values are among those of its domains."""
    trials: list[dict[str, Scalar]] = [{}]
    for address in in_order(search):
        domain = search[address]
        trials = [
            {**trial, **more}
            for trial in trials
            for more in (
                [{address: value} for value in values_of(domain)]
                if _is_drawn(domain, trial)
                else [{}]
            )
        ]
    return trials


def all_values(domain: Domain) -> Sequence[Scalar]:
    """Every value of a domain; of a continuous one its ends."""
    if isinstance(domain, Choice):
        return domain.values
    if isinstance(domain, FloatRange):
        return domain.low, domain.high
    return range(domain.low, domain.high + 1)


def with_parents(search: Search, addresses: Iterable[str]) -> dict[str, Domain]:
    """The part of a search that decides these addresses: they, and those they depend on."""
    needed = list(addresses)
    # Grows while it is walked, so that parents of parents come too.
    for address in needed:
        needed += [parent for parent in search[address].when if parent not in needed]
    return {address: search[address] for address in needed}


def extreme_trials(search: Search, address: str) -> list[dict[str, Scalar]]:
    """Values of `address` at the ends of its domain, with those that it depends on, in every case
    in which it is drawn.
    """
    last = search[address]

    def values_of(domain: Domain) -> Sequence[Scalar]:
        if domain is last and isinstance(domain, IntRange):
            return domain.low, domain.high
        # What it depends on takes every value: a condition may hold at any of them.
        return all_values(domain)

    trials = distinct_trials(with_parents(search, [address]), values_of)
    return [trial for trial in trials if address in trial]


def condition_faults(search: Search) -> Iterator[tuple[str, str]]:
    """Address → the way out, where a condition cannot be decided or never holds."""
    undecided = [
        (address, why)
        for address, domain in search.items()
        for parent, values in domain.when.items()
        if (why := _undecided(address, parent, values=values, search=search))
    ]
    yield from undecided
    try:
        in_order(search)
    except CycleError as error:
        # graphlib names the circle from parent to child; a `when` points the other way.
        circle = list(reversed(error.args[1]))
        why = f"the conditions {' → '.join(circle)} go round in a circle; remove one `when`"
        yield circle[0], why
        return
    if undecided:  # who is drawn depends on them
        return
    for address, domain in search.items():
        if domain.when and not extreme_trials(search, address):
            yield (
                address,
                f"{address} would never be drawn: the parameters that its `when` names are "
                "not drawn together with these values; change one of the conditions",
            )


def _undecided(address: str, parent: str, *, values: Sequence[Scalar], search: Search) -> str:
    """Why a condition cannot be decided; empty when it can."""
    condition, domain = f"{address}: its `when` names {parent}", search.get(parent)
    if domain is None:
        return (
            f"{condition}, which is not searched; add {parent} to [sweep.search], or remove the "
            "condition"
        )
    if isinstance(domain, FloatRange):
        return (
            f"{condition}, which is {domain.type}; a condition needs a parameter of type choice "
            "or int"
        )
    strange = [value for value in values if not domain.contains(value)]
    if strange or not values:
        own = domain.values if isinstance(domain, Choice) else f"{domain.low} to {domain.high}"
        return f"{condition} with {strange or 'no value'}; its own values are {own}"
    return ""


def _is_drawn(domain: Domain, values: Mapping[str, Scalar]) -> bool:
    return all(
        parent in values and values[parent] in allowed for parent, allowed in domain.when.items()
    )
