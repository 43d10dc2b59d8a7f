"""A run's summary and curves → one HTML file that needs no network and no server.

In: the summary of `pipeline`, every report of every trial, seconds by stage. Out: HTML text.
Decided here: which pictures are drawn; every number in them comes from the records handed in.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from deepicd.config import Experiment
from deepicd.scoring import HEADLINE

History = Sequence[Mapping[str, Any]]
_LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "height": 380,
    "margin": {"l": 60, "r": 20, "t": 48, "b": 48},
}


def render_report(
    summary: Mapping[str, Any],
    histories: Mapping[str, History],
    *,
    stages: Mapping[str, float],
    experiment: Experiment,
) -> str:
    """The report as text."""
    figures = [
        compare_scores(summary),
        draw_curves(histories, f"validation/{experiment.sweep.metric}", "Validation by GRPO step"),
        draw_curves(histories, "critic/score/mean", "Training reward by GRPO step"),
        *draw_parts(histories),
        draw_parameters(summary["trials"], experiment.sweep.metric),
        draw_stages(stages),
    ]
    source = files("deepicd").joinpath("data/report.html.jinja").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True).from_string(source)
    text: str = template.render(
        summary=summary,
        metric=experiment.sweep.metric,
        levels=HEADLINE,
        models=scored_models(summary),
        script=get_plotlyjs(),
        figures=[figure.to_html(full_html=False, include_plotlyjs=False) for figure in figures],
    )
    return text


def scored_models(summary: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Name → test scores, in the order they are compared."""
    baselines = summary["baselines"]
    return {
        "majority code": baselines["majority"],
        "SFT start": baselines["sft"],
        "best trial": summary["best"]["test"],
    }


def compare_scores(summary: Mapping[str, Any]) -> go.Figure:
    """Bars by level with bootstrap intervals by patient."""
    figure = go.Figure(layout={**_LAYOUT, "title": "Test split", "yaxis": {"range": [0, 1]}})
    for name, scores in scored_models(summary).items():
        values = [scores[level] for level in HEADLINE]
        high = [scores[f"{level}_high"] - scores[level] for level in HEADLINE]
        low = [scores[level] - scores[f"{level}_low"] for level in HEADLINE]
        bars = {"type": "data", "array": high, "arrayminus": low, "symmetric": False}
        figure.add_bar(name=name, x=list(HEADLINE), y=values, error_y=bars)
    return figure


def draw_curves(histories: Mapping[str, History], key: str, title: str) -> go.Figure:
    """One line a trial."""
    figure = go.Figure(layout={**_LAYOUT, "title": title, "xaxis": {"title": "step"}})
    for trial, history in histories.items():
        rows = [row for row in history if key in row]
        steps, values = [row["step"] for row in rows], [row[key] for row in rows]
        figure.add_scatter(name=trial, x=steps, y=values, mode="lines+markers")
    return figure


def draw_parts(histories: Mapping[str, History]) -> list[go.Figure]:
    """One picture a reward part, unweighted, in training."""
    prefix, suffix = "reward/reward_", "/mean"
    keys = {key for history in histories.values() for row in history for key in row}
    parts = sorted(key for key in keys if key.startswith(prefix) and key.endswith(suffix))
    return [
        draw_curves(
            histories, part, f"Reward part: {part[len(prefix) : -len(suffix)]} (unweighted)"
        )
        for part in parts
    ]


def draw_parameters(trials: Sequence[Mapping[str, Any]], metric: str) -> go.Figure:
    """Parallel coordinates of the trials that reached a validation."""
    rows = [trial for trial in trials if metric in trial["validation"]]
    scores = [row["validation"][metric] for row in rows]
    dimensions = [
        {"label": address.split(".")[-1], "values": [row["params"].get(address) for row in rows]}
        for address in sorted({address for row in rows for address in row["params"]})
    ]
    line = {"color": scores, "colorscale": "Viridis", "showscale": True}
    lines = go.Parcoords(line=line, dimensions=[*dimensions, {"label": metric, "values": scores}])
    margin = {**_LAYOUT["margin"], "t": 96}  # labels stand above the axes
    layout = {**_LAYOUT, "title": "Parameters and validation score", "margin": margin}
    return go.Figure(lines, layout=layout)


def draw_stages(stages: Mapping[str, float]) -> go.Figure:
    """Where the time went."""
    figure = go.Figure(layout={**_LAYOUT, "title": "Seconds by stage"})
    figure.add_bar(x=list(stages.values()), y=list(stages), orientation="h")
    figure.update_yaxes(autorange="reversed")
    return figure
