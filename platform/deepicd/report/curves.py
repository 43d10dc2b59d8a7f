"""Reports of trials → one line a trial by GRPO step."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from deepicd.report.html import GREY, PALETTE, Figure, label, new_plot
from deepicd.training.grpo import metric_names

History = Sequence[Mapping[str, Any]]
"""Reports of one trial, one a step, in order."""
Histories = Mapping[str, History]
# One for each colour of `PALETTE`, so that no line is told by its colour alone.
_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star")
_COMPONENT, _MEAN = metric_names.REWARD_COMPONENT, "/mean"


def draw_learning(histories: Histories, metric: str) -> list[Figure]:
    """Validation score, reward and every reward component, as far as they were reported."""
    pictures = [
        draw_curves(
            histories,
            metric_names.validation(metric),
            title=f"Validation: {label(metric)}",
            caption="Score on the validation notes at each validation of a trial.",
        ),
        draw_curves(
            histories,
            metric_names.REWARD,
            title="Training reward: weighted total",
            caption="Trials weigh the components differently, so totals of "
            "two trials are not on one scale.",
        ),
        *(
            draw_curves(
                histories,
                key,
                title=f"Reward component: {key[len(_COMPONENT) : -len(_MEAN)]} (unweighted)",
                caption="Before the trial's weight for it.",
            )
            for key in _reward_components(histories)
        ),
    ]
    return [picture for picture in pictures if picture.plot.data]


def _reward_components(histories: Histories) -> list[str]:
    """Keys of the unweighted reward components that some trial reported."""
    keys = {key for history in histories.values() for row in history for key in row}
    return sorted(key for key in keys if key.startswith(_COMPONENT) and key.endswith(_MEAN))


def draw_curves(histories: Histories, key: str, *, title: str, caption: str) -> Figure:
    """One line a trial, in the order given: the first ones in colour, further ones grey as one."""
    name = label(key) if key.startswith(metric_names.VALIDATION) else "mean of a step's answers"
    plot = new_plot(x="GRPO step", y=name)
    mark_steps(plot, max((row["step"] for rows in histories.values() for row in rows), default=0))
    lines = {trial: line_of(history, key) for trial, history in histories.items()}
    drawn = [(trial, line) for trial, line in lines.items() if line]
    others = drawn[len(PALETTE) :]
    if others:  # gaps between the trials keep it one line to plotly
        points = [point for _, line in others for point in [*line, (None, None)]]
        name = f"{len(others)} other trials"
        xs, ys = zip(*points, strict=True)
        plot.add_scatter(name=name, x=xs, y=ys, mode="lines", line={"color": GREY, "width": 1})
    for i, (trial, line) in enumerate(drawn[: len(PALETTE)]):
        xs, ys = zip(*line, strict=True)
        marker = {"symbol": _SYMBOLS[i], "size": 8, "color": PALETTE[i]}
        plot.add_scatter(name=trial, x=xs, y=ys, mode="lines+markers", marker=marker)
    return Figure(title, caption, plot)


def mark_steps(plot: go.Figure, last: int) -> None:
    """Whole steps from 0 on the x axis."""
    # A little beyond the last step, where its marker would be cut in half.
    plot.update_xaxes(range=[0, last * 1.03], dtick=max(1, round(last / 8)))


def line_of(history: History, key: str) -> list[tuple[Any, Any]]:
    """(step, value) of the reports that have the key."""
    return [(row["step"], row[key]) for row in history if row.get(key) is not None]
