"""The dataset card of a build, as Markdown and as one HTML file that needs no network.

In: the report that `build` writes to `report.json`. Out: `card.md` and `card.html`. Decided here:
what a reader has to know before trusting a score on these notes; both files say the same, the HTML
also draws it. A card holds counts only: no text, no identifier, and of a credentialed source no
code and no chapter that fewer than `MIN_SHOWN` notes have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from deepicd import codes
from deepicd.config import flatten
from deepicd.paths import SPLITS
from deepicd.scoring import HEADLINE

CARD = "card"
"""Stem of the files beside the splits."""

MIN_SHOWN = 10
"""Smallest count of a credentialed source that a card gives."""

_NUM_HEAD = 15
"""Labels that are named, most frequent first."""

_SHOWN = ("accuracy_full", *HEADLINE)
_TAIL = ((1, 1), (2, 4), (5, 9), (10, 49), (50, None))
_LAYOUT = {
    "template": "plotly_white",
    "height": 360,
    "margin": {"l": 60, "r": 20, "t": 48, "b": 48},
}

_OWN = (
    "They are patients': notes, and this folder, stay with those who may see them. What the group "
    "says of their origin, consent and licence belongs beside this card."
)
_LABELS = {
    **dict.fromkeys(("embedded", "mimic"), "seq_num 1 in diagnoses_icd"),
    "table": "the column that the group named",
    "fhir": "rank 1 of the encounter's diagnoses, or its only one",
}
_CODED_BY_OTHERS = (
    ". Where it was coded for billing it is not always the reason for admission, and a noisy "
    "target: the group knows."
)
_WORTH = {
    "embedded": ": the profile that the note was written from.",
    "mimic": ": the priority of billing, not always the reason for admission. It is a noisy "
    "target, and no model can reach a perfect score on it.",
    **dict.fromkeys(("table", "fhir"), _CODED_BY_OTHERS),
}
"""Source → what its label is worth."""
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """One heading of the card."""

    title: str
    text: str
    header: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    figure: str = ""
    """HTML of a picture, empty for none."""


def write_card(report: Report, folder: Path) -> None:
    """Write `card.md` and `card.html` into a folder."""
    for suffix, text in render_card(report).items():
        (folder / f"{CARD}.{suffix}").write_text(text, encoding="utf-8")


def render_card(report: Report) -> dict[str, str]:
    """`md` and `html` → the card as text."""
    import jinja2
    from plotly.offline import get_plotlyjs

    sections = [
        _describe_source(report),
        _describe_splits(report),
        _describe_dropped(report),
        _describe_labels(report),
        _describe_chapters(report),
        _describe_lengths(report),
        _describe_scores(report),
    ]
    templates = {
        suffix: files("deepicd").joinpath(f"data/card.{suffix}.jinja").read_text(encoding="utf-8")
        for suffix in ("md", "html")
    }
    title = f"Admission notes, source {report['source']}, seed {report['seed']}"
    return {
        suffix: jinja2.Environment(
            autoescape=suffix == "html", trim_blocks=True, lstrip_blocks=True
        )
        .from_string(source)
        .render(title=title, sections=sections, script=get_plotlyjs() if suffix == "html" else "")
        for suffix, source in templates.items()
    }


def _describe_source(report: Report) -> Section:
    what = {
        "embedded": "Generated from hand-authored clinical profiles; no patient stands behind it. "
        "It is a toy of clinical language: a score on it says nothing about real notes.",
        "mimic": "Cut from discharge summaries of MIMIC-IV (PhysioNet), which is credentialed: its "
        "notes, and this folder, stay with those who signed its data use agreement.",
        "table": f"From a table of notes that a group brought itself. {_OWN}",
        "fhir": f"From documents of a FHIR bulk export. {_OWN}",
    }[report["source"]]
    identity = report["identity"]
    rows = [("seed", str(report["seed"])), ("code table", identity["codes"]["release"])]
    rows += [
        (f"setting {name}", str(value)) for name, value in flatten(identity["settings"]).items()
    ]
    rows += [(f"SHA-256 of {name}", value[:16]) for name, value in identity["splits"].items()]
    rows += list(identity["versions"].items())
    text = (
        f"{what} {_describe_notes(identity)} The label is the principal ICD-10-CM diagnosis "
        f"({_LABELS[report['source']]}){_WORTH[report['source']]} "
        "Research use only; never for clinical decisions."
    )
    return Section("Source and label", text, ("what", "value"), rows)


def _describe_notes(identity: Mapping[str, Any]) -> str:
    if identity["settings"].get("sections") == "keep":
        return (
            "A note is an admission note as it was given; those with a section of the stay or the "
            "discharge were left out."
        )
    return (
        "A note holds what a summary says about the admission; it was written at discharge all "
        "the same, so it is not what a doctor wrote at the door."
    )


def _describe_splits(report: Report) -> Section:
    keys = ("num_notes", "num_patients", "num_labels", "num_chapters", "characters_median")
    unseen = {"train": 0, **report["labels_unseen_in_train"]}
    rows = [
        (name, *(f"{report['splits'][name][key]:,}" for key in keys), f"{unseen[name]:,}")
        for name in SPLITS
    ]
    header = ("split", "notes", "patients", "labels", "chapters", "median characters")
    text = (
        "By patient: all admissions of a patient are in one split. The promotion split is for the "
        "gate alone; no sweep reads it."
    )
    return Section("Splits", text, (*header, "labels unseen in training"), rows)


def _describe_dropped(report: Report) -> Section:
    rows = [(reason, _count(report, count)) for reason, count in report["dropped"].items()]
    text = (
        f"{report['num_notes']:,} notes are kept, {report['num_dropped']:,} rows are left out; "
        "the reasons are explained in docs/notes.md."
    )
    return Section("Left out", text, ("reason", "rows"), rows)


def _describe_labels(report: Report) -> Section:
    totals = {code: sum(counts.values()) for code, counts in report["labels"].items()}
    head = sorted(totals, key=lambda code: (-totals[code], code))[:_NUM_HEAD]
    rows = [
        (codes.dotted(code), codes.title(code), f"{totals[code]:,}", _share(report, totals[code]))
        for code in head
        if totals[code] >= _smallest(report)
    ]
    in_train = [counts["train"] for counts in report["labels"].values()]
    tail = [
        f"{sum(low <= count <= (high or count) for count in in_train)} with "
        + (f"{low}" if low == high else f"{low} to {high}" if high else f"{low} or more")
        for low, high in _TAIL
    ]
    text = (
        f"{report['num_labels']:,} codes. By notes in training: {', '.join(tail)}. The most "
        f"frequent codes over all splits:"
    )
    counts = sorted((count for count in in_train if count), reverse=True)
    figure = _draw("Notes in training by rank of the code", "rank")
    figure.add_scatter(x=list(range(1, len(counts) + 1)), y=counts, mode="lines+markers")
    figure.update_yaxes(type="log", title="notes")
    return Section("Labels", text, ("code", "title", "notes", "share"), rows, _html(figure))


def _describe_chapters(report: Report) -> Section:
    titles = {codes.chapter(code): codes.chapter_title(code) for code in report["labels"]}
    rows = [
        (name, titles[name], *(_count(report, counts[split]) for split in SPLITS))
        for name, counts in report["chapters"].items()
    ]
    figure = _draw("Share of a split's notes by chapter", "chapter")
    for split in SPLITS:
        shown = {
            name: counts[split] / report["splits"][split]["num_notes"]
            for name, counts in report["chapters"].items()
            if counts[split] >= _smallest(report)
        }
        figure.add_bar(name=split, x=list(shown), y=list(shown.values()))
    return Section("Chapters", "", ("chapter", "title", *SPLITS), rows, _html(figure))


def _describe_lengths(report: Report) -> Section:
    edges, counts = report["lengths"]["edges"], report["lengths"]["counts"]
    shown = [count if count >= _smallest(report) else 0 for count in counts]
    figure = _draw("Notes by length", "characters")
    width = edges[1] - edges[0]
    figure.add_bar(x=[edge + width / 2 for edge in edges[:-1]], y=shown, width=width)
    filled = [
        (f"{low:,} to {high - 1:,}", _count(report, count))
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    ]
    return Section("Lengths", "", ("characters", "notes"), filled, _html(figure))


def _describe_scores(report: Report) -> Section:
    scores = named_scores(report)
    if not scores:
        text = "Not computed for this build; `deepicd notes build --baselines` does."
        return Section("Baselines and ceiling", text)
    rows = [
        (name, *(f"{values[level]:.3f}" for level in _SHOWN)) for name, values in scores.items()
    ]
    text = "On the test split. The floor gives every note the most frequent code of training."
    if report["baselines"]:
        text += (
            " The linear baseline is a model on TF-IDF of words and word pairs, fitted on "
            f"{report['baselines']['tfidf_linear']['num_train']:,} training notes."
        )
    if report["ceiling"]:
        text += (
            " The ceiling is the generator itself: it knows its own probabilities and answers the "
            "most probable code, so no reader of the notes can expect a higher accuracy."
        )
    figure = _draw("Baselines and ceiling on the test split", "")
    for name, values in scores.items():
        figure.add_bar(name=name, x=list(_SHOWN), y=[values[level] for level in _SHOWN])
    figure.update_yaxes(range=[0, 1])
    return Section("Baselines and ceiling", text, ("reader", *_SHOWN), rows, _html(figure))


def named_scores(report: Report) -> dict[str, Mapping[str, float]]:
    """Baseline → scores on the test split, from floor to ceiling; empty where none was computed."""
    scores: dict[str, Mapping[str, float]] = {}
    if report.get("baselines"):
        scores["majority code (floor)"] = report["baselines"]["majority"]
        scores["TF-IDF + linear (baseline)"] = report["baselines"]["tfidf_linear"]
    if report.get("ceiling"):
        scores["Bayes-optimal (ceiling)"] = report["ceiling"]["test"]
    return scores


def _smallest(report: Report) -> int:
    """Smallest count that may be given."""
    return 1 if report["source"] == "embedded" else MIN_SHOWN


def _count(report: Report, count: int) -> str:
    return f"{count:,}" if count >= _smallest(report) or not count else f"< {MIN_SHOWN}"


def _share(report: Report, count: int) -> str:
    return f"{count / report['num_notes']:.1%}"


def _draw(title: str, axis: str) -> Any:
    import plotly.graph_objects as go

    return go.Figure(layout={**_LAYOUT, "title": title, "xaxis": {"title": axis}})


def _html(figure: Any) -> str:
    text: str = figure.to_html(full_html=False, include_plotlyjs=False)
    return text
