"""How many trials a search space holds, and which is the n-th, without building them.

In: the domains of `[sweep.search]`, and the values that each may take. Out: a `Space`, whose size
is multiplied and whose trials are computed one by one. Decided here: parameters whose conditions do
not touch are counted apart. Among those that do, a parameter that conditions name is cut into the
values that they name, one by one, and the rest: within such a case the same parameters are drawn,
so that its trials are a product again.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from deepicd.config.search_space import Domain, Search, in_order, is_drawn
from deepicd.config.strict_model import Scalar
from deepicd.errors import ConfigError

_MAX_CASES = 10_000
"""Cases of conditions that touch; more come from no experiment that a person wrote."""
_Values = Callable[[Domain], Sequence[Scalar]]


@dataclass(frozen=True)
class _Case:
    """Trials in which the same parameters are drawn."""

    values: Mapping[str, Sequence[Scalar]]

    @property
    def size(self) -> int:
        return math.prod(len(values) for values in self.values.values())

    def trial(self, number: int) -> dict[str, Scalar]:
        """The n-th; the last parameter changes fastest."""
        drawn: dict[str, Scalar] = {}
        for address, values in reversed(list(self.values.items())):
            number, place = divmod(number, len(values))
            drawn[address] = values[place]
        return dict(reversed(drawn.items()))


class Space:
    """Every different trial of a search whose values are among those of its domains."""

    def __init__(self, search: Search, values_of: _Values) -> None:
        """Count them.

        Raises:
            ConfigError: conditions that touch make too many cases.
        """
        self._search, self._values_of = search, values_of
        self._parts = [_find_cases(part, values_of) for part in _independent(search)]
        self._sizes = [sum(case.size for case in cases) for cases in self._parts]
        self.size = math.prod(self._sizes)
        """Number of trials; with nothing to search one, the experiment itself."""

    def trial(self, number: int) -> dict[str, Scalar]:
        """The n-th, from 0 to below `size`."""
        chosen: list[dict[str, Scalar]] = []
        for cases, size in zip(reversed(self._parts), reversed(self._sizes), strict=True):
            number, place = divmod(number, size)
            chosen.append(_pick(cases, place))
        return {address: value for part in reversed(chosen) for address, value in part.items()}

    def __iter__(self) -> Iterator[dict[str, Scalar]]:
        """One after the other."""
        return map(self.trial, range(self.size))

    def __contains__(self, trial: Mapping[str, Scalar]) -> bool:
        """Whether a trial is one of them."""
        drawn = {key for key, domain in self._search.items() if is_drawn(domain, trial)}
        return drawn == trial.keys() and all(
            value in self._values_of(self._search[address]) for address, value in trial.items()
        )


def trials_with(address: str, search: Search, values_of: _Values) -> Iterator[dict[str, Scalar]]:
    """Every different trial in which one parameter is drawn; the search holds it and those that it
    depends on, and nothing else.
    """
    ordered = {key: search[key] for key in in_order(search)}
    # What it depends on has one value in such a case, the one that a condition names.
    for case in _find_cases(ordered, values_of):
        if address in case.values:
            yield from map(case.trial, range(case.size))


def _pick(cases: Sequence[_Case], number: int) -> dict[str, Scalar]:
    for case in cases:
        if number < case.size:
            return case.trial(number)
        number -= case.size
    raise AssertionError("a number beyond the size")


def _independent(search: Search) -> list[dict[str, Domain]]:
    """The search in parts that no condition connects, each in an order in which it can be drawn."""
    parts: list[dict[str, Domain]] = []
    for address in in_order(search):
        domain = search[address]
        mine = [part for part in parts if part.keys() & domain.when.keys()]
        merged = {key: known for part in mine for key, known in part.items()}
        at = parts.index(mine[0]) if mine else len(parts)
        parts = [part for part in parts if part not in mine]
        parts.insert(at, {**merged, address: domain})
    return parts


def _find_cases(search: Search, values_of: _Values) -> list[_Case]:
    """Cases of parameters in an order in which they can be drawn."""
    cases: list[dict[str, Sequence[Scalar]]] = [{}]
    for address, domain in search.items():
        parts = _cut(values_of(domain), _named(search, address))
        cases = [
            {**case, **more}
            for case in cases
            for more in (
                [{address: part} for part in parts] if _is_drawn_in(case, domain) else [{}]
            )
        ]
        if len(cases) > _MAX_CASES:
            raise ConfigError(
                f"the conditions of [sweep.search] on {', '.join(search)} make more than "
                f"{_MAX_CASES} cases; take some of them out"
            )
    return [_Case(case) for case in cases]


def _named(search: Search, address: str) -> set[Scalar]:
    """Values of a parameter that conditions of others name."""
    return {value for domain in search.values() for value in domain.when.get(address, ())}


def _is_drawn_in(case: Mapping[str, Sequence[Scalar]], domain: Domain) -> bool:
    # All values of a part meet the same conditions, so the first speaks for them.
    return is_drawn(domain, {parent: case[parent][0] for parent in domain.when if parent in case})


def _cut(values: Sequence[Scalar], named: Collection[Scalar]) -> list[Sequence[Scalar]]:
    """The values in parts: each that is named by itself, and what lies between or beside them."""
    if not isinstance(values, range):
        rest = [value for value in values if value not in named]
        single = [[value] for value in values if value in named]
        return [part for part in (*single, rest) if part]
    parts, begin = list[Sequence[Scalar]](), values.start
    for value in sorted(value for value in named if type(value) is int and value in values):
        parts += [range(begin, value), range(value, value + 1)]
        begin = value + 1
    return [part for part in (*parts, range(begin, values.stop)) if part]
