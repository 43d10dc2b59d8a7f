"""Sections of text, tables and figures → one HTML page, or the same as values.

In: `Section`s. Out: HTML text. Decided here: how every figure looks (a palette that colour-blind
people can tell apart, Okabe and Ito 2008, without its yellow, which white swallows) and how a
number is shown.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GREY = "#8C959F"
SCALE = ((0.0, "#9CC9E3"), (0.5, "#2F7EBC"), (1.0, "#06244F"))
"""Colour scale of scores, darker is more: one hue, so it reads the same with any colour vision."""
_CONFIG = {"responsive": True, "displaylogo": False}


@dataclass(frozen=True)
class Table:
    """Rows of one table: header → value, the same headers in each."""

    caption: str
    rows: Sequence[Mapping[str, object]]


@dataclass(frozen=True)
class Figure:
    """One picture, with what a reader who cannot see it is told."""

    title: str
    caption: str
    plot: go.Figure


@dataclass(frozen=True)
class Section:
    """One heading of the page and what stands under it, in this order."""

    title: str
    text: Sequence[str] = ()
    points: Sequence[str] = ()
    """Sentences of a list."""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    folded: Mapping[str, str] = field(default_factory=dict)
    """Title → long text that a click unfolds."""

    @property
    def anchor(self) -> str:
        """Its id in the page."""
        return "-".join(self.title.lower().split())


def new_plot(*, x: str = "", y: str = "", height: int = 400, **layout: Any) -> go.Figure:
    """An empty figure in the look of all our figures; `x` and `y` name the axes, with units."""
    plot = go.Figure(
        layout={
            "template": "plotly_white",
            "height": height,
            "margin": {"l": 70, "r": 24, "t": 24, "b": 56},
            "font": {"size": 13, "color": "#1c2733"},
            "colorway": PALETTE,
            **layout,
        }
    )
    plot.update_xaxes(title=x, automargin=True)
    plot.update_yaxes(title=y, automargin=True)
    return plot


def render_page(title: str, sections: Sequence[Section], *, lead: Sequence[str] = ()) -> str:
    """The page as text; `lead` stands under the title."""
    source = files("deepicd").joinpath("data/page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(show=show, draw=_draw)
    text: str = environment.from_string(source).render(
        title=title, lead=lead, sections=sections, script=get_plotlyjs()
    )
    return text


def _draw(figure: Figure) -> str:
    """A figure's `div`; the page carries plotly's script once."""
    text: str = figure.plot.to_html(full_html=False, include_plotlyjs=False, config=_CONFIG)
    return text


def page_values(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """The page's text and tables as plain values that are valid JSON."""
    rows = [
        {
            "title": section.title,
            "text": [*section.text, *section.points],
            "tables": [
                {"caption": table.caption, "rows": [dict(row) for row in table.rows]}
                for table in section.tables
            ],
        }
        for section in sections
    ]
    # Through text and back, so that paths and NumPy's numbers are what JSON has.
    values: list[dict[str, Any]] = json.loads(json.dumps(rows, default=str))
    return values


def show(value: object) -> str:
    """A value for people: four digits that count, a dash for what is not known."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def with_interval(
    value: float | None, low: float | None, high: float | None, *, few: str = ""
) -> str:
    """`0.512 [0.480, 0.543]`, as far as it is known, and whether patients are few behind it
    (`scoring.mark_few`).
    """
    if value is None:
        return "–"
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{low:.3f}, {high:.3f}]{few}"


def short(address: str) -> str:
    """A parameter's name on an axis: its address without the part's name."""
    return address.partition(".")[2] or address


def label(metric: str) -> str:
    """A metric's key in words."""
    words = metric.rpartition("/")[2].replace("_", " ")
    return words.replace("f1", "F1").replace("gpu", "GPU")
