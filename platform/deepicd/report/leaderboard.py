"""Every trial with its best validation and what it cost, best first."""

from collections.abc import Sequence

from deepicd.records import Trial
from deepicd.report.html import Figure, Section, Table, label, new_plot, short, with_interval
from deepicd.report.sweep_data import Sweep
from deepicd.scoring import mark_few

_MAX_DOTS = 40


def leaderboard_section(sweep: Sweep) -> Section:
    """Every trial; those without a score last."""
    unscored = [trial.id for trial in sweep.trials if trial.id not in sweep.scores]
    trials = {trial.id: trial for trial in sweep.trials}
    names = {name for trial in sweep.trials for name in trial.objectives}
    others = sorted(names - {sweep.metric, "gpu_hours"})
    ranked = [trials[name] for name in [*sweep.scores, *unscored]]
    rows = [_leaderboard_row(sweep, trial, others) for trial in ranked]
    # A table has the same headers in each row, so all rows have this column or none.
    if any(trial.error for trial in ranked):
        rows = [{**row, "error": trial.error} for row, trial in zip(rows, ranked, strict=True)]
    has_intervals = any(f"{sweep.metric}_low" in trial.validation for trial in sweep.trials)
    return Section(
        "Leaderboard",
        text=[] if has_intervals else ["These trials recorded no interval of their scores."],
        tables=[Table(f"Trials by their best validation {label(sweep.metric)}", rows)],
        figures=[_draw_scores(sweep)] if sweep.scores else [],
    )


def _leaderboard_row(sweep: Sweep, trial: Trial, others: Sequence[str]) -> dict[str, object]:
    """One line, with further objectives; the same headers for every trial."""
    validation = trial.validation
    ends = (validation.get(f"{sweep.metric}_{end}") for end in ("low", "high"))
    return {
        "trial": trial.id,
        "state": trial.status,
        "steps": trial.steps,
        label(sweep.metric): with_interval(
            validation.get(sweep.metric), *ends, few=mark_few(validation)
        ),
        **{label(name): trial.objectives.get(name) for name in others},
        "GPU-hours in all": sweep.gpu_hours.get(trial.id),
        **{short(key): trial.params.get(key) for key in sweep.experiment.sweep.search},
    }


def _draw_scores(sweep: Sweep) -> Figure:
    """A dot a trial with its interval, best on top."""
    names = list(sweep.scores)[:_MAX_DOTS]
    validations = {trial.id: trial.validation for trial in sweep.trials}
    plot = new_plot(x=label(sweep.metric), height=140 + 26 * len(names))
    values = [sweep.scores[name] for name in names]
    ends = [
        [validations[name].get(f"{sweep.metric}_{end}", sweep.scores[name]) for name in names]
        for end in ("low", "high")
    ]
    # plotly asks for lengths, not for ends.
    below, above = (
        [abs(end - value) for end, value in zip(own, values, strict=True)] for own in ends
    )
    bars = {"type": "data", "array": above, "arrayminus": below, "symmetric": False}
    plot.add_scatter(x=values, y=names, mode="markers", marker={"size": 11}, error_x=bars)
    plot.update_yaxes(type="category", autorange="reversed")
    caption = "Best validation of each trial, with its interval where one was recorded."
    if left := len(sweep.scores) - len(names):
        caption += f" {left} further trials are in the table."
    return Figure("Scores", caption, plot)
