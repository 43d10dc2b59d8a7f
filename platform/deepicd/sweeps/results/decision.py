"""Who won a sweep, and how sure that is: the one place that names a winner.

In: trials with their best validations, and the predictions of those validations on disk. Out: a
`SweepDecision`, kept as `RUN/sweep/decision.json`. Decided here:

- A configuration is a trial's parameters without its seed. Its score is the mean over its seeds of
  each trial's best validation.
- Where configurations were run again with fresh seeds, the winner is one of these, by the fresh
  seeds alone: the best of many first results is partly luck, which a second run does not repeat.
- Intervals are percentile bootstraps by patient over the validation notes, the same draws for all
  (`scoring.replicate`): they say what other notes could have said about these checkpoints. Seeds
  are averaged, not drawn; `scores` shows how far they lie apart.
- The first of equals wins. Without prediction files there are point values only, said in `why`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from deepicd.config import Experiment, Scalar
from deepicd.errors import DataError, MissingError, SweepError
from deepicd.files import write_atomically
from deepicd.paths import trial_folder, validation_file
from deepicd.records import Prediction, Trial
from deepicd.scoring import read_predictions, replicate
from deepicd.scoring.bootstrap import match_notes, percentiles

SEED = "seed"
"""Address of the seed among a trial's parameters."""
CONFIDENCE = 0.95
Floats = NDArray[np.float64]


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
    """To the leader; of the leader to the next. Among those that compete for the title."""
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


@dataclass(frozen=True)
class Candidate:
    """Trials of one configuration that have a score and a checkpoint."""

    params: Mapping[str, Scalar]
    proposed: list[Trial] = field(default_factory=list)
    fresh: list[Trial] = field(default_factory=list)

    @property
    def counted(self) -> list[Trial]:
        """Trials that its score is the mean of."""
        return self.fresh or self.proposed


def without_seed(params: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """A configuration's parameters."""
    return {address: value for address, value in params.items() if address != SEED}


def is_fresh(params: Mapping[str, Scalar], experiment: Experiment) -> bool:
    """Whether a trial runs a configuration again to confirm it: its seed is after those of the
    proposed trials.
    """
    sweep = experiment.sweep
    first = experiment.seed + sweep.num_seeds
    return sweep.confirm_top > 0 and int(params.get(SEED, experiment.seed)) >= first


def rank(trials: Sequence[Trial], experiment: Experiment) -> list[Candidate]:
    """Configurations that have a score, best first; confirmed ones before all others."""
    found: dict[str, Candidate] = {}
    for trial in trials:
        if trial.checkpoint is not None:
            params = without_seed(trial.params)
            key = json.dumps(params, sort_keys=True)
            candidate = found.setdefault(key, Candidate(params))
            runs = candidate.fresh if is_fresh(trial.params, experiment) else candidate.proposed
            runs.append(trial)
    metric = experiment.sweep.metric
    return sorted(found.values(), key=lambda one: (not one.fresh, -_mean(one.counted, metric)))


def decide(trials: Sequence[Trial], experiment: Experiment, *, sweep: Path) -> SweepDecision:
    """Rank the configurations of a sweep.

    Args:
        trials: in the order they were started.
        experiment: the sweep's.
        sweep: its folder, which holds the predictions of its trials.
    """
    metric, ranked = experiment.sweep.metric, rank(trials, experiment)
    if not ranked:
        return SweepDecision(metric, None, False, [], "no trial reached a validation")
    counted = [trial for one in ranked for trial in one.counted]
    columns = replicate_trials(counted, metric, sweep=sweep, seed=experiment.seed)
    means = [_mean_column(one, columns) for one in ranked]
    rivals = [one for one in ranked if bool(one.fresh) == bool(ranked[0].fresh)]
    rows = [_describe(one, column, experiment) for one, column in zip(ranked, means, strict=True)]
    rows[: len(rivals)] = _compare(rows[: len(rivals)], means[: len(rivals)])
    winner = max(ranked[0].counted, key=lambda trial: trial.validation[metric])
    num_lacking = len(counted) - len(columns)
    why = _explain(rows[: len(rivals)], metric, num_lacking=num_lacking)
    return SweepDecision(metric, winner.id, rows[0].is_confirmed, rows, why)


def replicate_trials(
    trials: Sequence[Trial], metric: str, *, sweep: Path, seed: int
) -> dict[str, Floats]:
    """Trial id → its score in every replicate; without those whose predictions are not on disk,
    or of other notes than the first's.
    """
    found: dict[str, list[Prediction]] = {}
    for trial in trials:
        assert trial.checkpoint is not None
        file = validation_file(trial_folder(sweep, trial.id), trial.checkpoint.step)
        try:
            rows = read_predictions(file)
            match_notes(rows, next(iter(found.values()), rows))
        except (MissingError, DataError):
            continue
        found[trial.id] = rows
    if not found:
        return {}
    columns = replicate(list(found.values()), metric, seed=seed)
    return {name: columns[:, at] for at, name in enumerate(found)}


def rank_trials(trials: Sequence[Trial], decision: SweepDecision) -> list[Trial]:
    """The winner, then the best trial of each further configuration, in the decision's order.

    Raises:
        SweepError: no trial reached a validation.
    """
    if decision.winner is None:
        raise SweepError("no trial reached a validation, so there is no checkpoint to promote")
    known = {trial.id: trial for trial in trials}
    names = [decision.winner]
    for one in decision.configurations:
        best = max(zip(one.scores, one.trials, strict=True), key=lambda pair: pair[0])[1]
        names += [best] if decision.winner not in one.trials else []
    return [known[name] for name in names]


def write_decision(decision: SweepDecision, path: Path) -> None:
    """Keep it as JSON."""
    write_atomically(path, json.dumps(asdict(decision), indent=2) + "\n")


def read_decision(path: Path) -> SweepDecision:
    """Read it back."""
    row = json.loads(path.read_text(encoding="utf-8"))
    configurations = [Configuration(**one) for one in row["configurations"]]
    return SweepDecision(**{**row, "configurations": configurations})


def _mean(trials: Sequence[Trial], metric: str) -> float:
    return fmean(trial.validation[metric] for trial in trials)


def _mean_column(candidate: Candidate, columns: Mapping[str, Floats]) -> Floats | None:
    own = [columns.get(trial.id) for trial in candidate.counted]
    return None if any(column is None for column in own) else np.mean(np.array(own), axis=0)


def _ends(column: Floats) -> tuple[float, float]:
    low, high = percentiles(column, CONFIDENCE)
    return float(low), float(high)


def _describe(candidate: Candidate, column: Floats | None, experiment: Experiment) -> Configuration:
    metric, counted = experiment.sweep.metric, candidate.counted
    is_rerun = bool(candidate.fresh and candidate.proposed)
    low, high = (None, None) if column is None else _ends(column)
    return Configuration(
        params=candidate.params,
        trials=[trial.id for trial in counted],
        seeds=[int(trial.params.get(SEED, experiment.seed)) for trial in counted],
        scores=[trial.validation[metric] for trial in counted],
        mean=_mean(counted, metric),
        low=low,
        high=high,
        is_confirmed=bool(candidate.fresh),
        proposed_mean=_mean(candidate.proposed, metric) if is_rerun else None,
    )


def _compare(rows: Sequence[Configuration], means: Sequence[Floats | None]) -> list[Configuration]:
    """With the differences between those that compete for the title."""
    shares = _shares(means)
    compared = []
    for at, row in enumerate(rows):
        other = 0 if at else min(1, len(rows) - 1)
        values: dict[str, float | None] = {"p_best": shares[at] if shares else None}
        if other != at:
            values["difference"] = row.mean - rows[other].mean
            one, two = means[at], means[other]
            if one is not None and two is not None:
                values["difference_low"], values["difference_high"] = _ends(one - two)
        compared.append(Configuration(**{**vars(row), **values}))
    return compared


def _shares(means: Sequence[Floats | None]) -> list[float] | None:
    known = [mean for mean in means if mean is not None]
    if len(known) < len(means):
        return None
    columns = np.array(known)
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


def show_interval(low: float | None, high: float | None, *, sign: str = "") -> str:
    """` [0.400, 0.600]` for people; empty where there is none."""
    return "" if low is None or high is None else f" [{low:{sign}.3f}, {high:{sign}.3f}]"
