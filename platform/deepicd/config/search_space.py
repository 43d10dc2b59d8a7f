"""What a searched parameter may be, and when it is drawn at all.

In: the domains of `[sweep.search]` by address. Out: the order in which they are drawn, and one
trial's values; how many trials there are is `search_size`'s. Decided here: a parameter whose `when`
does not hold is not drawn; it then keeps the experiment's own value, and so do the parameters that
depend on it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from deepicd.config.domain_spelling import check_domain
from deepicd.config.strict_model import MAX_WHOLE, Scalar, StrictModel


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
    num_points: int = Field(default=3, ge=2, le=1000)
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

    max_number: ClassVar[int] = MAX_WHOLE

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
    values: tuple[Scalar, ...] = Field(min_length=1, max_length=1000)
    """A value that stands there twice counts once."""

    @field_validator("values")
    @classmethod
    def _keep_first_of_equals(cls, values: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        # 1 and 1.0 are one value and true is another, though Python takes all three for equal.
        kept: dict[tuple[bool, Scalar], Scalar] = {}
        for value in values:
            kept.setdefault((isinstance(value, bool), value), value)
        return tuple(kept.values())

    def contains(self, value: Scalar) -> bool:
        """Whether a trial can have this value."""
        return value in self.values


def _kind_of(domain: object) -> object:
    """The tag of a domain; `type` holds one of several."""
    kind = domain.get("type") if isinstance(domain, Mapping) else getattr(domain, "type", None)
    return kind if kind in {"int", "choice"} else "range"


# Not by the field `type`: the base of all settings looks at every field before it is read.
Domain = Annotated[
    Annotated[FloatRange, Tag("range")]
    | Annotated[IntRange, Tag("int")]
    | Annotated[Choice, Tag("choice")],
    Discriminator(_kind_of),
    BeforeValidator(check_domain),
]
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
        if is_drawn(search[address], values):
            values[address] = draw(address, search[address])
    return values


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


def is_drawn(domain: Domain, values: Mapping[str, Scalar]) -> bool:
    """Whether its condition holds in a trial with these values."""
    return all(
        parent in values and values[parent] in allowed for parent, allowed in domain.when.items()
    )
