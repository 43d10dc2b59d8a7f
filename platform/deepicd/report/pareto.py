"""The objectives that each trial reached, and the trials on the Pareto front.

In: trials with their objectives, and the Pareto fronts (`sweeps.results.pareto`) of all objectives
together and of the first one with each other one. Out: the report's section.
"""

from collections.abc import Collection, Mapping, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from deepicd.config import MINIMISED
from deepicd.records import Trial
from deepicd.report.html import GREY, PALETTE, Figure, Section, Table, label, new_plot

ParetoFronts = Mapping[tuple[str, ...], Collection[str]]
"""Names of objectives → ids of the trials on their front; all of them first, then the pairs."""
_UNITS = {"response_length": "mean tokens", "gpu_hours": "until the best validation"}
_ON, _OFF = "on the front", "beaten by another trial"


def pareto_section(trials: Sequence[Trial], pareto_fronts: ParetoFronts) -> Section:
    """Which trials no other one beats."""
    if not pareto_fronts:
        return Section("Objectives", text=["No trial has a score yet."])
    names = next(iter(pareto_fronts))
    front = pareto_fronts[names]
    whole = [trial for trial in trials if all(name in trial.objectives for name in names)]
    aims = ", ".join(f"{label(name)} ({_aim(name)})" for name in names)
    text = (
        f"{len(front)} of {len(whole)} trials are beaten by no other trial in all of: {aims}. "
        "Differences within the noise of a score count here like any others."
    )
    rows = [
        {"trial": trial.id, **{label(name): trial.objectives[name] for name in names}}
        for trial in whole
        if trial.id in front
    ]
    figures = [_draw_pareto(whole, pareto_fronts)] if len(names) > 1 else []
    return Section(
        "Objectives", [text], tables=[Table("Trials on the front", rows)], figures=figures
    )


def _aim(name: str) -> str:
    """Which way an objective is pursued."""
    return "less is better" if name in MINIMISED else "more is better"


def _draw_pareto(trials: Sequence[Trial], pareto_fronts: ParetoFronts) -> Figure:
    """The first objective over each other one."""
    names = next(iter(pareto_fronts))
    pairs = [(names[0], other) for other in names[1:]]
    num_rows = (len(pairs) + 1) // 2
    # plotly allows at most 1 / (rows - 1) between two rows.
    plot = make_subplots(num_rows, 2, horizontal_spacing=0.14, vertical_spacing=0.35 / num_rows)
    legend = {"orientation": "h", "y": 1.04, "yanchor": "bottom"}
    # make_subplots takes no layout: the look of our figures comes from an empty plot.
    look = new_plot(height=330 * num_rows, legend=legend)
    plot.update_layout(look.layout)
    for number, pair in enumerate(pairs):
        cell = {"row": number // 2 + 1, "col": number % 2 + 1}
        for trace in _draw_panel(trials, pair, pareto_fronts=pareto_fronts):
            # Every panel has the same names; the legend shows the first panel's.
            plot.add_trace(trace.update(showlegend=bool(trace.name) and number == 0), **cell)
        unit = f"{_UNITS[pair[1]]}; " if pair[1] in _UNITS else ""
        plot.update_xaxes(title=f"{label(pair[1])} ({unit}{_aim(pair[1])})", **cell)
        plot.update_yaxes(title=label(pair[0]), **cell)
    return Figure(
        "Pareto front",
        f"{label(names[0])} over every other objective. Diamonds are on the front of all "
        "objectives together; the line joins the best of each panel's two.",
        plot,
    )


def _draw_panel(
    trials: Sequence[Trial], pair: tuple[str, ...], *, pareto_fronts: ParetoFronts
) -> list[go.Scatter]:
    """Points of two objectives, and the line through their own front."""
    first, other = pair
    front = next(iter(pareto_fronts.values()))
    traces = []
    for name, symbol, colour in ((_OFF, "circle-open", GREY), (_ON, "diamond", PALETTE[0])):
        shown = [trial for trial in trials if (trial.id in front) == (name == _ON)]
        traces.append(
            go.Scatter(
                name=name,
                x=[trial.objectives[other] for trial in shown],
                y=[trial.objectives[first] for trial in shown],
                text=[trial.id for trial in shown],
                mode="markers",
                marker={"symbol": symbol, "size": 11, "color": colour},
            )
        )
    best = sorted(
        (trial.objectives[other], trial.objectives[first])
        for trial in trials
        if trial.id in pareto_fronts[pair]
    )
    # Steps on the worse side: the line claims nothing that no trial has reached.
    line = {"shape": "hv" if other in MINIMISED else "vh", "color": PALETTE[1], "width": 1.5}
    xs, ys = [x for x, _ in best], [y for _, y in best]
    return [*traces, go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip")]
