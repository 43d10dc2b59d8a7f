"""A whole run's summary and curves → its report.

In: the summary of `pipeline`, every report of every trial, seconds by stage. Out: HTML text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deepicd.config import Experiment
from deepicd.report.context import context_section
from deepicd.report.curves import Histories, draw_learning
from deepicd.report.html import (
    Figure,
    Section,
    Table,
    label,
    new_plot,
    render_page,
    show,
)
from deepicd.report.parameters import draw_parallel


def render_run(
    summary: Mapping[str, Any],
    histories: Histories,
    *,
    stages: Mapping[str, float],
    experiment: Experiment,
) -> str:
    """The report as text."""
    sweep, context = experiment.sweep, summary["context"]
    validated = {
        trial["id"]: trial for trial in summary["trials"] if sweep.metric in trial["validation"]
    }
    params = {name: trial["params"] for name, trial in validated.items()}
    scores = {name: trial["validation"][sweep.metric] for name, trial in validated.items()}
    sections = [
        context_section("Test split", context["test"]),
        Section("Promotion", text=[_verdict(summary)], points=summary["decision"]["reasons"]),
        Section(
            "Trials",
            tables=[_trial_table(summary["trials"], sweep.metric)],
            figures=[draw_parallel(params, scores, search=sweep.search, metric=sweep.metric)],
        ),
        context_section("Trials in context", context["validation"]),
        Section("Learning curves", figures=draw_learning(histories, sweep.metric)),
        Section("Time", figures=[_draw_stages(stages)]),
        Section("Versions", text=[_versions(summary)]),
    ]
    return render_page(summary["experiment"], sections, lead=[summary["question"]])


def _verdict(summary: Mapping[str, Any]) -> str:
    """What the gate decided, who serves and what monitoring saw."""
    accepted = summary["decision"]["accepted"]
    outcome = "Promoted" if accepted else "Not promoted; the champion stays"
    monitor = summary["monitor"]
    if not monitor:
        return f"{outcome}. {summary['version']} is champion. No endpoint was started by this run."
    return (
        f"{outcome}. {summary['version']} serves. Monitoring: {monitor['labelled']} labelled "
        f"answers, hierarchical F1 {monitor['hierarchical_f1']:.3f}."
    )


def _trial_table(trials: Sequence[Mapping[str, Any]], metric: str) -> Table:
    """State, steps, best validation and values of each trial."""
    rows = [
        {
            "trial": trial["id"],
            "state": trial["status"],
            "steps": trial["steps"],
            f"{label(metric)} (validation)": trial["validation"].get(metric),
            "parameters": ", ".join(f"{key} = {show(v)}" for key, v in trial["params"].items()),
            "error": trial["error"],
        }
        for trial in trials
    ]
    return Table("Trials in the order they were started", rows)


def _draw_stages(stages: Mapping[str, float]) -> Figure:
    """Where the time went."""
    plot = new_plot(x="seconds")
    plot.add_bar(x=list(stages.values()), y=list(stages), orientation="h")
    plot.update_yaxes(autorange="reversed")
    return Figure("Seconds by stage", "Wall time of each stage of the run.", plot)


def _versions(summary: Mapping[str, Any]) -> str:
    """One line of versions and the seed."""
    packages = " · ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return f"{packages} · seed {summary['seed']}"
