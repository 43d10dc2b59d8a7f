"""The experiment's question, and what the trials say to it: sentences that the numbers carry.

In: a `Sweep`. Out: the report's first section. A winner and its interval are taken from the sweep's
own decision where there is one; differences between groups of trials are `factors`'.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deepicd.config import Experiment, with_values
from deepicd.report.curves import line_of
from deepicd.report.factors import (
    FAMILY_CONFIDENCE,
    Comparison,
    common_step,
    compare,
    credit_split,
    group_seeds,
    merge_alike,
    splits_of,
)
from deepicd.report.html import Section, Table, label, show, with_interval
from deepicd.report.parameters import searched
from deepicd.report.sweep_data import Sweep
from deepicd.rewards.composite import resolve_weights
from deepicd.scoring import mark_few
from deepicd.training.grpo.metric_names import validation

_CHOSEN = (
    "It was chosen by these validation notes: expect less on others. The promotion split, which no "
    "trial reads, decides."
)
_UNITS = {
    "seeds": "seeds of one configuration each",
    "configurations": "configurations, means over their seeds",
}
_ENDED = ("finished", "stopped")


def answer_section(sweep: Sweep) -> Section:
    """The report's first section."""
    texts, tables = [_best_sentence(sweep)], _ranking_tables(sweep)
    curves = _ended_curves(sweep)
    step = common_step(curves)
    if step is None:
        return Section("Answer", text=[*texts, "No trial has ended with a score."], tables=tables)
    scores = {trial: dict(curve)[step] for trial, curve in curves.items() if curve}
    compared = _compare_factors(sweep, scores)
    params = {trial: sweep.params[trial] for trial in scores}
    num_varied = len(searched(params, sweep.experiment.sweep.search))
    texts += [*_credit_note(sweep, scores), _how(len(scores), step, num_varied)]
    metric = label(sweep.metric)
    points = [sentence(comparison, metric=metric, step=step) for comparison in compared]
    return Section("Answer", texts, points, [*tables, _comparison_table(compared)])


def _ended_curves(sweep: Sweep) -> dict[str, list[tuple[int, float]]]:
    """Trial id → (step, validation score) after step 0, of trials that ended and did not fail."""
    key = validation(sweep.metric)
    return {
        # Not step 0, at which every trial is still the start model.
        trial.id: [point for point in line_of(sweep.histories.get(trial.id, ()), key) if point[0]]
        for trial in sweep.trials
        if trial.status in _ENDED
    }


def _compare_factors(sweep: Sweep, scores: Mapping[str, float]) -> list[Comparison]:
    """Hierarchical credit first where it differs, then every searched value."""
    runs = group_seeds(sweep.params, scores)
    params = {trial: sweep.params[trial] for trial in runs}
    credit = credit_split({t: _credit_weight(sweep.experiment, own) for t, own in params.items()})
    others = splits_of(params, sweep.experiment.sweep.search)
    return compare(merge_alike([credit, *others] if credit else others), runs)


def _credit_weight(experiment: Experiment, params: Mapping[str, Any]) -> float:
    """Weight of the hierarchical credit in a trial's reward."""
    rewards = with_values(experiment, params).rewards
    return resolve_weights(rewards.preset, rewards.weights).get("hierarchy", 0.0)


def _credit_note(sweep: Sweep, trials: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """That hierarchical credit against strict cannot be answered, where it cannot."""
    has_credit = {_credit_weight(sweep.experiment, sweep.params[trial]) > 0 for trial in trials}
    if len(has_credit) == 2:
        return []
    which = "every" if has_credit == {True} else "no"
    return [
        f"Hierarchical credit against strict: not decided, {which} trial that was compared gave "
        "hierarchical credit."
    ]


def _best_sentence(sweep: Sweep) -> str:
    """The winner and why, or the best trial so far; and how far its score can be trusted."""
    if sweep.decision.get("winner"):
        return f"Winner: trial {sweep.decision['winner']}, {sweep.decision['why']}. {_CHOSEN}"
    if not sweep.scores:
        return "No trial has a score yet."
    # `scores` has the best first.
    best = next(iter(sweep.scores))
    validation = next(trial.validation for trial in sweep.trials if trial.id == best)
    ends = (validation.get(f"{sweep.metric}_{end}") for end in ("low", "high"))
    score = with_interval(validation[sweep.metric], *ends, few=mark_few(validation))
    notes = f" on {validation['num_notes']:g} validation notes" if "num_notes" in validation else ""
    return (
        f"Best so far: trial {best}, {label(sweep.metric)} {score}{notes}, the best of "
        f"{len(sweep.scores)} trials at its best validation. {_CHOSEN}"
    )


def _how(num_trials: int, step: int, num_varied: int) -> str:
    """How the sentences came about."""
    others = "Other values varied along with each factor. " if num_varied > 1 else ""
    return (
        f"The {num_trials} trials that ended are compared at step {step}, the last one at which "
        f"all of them were validated, so that early stopping favours nobody. {others}Intervals are "
        f"Welch's over trials, at {FAMILY_CONFIDENCE:.0%} confidence for all of them together; "
        "they hold for these validation notes."
    )


def sentence(comparison: Comparison, *, metric: str, step: int) -> str:
    """One comparison in words."""
    groups = comparison.split
    unit = _UNITS.get(comparison.unit, comparison.unit)
    sizes = f"{comparison.sizes[0]} against {comparison.sizes[1]} {unit}"
    what = f"{groups.factor}: {groups.first} against {groups.second}"
    if groups.alike:
        what += f" (these trials cannot tell it from {', '.join(groups.alike)})"
    if comparison.low is None or comparison.high is None:
        return (
            f"{what}: not decided by these {sizes}, too few to know their spread; the means at "
            f"step {step} differ by {comparison.difference:+.3f}."
        )
    interval = f"{comparison.difference:+.3f} [{comparison.low:+.3f}, {comparison.high:+.3f}]"
    if not comparison.is_decided:
        return f"{what}: not decided by these {sizes}: {interval} in {metric} at step {step}."
    word = "higher" if comparison.difference > 0 else "lower"
    return f"{what}: {metric} at step {step} is {word}, {interval} ({sizes})."


def _comparison_table(compared: Sequence[Comparison]) -> Table:
    """The numbers of the sentences."""
    rows = [
        {
            "factor": comparison.split.factor,
            "first group": f"{comparison.split.first} ({comparison.sizes[0]} {comparison.unit})",
            "second group": f"{comparison.split.second} ({comparison.sizes[1]} {comparison.unit})",
            "difference": comparison.difference,
            "low": comparison.low,
            "high": comparison.high,
            "decided": comparison.is_decided,
        }
        for comparison in compared
    ]
    return Table("Difference of mean scores, first group minus second", rows)


def _ranking_tables(sweep: Sweep) -> list[Table]:
    """The ranking that the sweep itself decided by."""
    few = mark_few(sweep.decision)
    rows = [
        {
            "rank": number,
            "values": ", ".join(f"{key} = {show(value)}" for key, value in row["params"].items()),
            "trials": len(row["trials"]),
            "mean": with_interval(row["mean"], row["low"], row["high"], few=few),
            "to the leader (the leader: to the next)": with_interval(
                row["difference"], row["difference_low"], row["difference_high"], few=few
            ),
            "run again": row["is_confirmed"],
        }
        for number, row in enumerate(sweep.decision.get("configurations", ()), start=1)
    ]
    return [Table("The sweep's own ranking, with 95% intervals by patient", rows)]
