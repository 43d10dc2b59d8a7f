"""What a sweep left on disk, as plain values: what every section of its report is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deepicd.config import Experiment
from deepicd.records import Trial
from deepicd.report.costs import Starts, seconds_by_phase
from deepicd.report.curves import Histories
from deepicd.report.pareto import ParetoFronts


@dataclass(frozen=True)
class Sweep:
    """A sweep as far as it came."""

    experiment: Experiment
    trials: Sequence[Trial]
    """In the order they were started."""
    starts: Mapping[str, Starts]
    """Trial id → every report that came, one list each time that the sweep was started."""
    histories: Histories
    """Trial id → the last report of each step."""
    pareto_fronts: ParetoFronts
    stopping_steps: Sequence[int]
    """Steps at which the scheduler may stop a trial."""
    budget: Mapping[str, float]
    versions: Mapping[str, str]
    """Name → version, of where the report is made."""
    decision: Mapping[str, Any] = field(default_factory=dict)
    """The sweep's own ranking (`decision.json`); empty while it goes on."""
    context: Sequence[Mapping[str, Any]] = ()
    """The best trial among what else answered the validation notes (`SweepStatus.context`)."""
    records: Sequence[Mapping[str, Any]] = ()
    """What each trial recorded of what it ran with (`record.json`)."""

    @property
    def metric(self) -> str:
        """The validation score that the sweep maximises."""
        return self.experiment.sweep.metric

    @property
    def num_gpus(self) -> int:
        """GPUs (logical slots on the CPU profile) that a trial holds."""
        return self.experiment.training.world_size

    @property
    def params(self) -> dict[str, Mapping[str, Any]]:
        """Trial id → values by address."""
        return {trial.id: trial.params for trial in self.trials}

    # A frozen dataclass allows this: the value goes into `__dict__`, past `__setattr__`.
    @cached_property
    def scores(self) -> dict[str, float]:
        """Trial id → best validation score, best first; earlier trials first on a tie."""
        scores = {
            trial.id: trial.validation[self.metric]
            for trial in self.trials
            if self.metric in trial.validation
        }
        return dict(sorted(scores.items(), key=lambda item: -item[1]))

    @cached_property
    def seconds(self) -> dict[str, dict[str, float]]:
        """Trial id → phase → seconds."""
        return {trial: seconds_by_phase(starts) for trial, starts in self.starts.items()}

    @cached_property
    def gpu_hours(self) -> dict[str, float]:
        """Trial id → hours of GPUs that it held."""
        return {
            trial: sum(by_phase.values()) * self.num_gpus / 3600
            for trial, by_phase in self.seconds.items()
        }
