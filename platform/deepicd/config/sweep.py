"""The part of an experiment that says what is searched, by whom, and who is stopped early."""

import math
from collections.abc import Iterator
from typing import ClassVar, Literal, get_args

from pydantic import Field, field_validator

from deepicd.config.search_checks import condition_faults
from deepicd.config.search_space import Domain
from deepicd.config.strict_model import MAX_WHOLE, Contradiction, LocalPath, Scalar, StrictModel

Metric = Literal["hierarchical_f1", "macro_f1_full", "macro_f1_category", "macro_f1_chapter"]
_Minimised = Literal["response_length", "share_unparsable", "gpu_hours"]
MINIMISED: tuple[str, ...] = get_args(_Minimised)
"""Objectives of which less is better; of all others more is."""


class WarmStartTrial(StrictModel):
    """What a trial of an earlier sweep found."""

    max_number: ClassVar[int] = MAX_WHOLE

    source: str
    """Name of its run and its id, `first/3f2a9c10`."""
    params: dict[str, Scalar]
    """Address → value, of this search space."""
    objectives: dict[str, float]
    """Objective → value."""


class SweepConfig(StrictModel):
    """How many trials, and how they are stopped early."""

    num_trials: int = Field(default=4, ge=1, le=100_000)
    """Configurations to propose; each is a trial for each of `num_seeds`."""
    num_seeds: int = Field(default=1, ge=1, le=1000)
    """Trials of a proposed configuration, with the seeds `seed`, `seed` + 1, …; the sampler is told
    the mean of their scores."""
    confirm_top: int = Field(default=0, ge=0)
    """Best configurations that run again with fresh seeds, once all others are over, before a
    winner is named among them; 0 names the best as proposed."""
    confirm_seeds: int = Field(default=2, ge=1, le=1000)
    """Fresh seeds, and trials, of each of these."""
    max_concurrent: int = Field(default=1, ge=0)
    """Trials at once; 0 runs as many as the cluster's GPUs hold when the sweep starts."""
    metric: Metric = "hierarchical_f1"
    """Validation score to maximise: it decides who is stopped early and who wins."""
    objectives: tuple[Literal[Metric, _Minimised], ...] = ()
    """What the sampler pursues and the Pareto front is drawn by, `metric` among it; scores are
    maximised, `response_length` (tokens), `share_unparsable` and `gpu_hours` minimised. Empty: the
    metric alone."""
    sampler: Literal["tpe", "random", "grid", "sobol"] = "tpe"
    """Who proposes values: Optuna's TPE, its random, grid or quasi-random (Sobol) sampler."""
    scheduler: Literal["asha", "median", "none"] = "asha"
    """`asha` stops a trial at a rung unless it is among the best 1/reduction_factor there; `median`
    stops one whose best score is below the median of the others' averages up to that step."""
    grace_steps: int = Field(default=10, ge=1)
    """GRPO steps before a trial may be stopped."""
    reduction_factor: int = Field(default=2, ge=2)
    """ASHA's halving rate."""
    max_failures: int = Field(default=0, ge=0)
    """Restarts of a crashed trial from its last checkpoint."""
    max_interruptions: int = Field(default=3, ge=0)
    """Restarts of a trial whose node was lost or pre-empted, or that hung; not failures of its
    own."""
    placement_timeout_s: float = Field(default=3600.0, gt=0)
    """Longest wait of a trial for its GPUs, in seconds, while others hold them."""
    keep_top: int = Field(default=1, ge=1)
    """Checkpoints of a trial that are kept for their validation score, besides the last one."""
    compare_fingerprints: bool = True
    """Stop the sweep when trials with unequal values have equal weights after three updates."""
    max_trial_gpu_hours: float = Field(default=0.0, ge=0)
    """GPU-hours (of logical slots on the CPU profile) after which one trial ends, at its next
    report; what it has so far counts, and the sweep goes on. 0: no cap."""
    max_gpu_hours: float = Field(default=0.0, ge=0)
    """The same for the whole run: SFT and evaluation count, no trial starts that the rest could not
    hold, and those that run end at their next report. 0: no cap."""
    max_cost: float = Field(default=0.0, ge=0)
    """The same cap in USD, at `gpu_hour_price`. 0: no cap."""
    gpu_hour_price: float = Field(default=0.0, ge=0)
    """USD per GPU-hour."""
    search: dict[str, Domain] = {}
    """Dotted experiment address (`rewards.weights.hierarchy`) → domain."""
    start_from: LocalPath | None = None
    """Folder of an earlier run, whose trials the sampler is to know from the start."""
    freeze: tuple[str, ...] = ()
    """Addresses that take the value of the best trial in `start_from` and are not searched."""
    warm_start_trials: tuple[WarmStartTrial, ...] = ()
    """Trials taken from `start_from`; filled when a sweep starts, so that a resume, or a reader,
    does not need that folder."""
    warm_start_notes: str = ""
    """Hash of the validation notes on which those were scored; filled with them."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Conditions, objectives, caps and repetitions that do not go together."""
        for address, why in condition_faults(self.search):
            yield ("search", address), why
        if self.freeze and self.start_from is None:
            yield (
                ("freeze",),
                f"freeze {list(self.freeze)} takes values of an earlier sweep; set start_from to "
                "its folder",
            )
        yield from self._faults_of_objectives()
        if self.max_cost and not self.gpu_hour_price:
            yield (
                ("max_cost",),
                "max_cost needs sweep.gpu_hour_price, in USD; set it (deepicd plan FILE --gpu NAME "
                "shows on-demand prices)",
            )
        if self.confirm_top > self.num_trials:
            yield (
                ("confirm_top",),
                f"confirm_top ({self.confirm_top}) is more than num_trials ({self.num_trials}); "
                "lower it, or propose more",
            )
        if "seed" in self.search and (self.num_seeds > 1 or self.confirm_top):
            yield (
                ("search", "seed"),
                "seed is searched and repeated (num_seeds, confirm_top); take it out of the search",
            )

    def _faults_of_objectives(self) -> Iterator[Contradiction]:
        if len(set(self.objectives)) < len(self.objectives):
            why = f"objectives holds one twice: {self.objectives}; name each once"
            yield ("objectives",), why
        if self.metric not in self.pursued:
            yield (
                ("objectives",),
                f"objectives {self.objectives} lacks the metric {self.metric}, by which the winner "
                "is chosen; add it, or set sweep.metric to one of them",
            )

    @property
    def gpu_hours_cap(self) -> float:
        """GPU-hours that the run may take; infinite without a cap."""
        by_cost = self.max_cost / self.gpu_hour_price if self.max_cost else math.inf
        return min(self.max_gpu_hours or math.inf, by_cost)

    @property
    def pursued(self) -> tuple[str, ...]:
        """The objectives, at least one."""
        return self.objectives or (self.metric,)

    @property
    def total_trials(self) -> int:
        """Trials at most, repetitions included."""
        return self.num_trials * self.num_seeds + self.confirm_top * self.confirm_seeds

    @field_validator("scheduler", mode="before")
    @classmethod
    def _refuse_pbt(cls, value: object) -> object:
        # Before pydantic's own check, which would only list the choices.
        if str(value).lower() in {"pbt", "pb2"}:
            raise ValueError(
                f"{value} is not offered: it continues a trial from another one's weights, which "
                "Ray Train's runs do not accept from Tune, so it would only copy settings and say "
                "nothing. Use asha or median"
            )
        return value
