"""The score over the two parameters that matter most: trials as points, a surface between them.

In: trial id → values by address, trial id → score, addresses by importance. Decided here: a surface
is linear between trials (on logarithmic axes where the range is), so it claims nothing outside
their hull; it needs `_MIN_SURFACE` trials and two ranges.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from scipy.interpolate import griddata
from scipy.spatial import QhullError

from deepicd.config import Choice, Domain
from deepicd.report.html import SCALE, Figure, label, new_plot, short
from deepicd.report.parameters import Params, Scores, is_log, tick_values

_MIN_SURFACE = 10
"""Trials below which no surface is drawn."""
_GRID = 40


def pair_of(ranked: Sequence[str], search: Mapping[str, Domain]) -> list[str]:
    """The two first ranges of a ranking, or else its two first parameters, or its only one."""
    ranges = [address for address in ranked if not isinstance(search[address], Choice)]
    return list(ranges[:2] if len(ranges) > 1 else ranked[:2])


def draw_pair(
    params: Params,
    scores: Scores,
    ranked: Sequence[str],
    *,
    search: Mapping[str, Domain],
    metric: str,
) -> Figure:
    """The score over the pair of a ranking, or over its only parameter."""
    pair = pair_of(ranked, search)
    trials = [name for name in scores if all(address in params[name] for address in pair)]
    columns: list[list[Any]] = [[params[trial][address] for trial in trials] for address in pair]
    values = [scores[trial] for trial in trials]
    axes = [_axis_of(search[address]) for address in pair]
    if len(pair) == 1:
        # With one parameter the score takes the vertical axis, or all points lay on a line.
        columns, axes = [columns[0], values], [axes[0], {}]
    plot = new_plot(x=short(pair[0]), y=short(pair[-1]) if len(pair) > 1 else label(metric))
    plot.update_layout(height=480, coloraxis={"colorscale": SCALE, "colorbar_title": label(metric)})
    plot.update_xaxes(**axes[0])
    plot.update_yaxes(**axes[1])
    surface = _interpolate(columns, values, axes) if len(pair) > 1 else None
    if surface is not None:
        plot.add_trace(surface)
    plot.add_scatter(
        x=columns[0],
        y=columns[1],
        mode="markers",
        marker={
            "color": values,
            "coloraxis": "coloraxis",
            "size": 13,
            "line": {"width": 1.5, "color": "white" if surface else "#1c2733"},
        },
        text=[f"{trial}: {value:.3f}" for trial, value in zip(trials, values, strict=True)],
        showlegend=False,
    )
    caption = f"Points are trials, coloured by their best validation {label(metric)}. "
    if len(pair) > 1:
        caption += (
            "The surface is linear between trials and says nothing outside them."
            if surface
            else f"A surface needs {_MIN_SURFACE} trials and two ranges."
        )
    return Figure(f"Score over {' and '.join(short(address) for address in pair)}", caption, plot)


def _interpolate(
    columns: Sequence[Sequence[Any]], values: Sequence[float], axes: Sequence[Mapping[str, Any]]
) -> go.Contour | None:
    """Contours between trials; None for too few, for choices, or when the trials lie on a line."""
    if len(values) < _MIN_SURFACE or any(axis["type"] == "category" for axis in axes):
        return None
    logs = [axis["type"] == "log" for axis in axes]
    placed = [
        np.log10(column) if is_log_axis else np.asarray(column, dtype=float)
        for column, is_log_axis in zip(columns, logs, strict=True)
    ]
    lines = [np.linspace(column.min(), column.max(), _GRID) for column in placed]
    try:
        # Rescaled: a learning rate beside a batch size would make triangles of no width.
        grid = griddata(tuple(placed), np.asarray(values), tuple(np.meshgrid(*lines)), rescale=True)
    except QhullError:
        return None
    xs, ys = (10**line if log else line for line, log in zip(lines, logs, strict=True))
    # The points' colours again: plotly.js never ends drawing contours with a shared colour axis.
    shades = {"colorscale": SCALE, "zmin": min(values), "zmax": max(values), "showscale": False}
    return go.Contour(x=xs, y=ys, z=grid, hoverinfo="skip", **shades)


def _axis_of(domain: Domain) -> dict[str, Any]:
    """How plotly draws a domain."""
    if isinstance(domain, Choice):
        return {"type": "category", "categoryorder": "array", "categoryarray": domain.values}
    if not is_log(domain):
        return {"type": "linear"}
    ticks = tick_values(domain)
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:.3g}" for tick in ticks]}
