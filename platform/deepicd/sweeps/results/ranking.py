"""Scored trials → the configurations of a sweep, best first.

In: each trial's parameters and its score. Out: `RankedConfiguration`s. Decided here:

- A configuration is a trial's parameters without its seed. Its score is the mean over its seeds.
- Configurations that were run again with fresh seeds come before all others, and are ranked by the
  fresh seeds alone: the best of many first results is partly luck, which a second run does not
  repeat.
- The first of equals comes first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from deepicd.config import Experiment, Scalar

SEED = "seed"
"""Address of the seed among a trial's parameters."""


@dataclass(frozen=True)
class ScoredTrial:
    """What a trial is ranked by."""

    id: str
    params: Mapping[str, Scalar]
    score: float
    """Its best validation, by the sweep's metric."""


@dataclass(frozen=True)
class RankedConfiguration:
    """One configuration and its trials."""

    params: Mapping[str, Scalar]
    """Without the seed."""
    proposed: list[ScoredTrial] = field(default_factory=list)
    """Trials with the seeds that the sampler was told of."""
    fresh: list[ScoredTrial] = field(default_factory=list)
    """Trials that run it again."""

    @property
    def counted(self) -> list[ScoredTrial]:
        """Trials that its score is the mean of."""
        return self.fresh or self.proposed

    @property
    def mean(self) -> float:
        """Its score."""
        return mean_score(self.counted)


def mean_score(trials: Sequence[ScoredTrial]) -> float:
    """Mean of the scores of at least one trial."""
    return fmean(trial.score for trial in trials)


def is_fresh(params: Mapping[str, Scalar], experiment: Experiment) -> bool:
    """Whether a trial runs a configuration again to confirm it: its seed is after those of the
    proposed trials.
    """
    sweep = experiment.sweep
    first = experiment.seed + sweep.num_seeds
    return sweep.confirm_top > 0 and int(params.get(SEED, experiment.seed)) >= first


def rank(trials: Sequence[ScoredTrial], experiment: Experiment) -> list[RankedConfiguration]:
    """Configurations of these trials, best first; confirmed ones before all others."""
    configurations: dict[str, RankedConfiguration] = {}
    for trial in trials:
        params = {address: value for address, value in trial.params.items() if address != SEED}
        # Sorted: the order of parameters says nothing.
        key = json.dumps(params, sort_keys=True)
        configuration = configurations.setdefault(key, RankedConfiguration(params))
        is_rerun = is_fresh(trial.params, experiment)
        (configuration.fresh if is_rerun else configuration.proposed).append(trial)
    # Sorting is stable, so equals stay in the order in which their first trials came.
    return sorted(
        configurations.values(),
        key=lambda configuration: (not configuration.fresh, -configuration.mean),
    )
