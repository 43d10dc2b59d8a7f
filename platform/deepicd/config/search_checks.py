"""What is asked of a search space before any trial is drawn.

In: the domains of `[sweep.search]`. Out: the trials at the ends of a domain, and the conditions
that cannot be decided or never hold. Decided here: a domain is tried at its ends, a continuous one
once between them as well, with every value of what it depends on that lets it be drawn; what lies
between is never built.
"""

from collections.abc import Iterator, Sequence
from graphlib import CycleError

from deepicd.config.search_size import Space, trials_with
from deepicd.config.search_space import (
    Choice,
    Domain,
    FloatRange,
    IntRange,
    Search,
    all_values,
    in_order,
    with_parents,
)
from deepicd.config.strict_model import Scalar
from deepicd.errors import ConfigError

_INNER = 0.3819660112501051
"""Share of a range at which it is tried between its ends; irrational, so no round number."""


def extreme_trials(search: Search, address: str) -> list[dict[str, Scalar]]:
    """Values of `address` at the ends of its domain, and once between those of a continuous one,
    with those that it depends on, in every case in which it is drawn.
    """
    last = search[address]

    def values_of(domain: Domain) -> Sequence[Scalar]:
        if domain is last and isinstance(domain, IntRange):
            return domain.low, domain.high
        if domain is last and isinstance(domain, FloatRange):
            # Both ends of a range may be whole where nothing between them is.
            return domain.low, domain.low + _INNER * (domain.high - domain.low), domain.high
        # What it depends on takes every value: a condition may hold at any of them.
        return all_values(domain)

    return list(trials_with(address, with_parents(search, [address]), values_of))


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
    try:
        Space(search, all_values)
    except ConfigError as error:
        yield next(iter(search)), str(error)
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
