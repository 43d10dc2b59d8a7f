"""Who came how far, and who was stopped at which rung."""

from collections.abc import Sequence

import plotly.graph_objects as go

from deepicd.records import Trial
from deepicd.report.curves import Histories, line_of, mark_steps
from deepicd.report.html import GREY, SCALE, Figure, Table, label, new_plot
from deepicd.training.grpo.metric_names import validation

_ENDS = {
    "stopped": "x",
    "finished": "circle",
    "failed": "triangle-down",
    "running": "triangle-right",
    "pending": "circle-open",
}
"""Symbol at a trial's last step, by its state."""


def rung_table(trials: Sequence[Trial], rungs: Sequence[int]) -> Table:
    """Trials that came to each rung, and what became of them there."""
    rows = []
    for i, rung in enumerate(rungs):
        after = rungs[i + 1] if i + 1 < len(rungs) else float("inf")
        here = [trial for trial in trials if rung <= trial.steps < after]
        stopped = [trial.id for trial in here if trial.status == "stopped"]
        rows.append(
            {
                "rung (GRPO step)": rung,
                "trials that came": sum(trial.steps >= rung for trial in trials),
                "stopped there": len(stopped),
                "who": ", ".join(stopped),
            }
        )
    return Table("Rungs of the scheduler", rows)


def draw_ladder(
    trials: Sequence[Trial], histories: Histories, *, rungs: Sequence[int], metric: str
) -> Figure:
    """A bar a trial, as long as it ran; its validations coloured by score; rungs as lines."""
    ordered = sorted(trials, key=lambda trial: trial.steps)
    names = [trial.id for trial in ordered]
    plot = new_plot(x="GRPO step", height=160 + 26 * len(names), legend={"orientation": "h"})
    plot.add_bar(
        x=[trial.steps for trial in ordered],
        y=names,
        orientation="h",
        width=0.25,
        marker={"color": "#d0d7de"},
        showlegend=False,
        hoverinfo="skip",
    )
    for state, symbol in _ENDS.items():
        ends = [trial for trial in ordered if trial.status == state]
        if ends:
            plot.add_scatter(
                name=state,
                x=[trial.steps for trial in ends],
                y=[trial.id for trial in ends],
                mode="markers",
                marker={"symbol": symbol, "size": 17, "color": "#1c2733"},
            )
    _add_validations(plot, {name: histories.get(name, ()) for name in names}, metric)
    for rung in rungs:
        plot.add_vline(x=rung, line={"dash": "dot", "color": GREY})
    plot.update_yaxes(type="category", categoryorder="array", categoryarray=names)
    mark_steps(plot, max((trial.steps for trial in trials), default=0))
    return Figure(
        "Early-stopping ladder",
        "How far each trial came; dots are validations, dotted lines the steps at which the "
        "scheduler compares. The symbol at the end is the trial's state.",
        plot,
    )


def _add_validations(plot: go.Figure, histories: Histories, metric: str) -> None:
    points = [
        (step, name, score)
        for name, history in histories.items()
        for step, score in line_of(history, validation(metric))
    ]
    if not points:
        return
    steps, names, scores = zip(*points, strict=True)
    marker = {
        "color": scores,
        "colorscale": SCALE,
        "showscale": True,
        "size": 9,
        "line": {"width": 1, "color": "white"},
        "colorbar": {"title": label(metric)},
    }
    text = [f"{score:.3f}" for score in scores]
    plot.add_scatter(x=steps, y=names, mode="markers", marker=marker, text=text, showlegend=False)
