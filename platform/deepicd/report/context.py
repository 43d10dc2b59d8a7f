"""A model among everything else that answered the same notes: a picture, a table, a sentence each.

In: rows as `pipeline.context` makes them. Out: a section. Decided here: one dot a row with its
interval; the model has a colour of its own, the ceiling is a line that nothing can pass. Intervals
of two rows may overlap though their paired difference is beyond chance: the table has the latter.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from deepicd.report.html import (
    GREY,
    PALETTE,
    Figure,
    Section,
    Table,
    label,
    new_plot,
    with_interval,
)
from deepicd.scoring import HEADLINE, mark_few

Rows = Sequence[Mapping[str, Any]]

_MAIN = HEADLINE[0]
# The figure's caption names this colour.
_MODEL = PALETTE[1]
"""Colour of the model in question."""


def context_section(title: str, rows: Rows) -> Section:
    """The section; says that there is no context where there is none."""
    if not rows:
        return Section(title, text=["Nothing else was scored on these notes in this run."])
    return Section(
        title,
        points=describe_context(rows),
        tables=[_context_table(rows)],
        figures=[_draw_context(rows), _draw_levels(rows)],
    )


def describe_context(rows: Rows) -> list[str]:
    """How the model compares with each row, in a sentence each."""
    model = _model_of(rows)
    return [
        f"{model['title']} against {row['title']}, on the same {row['paired']['num_notes']} notes: "
        f"{row['paired']['hierarchical_f1']:.3f}, {row['paired']['verdict']} in hierarchical F1."
        for row in rows
        if row["paired"]
    ]


def _model_of(rows: Rows) -> Mapping[str, Any]:
    return next(row for row in rows if row["is_model"])


def _context_table(rows: Rows) -> Table:
    model = _model_of(rows)["title"]
    cells = [
        {
            "who": row["title"],
            "notes": row["num_notes"],
            label(_MAIN): _shown(row["scores"], _MAIN),
            f"{model} minus this, paired": _difference(row["paired"]),
            **{label(level): _shown(row["scores"], level) for level in HEADLINE[1:]},
            "unparsable": _share(row["scores"].get("share_unparsable")),
            "what": row["what"],
        }
        for row in rows
    ]
    return Table(
        f"The {rows[0]['split']} split: scores with 95% bootstrap intervals by patient", cells
    )


def _shown(scores: Mapping[str, Any], level: str) -> str:
    ends = (scores.get(f"{level}{end}") for end in ("", "_low", "_high"))
    return with_interval(*ends, few=mark_few(scores))


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _difference(paired: Mapping[str, Any] | None) -> str | None:
    if paired is None:
        return None
    ends = (paired["low"], paired["high"])
    difference = with_interval(paired["difference"], *ends, few=mark_few(paired))
    return f"{difference} ({paired['num_notes']} notes)"


def _draw_context(rows: Rows) -> Figure:
    """A dot a row with its interval, in the order of the table."""
    plot = new_plot(x=label(_MAIN), height=150 + 34 * len(rows))
    for row in rows:
        scores = row["scores"]
        value = scores[_MAIN]
        low, high = (scores.get(f"{_MAIN}_{end}", value) for end in ("low", "high"))
        colour = _MODEL if row["is_model"] else GREY if row["name"] == "ceiling" else PALETTE[0]
        plot.add_scatter(
            x=[value],
            y=[row["title"]],
            mode="markers+text",
            text=[f"{value:.3f}"],
            textposition="top center",
            marker={"size": 13 if row["is_model"] else 10, "color": colour},
            error_x={"array": [high - value], "arrayminus": [value - low], "symmetric": False},
            showlegend=False,
            cliponaxis=False,  # a score of 0 has a whole dot, and its number
        )
        if row["name"] == "ceiling":
            plot.add_vline(x=value, line={"color": GREY, "dash": "dot"})
    plot.update_xaxes(range=[0, 1])
    # plotly begins at the bottom.
    plot.update_yaxes(type="category", autorange="reversed")
    caption = (
        "Hierarchical F1 with its 95% interval, on the same notes where their numbers are equal. "
        f"Orange: {_model_of(rows)['title']}."
    )
    return Figure("In context", caption, plot)


def _draw_levels(rows: Rows) -> Figure:
    """Bars by level, with intervals where they are known."""
    plot = new_plot(y="score")
    plot.update_yaxes(range=[0, 1])
    colours = cycle(colour for colour in PALETTE if colour != _MODEL)
    for row in rows:
        known = [level for level in HEADLINE if level in row["scores"]]
        values = [row["scores"][level] for level in known]
        ends = [
            [row["scores"].get(f"{level}_{end}", row["scores"][level]) for level in known]
            for end in ("low", "high")
        ]
        # plotly asks for lengths, not for ends.
        below, above = (
            [abs(end - value) for end, value in zip(own, values, strict=True)] for own in ends
        )
        bars = {"type": "data", "array": above, "arrayminus": below, "symmetric": False}
        colour = _MODEL if row["is_model"] else next(colours)
        names = [label(level) for level in known]
        plot.add_bar(name=row["title"], x=names, y=values, error_y=bars, marker_color=colour)
    return Figure("Scores by level", "The numbers of the table, bars with their intervals.", plot)
