"""Trials' values and scores → parallel coordinates and importance.

In: trial id → values by address, trial id → score, the search space. Out: figures and tables.
Importance is Optuna's PED-ANOVA: how far the values of the best trials are from those of all trials
(Watanabe et al., 2023). It always names somebody, so it stands beside what shuffled scores give.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from deepicd.config import Choice, Domain, FloatRange, IntRange, Scalar
from deepicd.report.html import PALETTE, SCALE, Figure, label, new_plot, short, show

Params = Mapping[str, Mapping[str, Scalar]]
Scores = Mapping[str, float]
MIN_IMPORTANCE = 10
"""Trials below which importance is not computed: half of them are then the 5 best ones that
Optuna's documentation asks for."""
_NUM_SHUFFLES = 50
_NUM_TICKS = 5


@dataclass(frozen=True)
class Importance:
    """One parameter's share of all parameters' importance."""

    address: str
    share: float
    chance: float
    """Share that 95% of shuffled scores stay below."""


def searched(params: Params, search: Mapping[str, Domain]) -> list[str]:
    """Addresses of the space with more than one value among the trials."""
    return [
        address
        for address in search
        if len({values[address] for values in params.values() if address in values}) > 1
    ]


def draw_parallel(
    params: Params, scores: Scores, *, search: Mapping[str, Domain], metric: str
) -> Figure:
    """A line a trial through its values to its score."""
    trials = [trial for trial in params if trial in scores]
    addresses = [name for name in search if any(name in params[trial] for trial in trials)]
    columns = {name: [params[trial].get(name) for trial in trials] for name in addresses}
    ys = [scores[trial] for trial in trials]
    dimensions = [axis(name, values, search[name]) for name, values in columns.items()]
    line = {"color": ys, "colorscale": SCALE, "showscale": True}
    plot = new_plot(height=420, margin={"l": 90, "r": 40, "t": 90, "b": 30})
    last = {"label": label(metric), "values": ys}
    plot.add_parcoords(line=line, dimensions=[*dimensions, last], labelangle=-12)
    return Figure(
        "Parallel coordinates",
        f"One line a trial, from its values to its best validation {label(metric)}; logarithmic "
        "ranges are drawn so. Drag along an axis to pick trials.",
        plot,
    )


def axis(address: str, values: Sequence[Scalar | None], domain: Domain) -> dict[str, Any]:
    """One axis of the parallel coordinates: a choice by its values, a logarithmic range by its
    exponents; a trial without the parameter is drawn below the others.
    """
    if isinstance(domain, Choice):
        choices: list[Any] = list(domain.values)
        ticks: dict[float, str] = {number: show(value) for number, value in enumerate(choices)}
        positions = [-1 if value is None else choices.index(value) for value in values]
        if None in values:
            ticks[-1] = "–"
        return _ticked(short(address), positions, ticks)
    position = math.log10 if is_log(domain) else float
    ticks = {position(tick): f"{tick:.3g}" for tick in tick_values(domain)}
    below = min(ticks) - (max(ticks) - min(ticks)) / 10
    numbers = [below if value is None else position(float(value)) for value in values]
    if None in values:
        ticks[below] = "–"
    return _ticked(short(address), numbers, ticks)


def is_log(domain: Domain) -> bool:
    """Whether a range is logarithmic."""
    return isinstance(domain, FloatRange) and domain.type == "loguniform"


def tick_values(domain: FloatRange | IntRange) -> list[float]:
    """Five values of a range at equal distances (equal ratios of a logarithmic one)."""
    scale = np.geomspace if is_log(domain) else np.linspace
    return [float(value) for value in scale(domain.low, domain.high, _NUM_TICKS)]


def _ticked(name: str, values: Sequence[float], ticks: Mapping[float, str]) -> dict[str, Any]:
    return {
        "label": name,
        "values": list(values),
        "range": [min([*ticks, *values]), max([*ticks, *values])],
        "tickvals": list(ticks),
        "ticktext": list(ticks.values()),
    }


def importance(
    params: Params, scores: Scores, *, search: Mapping[str, Domain], seed: int = 0
) -> list[Importance]:
    """Shares of the searched parameters, largest first; empty for too few trials or fewer than two
    parameters that varied.
    """
    trials = [trial for trial in params if trial in scores]
    addresses = searched(params, search)
    if len(trials) < MIN_IMPORTANCE or len(addresses) < 2:
        return []
    values = np.array([scores[trial] for trial in trials])
    with _quiet_optuna():
        study = _study_of([params[trial] for trial in trials], search, addresses)
        shares = _ped_anova(study, values)
        rng = np.random.default_rng(seed)
        shuffled = [_ped_anova(study, rng.permutation(values)) for _ in range(_NUM_SHUFFLES)]
    importances = [
        Importance(name, share, float(np.quantile([row[name] for row in shuffled], 0.95)))
        for name, share in shares.items()
    ]
    return sorted(importances, key=lambda entry: -entry.share)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Without Optuna's lines for each study, and its reminder that PED-ANOVA takes low scores as
    good.
    """
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _study_of(
    rows: Sequence[Mapping[str, Scalar]], search: Mapping[str, Domain], addresses: Sequence[str]
) -> optuna.Study:
    """The trials as Optuna's, with the addresses that each has; their values are given later."""
    space = {address: _distribution(search[address]) for address in addresses}
    study = optuna.create_study()
    study.add_trials(
        optuna.trial.create_trial(
            params={name: row[name] for name in space if name in row},
            distributions={name: space[name] for name in space if name in row},
            # Optuna takes no finished trial without a value.
            value=0.0,
        )
        for row in rows
    )
    return study


def _ped_anova(study: optuna.Study, scores: np.ndarray[Any, Any]) -> dict[str, float]:
    """Address → share, all shares 1 together, by one score a trial. At least 5 trials count as the
    best. Optuna takes what is low as good.
    """
    shares = optuna.importance.get_param_importances(
        study,
        evaluator=optuna.importance.PedAnovaImportanceEvaluator(
            # Optuna's documentation asks for at least 5 best trials.
            target_quantile=max(0.1, 5 / len(scores))
        ),
        target=lambda trial: -float(scores[trial.number]),
    )
    return {name: float(share) for name, share in shares.items()}


def _distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    """Optuna's form of a domain."""
    if isinstance(domain, Choice):
        return optuna.distributions.CategoricalDistribution(domain.values)
    if isinstance(domain, FloatRange):
        return optuna.distributions.FloatDistribution(domain.low, domain.high, log=is_log(domain))
    return optuna.distributions.IntDistribution(domain.low, domain.high)


def draw_importance(importances: Sequence[Importance]) -> Figure:
    """Bars, with a mark at what chance gives."""
    plot = new_plot(x="share of importance", height=120 + 40 * len(importances))
    names = [short(entry.address) for entry in importances]
    shares = [entry.share for entry in importances]
    plot.add_bar(name="importance", x=shares, y=names, orientation="h")
    plot.add_scatter(
        name="95% of shuffled scores stay below",
        x=[entry.chance for entry in importances],
        y=names,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 24, "color": PALETTE[1], "line": {"width": 3}},
    )
    plot.update_yaxes(autorange="reversed")
    plot.update_xaxes(range=[0, 1])
    return Figure(
        "Parameter importance (PED-ANOVA)",
        "How much a parameter's values among the best trials differ from those of all trials, as a "
        "share. A bar that does not pass its mark is no more than chance gives.",
        plot,
    )
