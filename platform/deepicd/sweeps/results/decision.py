"""Who won a sweep, and how sure that is: the one place that names a winner.

In: trials with their best validations, and the predictions of those validations on disk. Out: a
`SweepDecision`, written as `RUN/sweep/decision.json`. Decided here:

- The winner is the best trial of the first configuration in the ranking (`results.ranking`).
- Intervals are percentile bootstraps by patient over the validation notes, the same draws for all
  (`scoring.replicate`): they say what other notes could have said about these checkpoints. Seeds
  are averaged, not drawn; `scores` shows how far they lie apart.
- With few patients behind them the intervals are widened (`scoring.interval_of`), said in `why`.
- Without prediction files there are point values only, said in `why` too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepicd.config import Experiment, Scalar
from deepicd.errors import DataError, MissingError, SweepError
from deepicd.files import write_json
from deepicd.paths import trial_folder, validation_file
from deepicd.records import Prediction, Trial
from deepicd.scoring import has_few_patients, interval_of, read_predictions, replicate
from deepicd.scoring.bootstrap import match_notes
from deepicd.sweeps.results.ranking import (
    SEED,
    RankedConfiguration,
    ScoredTrial,
    mean_score,
    rank,
)

_CONFIDENCE = 0.95
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Configuration:
    """One configuration, ranked; numbers that cannot be computed are None."""

    params: Mapping[str, Scalar]
    """Without the seed."""
    trials: Sequence[str]
    """Those that count: of a confirmed configuration the fresh ones."""
    seeds: Sequence[int]
    scores: Sequence[float]
    """Best validation of each of them."""
    mean: float
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    """To the leader; of the leader to the next. Only among those that can win."""
    difference_low: float | None = None
    difference_high: float | None = None
    p_best: float | None = None
    """Share of the replicates in which its mean was the highest; equals share."""
    is_confirmed: bool = False
    proposed_mean: float | None = None
    """Of a confirmed configuration: the mean of the trials that it was chosen by."""


@dataclass(frozen=True)
class SweepDecision:
    """The ranking, best first."""

    metric: str
    winner: str | None
    """Trial to promote: the best of the first configuration; None when no trial has a score."""
    is_confirmed: bool
    configurations: Sequence[Configuration]
    why: str
    num_patients: int | None = None
    """Patients behind the intervals; None where there are no intervals."""
    has_few_patients: bool = False
    """Whether the intervals are widened because these are few; `p_best` is not, and says less."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep ended with."""

    trials: Sequence[Trial]
    """In the order they were started."""
    decision: SweepDecision


def decide(trials: Sequence[Trial], experiment: Experiment, *, sweep: Path) -> SweepDecision:
    """Rank the configurations of a sweep.

    Args:
        trials: in the order they were started; those without a checkpoint cannot win.
        experiment: the sweep's.
        sweep: its folder, which holds the predictions of its trials.
    """
    metric = experiment.sweep.metric
    promotable = {trial.id: trial for trial in trials if trial.checkpoint is not None}
    scored = [ScoredTrial(name, t.params, t.validation[metric]) for name, t in promotable.items()]
    ranked = rank(scored, experiment)
    if not ranked:
        return SweepDecision(metric, None, False, [], "no trial reached a validation")
    counted = [promotable[trial.id] for configuration in ranked for trial in configuration.counted]
    replicates, patients = _replicate_trials(counted, metric, sweep=sweep, seed=experiment.seed)
    means = [_Replicates.mean_of(configuration, replicates, patients) for configuration in ranked]
    rows = [_describe(*pair, experiment) for pair in zip(ranked, means, strict=True)]
    # A configuration that was not confirmed cannot win where others were, so it is not compared.
    num_rivals = sum(bool(rival.fresh) == bool(ranked[0].fresh) for rival in ranked)
    rows[:num_rivals] = _compare(rows[:num_rivals], means[:num_rivals])
    winner = max(ranked[0].counted, key=lambda trial: trial.score)
    num_lacking = len(counted) - len(replicates)
    why = _explain(rows[:num_rivals], metric, num_lacking=num_lacking)
    is_few = bool(replicates) and has_few_patients(patients)
    if is_few:
        why += f"; {patients} patients are few, so intervals are widened"
    return SweepDecision(
        metric,
        winner.id,
        rows[0].is_confirmed,
        rows,
        why,
        num_patients=patients if replicates else None,
        has_few_patients=is_few,
    )


@dataclass(frozen=True)
class _Replicates:
    """A configuration's mean score in each bootstrap replicate."""

    values: _Floats
    num_patients: int

    @classmethod
    def mean_of(
        cls,
        configuration: RankedConfiguration,
        replicates: Mapping[str, _Floats],
        num_patients: int,
    ) -> "_Replicates | None":
        """None where one of its trials has no replicates."""
        columns = [replicates.get(trial.id) for trial in configuration.counted]
        if any(column is None for column in columns):
            return None
        return cls(np.mean(np.array(columns), axis=0), num_patients)

    def ends(self) -> tuple[float, float]:
        return self._interval(self.values, span=1.0)

    def ends_of_difference(self, other: "_Replicates") -> tuple[float, float]:
        return self._interval(self.values - other.values, span=2.0)

    def _interval(self, values: _Floats, *, span: float) -> tuple[float, float]:
        low, high = interval_of(
            values, num_patients=self.num_patients, confidence=_CONFIDENCE, span=span
        )
        return float(low), float(high)


def _replicate_trials(
    trials: Sequence[Trial], metric: str, *, sweep: Path, seed: int
) -> tuple[dict[str, _Floats], int]:
    """Trial id → its score in every replicate, and the number of patients; without trials whose
    predictions are not on disk, or of other notes than the first's.
    """
    predictions: dict[str, list[Prediction]] = {}
    for trial in trials:
        # `decide` has left out those without one.
        assert trial.checkpoint is not None
        file = validation_file(trial_folder(sweep, trial.id), trial.checkpoint.step)
        try:
            rows = read_predictions(file)
            match_notes(rows, next(iter(predictions.values()), rows))
        except (MissingError, DataError):
            continue
        predictions[trial.id] = rows
    if not predictions:
        return {}, 0
    # One call for all trials: differences are only paired when all see the same draws.
    columns = replicate(list(predictions.values()), metric, seed=seed)
    patients = {row.patient_id for row in next(iter(predictions.values()))}
    return {name: columns[:, at] for at, name in enumerate(predictions)}, len(patients)


def rank_trials(trials: Sequence[Trial], decision: SweepDecision) -> list[Trial]:
    """The winner, then the best trial of each further configuration, in the decision's order.

    Raises:
        SweepError: no trial reached a validation.
    """
    if decision.winner is None:
        raise SweepError("no trial reached a validation, so there is no checkpoint to promote")
    by_id = {trial.id: trial for trial in trials}
    names = [decision.winner]
    for row in decision.configurations:
        best = max(zip(row.scores, row.trials, strict=True), key=lambda pair: pair[0])[1]
        names += [best] if decision.winner not in row.trials else []
    return [by_id[name] for name in names]


def write_decision(decision: SweepDecision, path: Path) -> None:
    """Write a decision as JSON."""
    write_json(path, asdict(decision), sort_keys=False)


def read_decision(path: Path) -> SweepDecision:
    """The decision that `write_decision` wrote."""
    row = json.loads(path.read_text(encoding="utf-8"))
    configurations = [Configuration(**values) for values in row["configurations"]]
    return SweepDecision(**{**row, "configurations": configurations})


def _describe(
    ranked: RankedConfiguration, mean: _Replicates | None, experiment: Experiment
) -> Configuration:
    is_rerun = bool(ranked.fresh and ranked.proposed)
    low, high = (None, None) if mean is None else mean.ends()
    return Configuration(
        params=ranked.params,
        trials=[trial.id for trial in ranked.counted],
        seeds=[int(trial.params.get(SEED, experiment.seed)) for trial in ranked.counted],
        scores=[trial.score for trial in ranked.counted],
        mean=ranked.mean,
        low=low,
        high=high,
        is_confirmed=bool(ranked.fresh),
        proposed_mean=mean_score(ranked.proposed) if is_rerun else None,
    )


def _compare(
    rows: Sequence[Configuration], means: Sequence[_Replicates | None]
) -> list[Configuration]:
    """With their differences, and the share of the replicates in which each led."""
    shares = _shares(means)
    compared = []
    for at, row in enumerate(rows):
        # The leader is compared with the next one, everybody else with the leader.
        other = 0 if at else min(1, len(rows) - 1)
        values: dict[str, float | None] = {"p_best": shares[at] if shares else None}
        if other != at:
            values["difference"] = row.mean - rows[other].mean
            own, others = means[at], means[other]
            if own is not None and others is not None:
                ends = own.ends_of_difference(others)
                values["difference_low"], values["difference_high"] = ends
        compared.append(Configuration(**{**vars(row), **values}))
    return compared


def _shares(means: Sequence[_Replicates | None]) -> list[float] | None:
    complete = [mean.values for mean in means if mean is not None]
    if len(complete) < len(means):
        return None
    columns = np.array(complete)
    # Where several are best in a replicate, each gets an equal part of it.
    is_best = columns == columns.max(axis=0)
    return [float(share) for share in (is_best / is_best.sum(axis=0)).mean(axis=1)]


def _explain(rows: Sequence[Configuration], metric: str, *, num_lacking: int) -> str:
    first = rows[0]
    kind = "fresh " if first.is_confirmed else ""
    num = len(set(first.seeds))
    why = f"{metric} {first.mean:.3f}{show_interval(first.low, first.high)} "
    why += f"over {num} {kind}seed{'s' * (num > 1)}"
    if first.proposed_mean is not None:
        why += f" ({first.proposed_mean:.3f} by the seeds it was chosen by)"
    if first.difference is None:
        why += "; nothing to compare it with"
    else:
        ends = show_interval(first.difference_low, first.difference_high, sign="+")
        why += f"; {first.difference:+.3f}{ends} ahead of the next of {len(rows)} configurations"
        if first.difference_low is not None and first.difference_low <= 0:
            why += ", which these notes cannot tell apart"
    if num_lacking:
        why += f"; {num_lacking} of the trials have no predictions of these notes on disk, so no "
        why += "intervals"
    return why


def show_interval(low: float | None, high: float | None, *, sign: str = "", few: str = "") -> str:
    """` [0.400, 0.600]` for people, and whether patients are few (`scoring.mark_few`); empty where
    there is none.
    """
    return "" if low is None or high is None else f" [{low:{sign}.3f}, {high:{sign}.3f}]{few}"
