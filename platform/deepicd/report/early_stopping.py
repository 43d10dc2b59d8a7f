"""How far each trial came, and which ones the scheduler stopped at which step.

In: trials, their reports, and the steps at which the scheduler may stop one. Out: a table and a
figure.
"""

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


def stopping_table(trials: Sequence[Trial], stopping_steps: Sequence[int]) -> Table:
    """Trials that came to each of these steps, and those that were stopped there."""
    rows = []
    for i, step in enumerate(stopping_steps):
        after = stopping_steps[i + 1] if i + 1 < len(stopping_steps) else float("inf")
        here = [trial for trial in trials if step <= trial.steps < after]
        stopped = [trial.id for trial in here if trial.status == "stopped"]
        rows.append(
            {
                "rung (GRPO step)": step,
                "trials that came": sum(trial.steps >= step for trial in trials),
                "stopped there": len(stopped),
                "who": ", ".join(stopped),
            }
        )
    return Table("Rungs of the scheduler", rows)


def draw_early_stopping(
    trials: Sequence[Trial], histories: Histories, *, stopping_steps: Sequence[int], metric: str
) -> Figure:
    """A bar a trial, as long as it ran, with its validations coloured by score; a line for each
    stopping step.
    """
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
    for step in stopping_steps:
        plot.add_vline(x=step, line={"dash": "dot", "color": GREY})
    # Ids that look like numbers would else become an axis of numbers.
    plot.update_yaxes(type="category", categoryorder="array", categoryarray=names)
    mark_steps(plot, max((trial.steps for trial in trials), default=0))
    return Figure(
        "Early stopping",
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
