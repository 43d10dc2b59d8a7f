"""A sweep's trials, as far as they came → its report.

In: a `Sweep` of plain values, read from disk by `pipeline.sweep_report`. Out: sections, and the
page. Decided here: what the report shows and in which order; every number comes from the records.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deepicd.config import flatten
from deepicd.report.answer import answer_section
from deepicd.report.context import context_section
from deepicd.report.contour import draw_pair
from deepicd.report.costs import Starts, draw_costs, phase_table
from deepicd.report.curves import Histories, draw_learning
from deepicd.report.early_stopping import draw_early_stopping, stopping_table
from deepicd.report.html import Section, Table, render_page, show
from deepicd.report.leaderboard import leaderboard_section
from deepicd.report.parameters import (
    MIN_IMPORTANCE,
    draw_importance,
    draw_parallel,
    importance,
    searched,
)
from deepicd.report.pareto import pareto_section
from deepicd.report.sweep_data import Sweep
from deepicd.training.grpo.metric_names import REUSED_ENGINE, START_SECONDS

_OWN = ("trial", "started", "params", "seed", "experiment", "verl")
"""What a trial's record holds of the trial alone, shown elsewhere."""


def render_sweep(sweep: Sweep, sections: Sequence[Section]) -> str:
    """The report as text."""
    counts = {
        state: sum(trial.status == state for trial in sweep.trials)
        for state in ("finished", "stopped", "failed", "running", "pending")
    }
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    budget = sweep.budget
    lead = [
        sweep.experiment.question or "The experiment asks no question.",
        f"{len(sweep.trials)} of {budget['num_trials']:g} trials: {states}. "
        f"{budget['num_steps']:g} of at most {budget['max_steps']:g} GRPO steps, "
        f"{budget['seconds'] / 60:.1f} minutes of trials, {budget['gpu_hours']:.3g} GPU-hours"
        f"{' (logical slots, no GPU)' if sweep.experiment.profile == 'cpu' else ''}.",
    ]
    return render_page(f"Sweep {sweep.experiment.name}", sections, lead=lead)


def build_sections(sweep: Sweep) -> list[Section]:
    """The report's sections, in order."""
    return [
        answer_section(sweep),
        context_section("Context", sweep.context),
        leaderboard_section(sweep),
        Section("Learning curves", figures=draw_learning(_best_first(sweep), sweep.metric)),
        _parameter_section(sweep),
        pareto_section(sweep.trials, sweep.pareto_fronts),
        _early_stopping_section(sweep),
        _cost_section(sweep),
        _environment_section(sweep),
    ]


def _parameter_section(sweep: Sweep) -> Section:
    """What the values have to do with the scores."""
    search, scores = sweep.experiment.sweep.search, sweep.scores
    params = {trial: sweep.params[trial] for trial in scores}
    varied = searched(params, search)
    if not varied:
        return Section("Parameters", text=["No parameter varied among trials with a score."])
    importances = importance(params, scores, search=search, seed=sweep.experiment.seed)
    text = [] if importances else [_no_importance(len(scores), len(varied))]
    ranked = [entry.address for entry in importances] or varied
    figures = [draw_parallel(params, scores, search=search, metric=sweep.metric)]
    figures += [draw_importance(importances)] if importances else []
    figures.append(draw_pair(params, scores, ranked, search=search, metric=sweep.metric))
    rows = [
        {
            "parameter": entry.address,
            "share": entry.share,
            "95% of shuffled scores below": entry.chance,
            "more than chance": entry.share > entry.chance,
        }
        for entry in importances
    ]
    tables = [Table("Importance (PED-ANOVA)", rows)]
    return Section("Parameters", text=text, tables=tables, figures=figures)


def _no_importance(num_trials: int, num_varied: int) -> str:
    """Why there is no importance."""
    if num_varied < 2:
        return "Only one parameter varied, so there is no share of importance to give."
    return (
        f"{num_trials} trials with a score are too few for parameter importance; it needs "
        f"{MIN_IMPORTANCE}."
    )


def _early_stopping_section(sweep: Sweep) -> Section:
    """Which trials were stopped, and at which step."""
    scheduler = sweep.experiment.sweep.scheduler
    num_stopped = sum(trial.status == "stopped" for trial in sweep.trials)
    total = sweep.experiment.training.total_steps
    saved = sum(total - trial.steps for trial in sweep.trials if trial.status == "stopped")
    text = (
        f"Scheduler {scheduler}: {num_stopped} of {len(sweep.trials)} trials were stopped early, "
        f"{saved} GRPO steps before their end. What they "
        "would have reached is not known."
    )
    figures = [
        draw_early_stopping(
            sweep.trials,
            sweep.histories,
            stopping_steps=sweep.stopping_steps,
            metric=sweep.metric,
        )
    ]
    return Section(
        "Early stopping",
        text=[text],
        tables=[stopping_table(sweep.trials, sweep.stopping_steps)],
        figures=figures,
    )


def _cost_section(sweep: Sweep) -> Section:
    """Seconds and GPU-hours by phase, and how long the sweep took by the clock."""
    rows = [row for starts in sweep.starts.values() for start in starts for row in start]
    text = [_clock_sentence(rows), _start_sentence(sweep.starts)]
    return Section(
        "Time and cost",
        text=[line for line in text if line],
        tables=[phase_table(sweep.seconds, sweep.num_gpus)],
        figures=[draw_costs(sweep.seconds)] if sweep.seconds else [],
    )


def _clock_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """From the first report's beginning to the last report."""
    stamped = [row for row in rows if "timestamp" in row]
    if not stamped:
        return ""
    # A report is stamped at the end of its step.
    first = min(row["timestamp"] - row.get("time_this_iter_s", 0.0) for row in stamped)
    minutes = (max(row["timestamp"] for row in stamped) - first) / 60
    return f"By the clock, from the first trial's start to the last report: {minutes:.1f} minutes."


def _start_sentence(starts: Mapping[str, Starts]) -> str:
    """Starts with a new engine, and in the engine of the trial before."""
    seconds_by_kind: dict[bool, list[float]] = {False: [], True: []}
    for reports in starts.values():
        for rows in reports:
            row = next((row for row in rows if START_SECONDS in row), None)
            if row is not None:
                seconds_by_kind[bool(row.get(REUSED_ENGINE))].append(row[START_SECONDS])
    words = [
        f"{len(values)} with a {'reused' if is_reused else 'new'} engine "
        f"(mean {sum(values) / len(values):.1f} s)"
        for is_reused, values in seconds_by_kind.items()
        if values
    ]
    return f"Starts: {', '.join(words)}." if words else ""


def _environment_section(sweep: Sweep) -> Section:
    """Versions and settings: what the trials recorded, else what is installed here."""
    settings = json.dumps(sweep.experiment.model_dump(mode="json"), indent=2, sort_keys=True)
    if sweep.records:
        caption, rows = "Recorded by the trials", recorded_rows(sweep.records)
    else:
        caption = "Installed where this report was made (the trials recorded nothing)"
        rows = [{"what": name, "value": version} for name, version in sweep.versions.items()]
    return Section(
        "Environment",
        tables=[Table(caption, rows)],
        folded={"Settings of the experiment (resolved)": settings},
    )


def recorded_rows(records: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """One row a recorded value; every value that occurs, with how many trials have it, where
    trials differ.
    """
    counts_by_name: dict[str, dict[str, int]] = {}
    for record in records:
        shared = {key: value for key, value in record.items() if key not in _OWN}
        for name, value in flatten(shared, into_lists=True).items():
            counts = counts_by_name.setdefault(name, {})
            counts[show(value)] = counts.get(show(value), 0) + 1
    return [
        {
            "what": name,
            "value": "; ".join(
                value if len(counts) == 1 else f"{value} ({count} trials)"
                for value, count in counts.items()
            ),
        }
        for name, counts in counts_by_name.items()
    ]


def _best_first(sweep: Sweep) -> Histories:
    others = [name for name in sweep.histories if name not in sweep.scores]
    return {
        name: sweep.histories[name] for name in [*sweep.scores, *others] if name in sweep.histories
    }
