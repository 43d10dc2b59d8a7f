"""What early stopping would have cost and saved: recorded curves through Ray Tune's schedulers.

In: the trials of a sweep and their reports, best recorded with `sweep.scheduler = "none"`. Out: a
`Replay` of plain values; Ray is not started. Decided here:

- The scheduler gets the reports that it would have got: in the order of the recorded seconds, from
  as many trials at once as the sweep ran.
- The winner is found as in a sweep (`results.ranking`), by what each trial had reached when it was
  stopped. Trials that confirm are left out, since others would have been confirmed.
- The proposals are those that were recorded. What a sampler would have proposed after other results
  is not known.
"""

import heapq
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepicd.config import Experiment, Scalar, with_values
from deepicd.errors import MissingError
from deepicd.paths import RunPaths
from deepicd.sweeps.results.ranking import ScoredTrial, is_fresh, rank
from deepicd.sweeps.results.status import read_status
from deepicd.sweeps.results.trials import read_history
from deepicd.sweeps.search.validation import check_early_stopping
from deepicd.training.grpo.metric_names import validation

_SECONDS = "time_this_iter_s"
# Ray Tune's `TrialScheduler.STOP`, without the seconds that its import takes.
_STOP = "STOP"
_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Curve:
    """A trial as it was recorded."""

    id: str
    params: Mapping[str, Scalar]
    rows: Sequence[_Row]
    has_failed: bool = False

    @property
    def steps(self) -> int:
        """Steps that were recorded."""
        return int(self.rows[-1]["step"])

    def until(self, step: int) -> "Curve":
        """Its beginning, `step` included."""
        return replace(self, rows=[row for row in self.rows if row["step"] <= step])


@dataclass(frozen=True)
class Replay:
    """What a scheduler would have done."""

    settings: Mapping[str, Scalar]
    """Scheduler, grace_steps and reduction_factor."""
    stopped_at: Mapping[str, int | None]
    """Trial → step; None where it would have run as long as it did."""
    steps: Mapping[str, float]
    """`recorded`, `spent` and `saved` GRPO steps."""
    gpu_seconds: Mapping[str, float]
    """The same in seconds of GPUs (logical slots on the CPU profile)."""
    chosen: str
    """Trial that would have won."""
    score: float
    """Its configuration's score then: the mean over seeds of the best validation."""
    best: str
    """Trial that wins by the whole curves."""
    best_score: float
    regret: float
    """`best_score` - `score`: what early stopping loses."""
    is_best_stopped: bool
    unknown: Sequence[str]
    """Trials whose own record ends early: what they would have reached is not known, and the
    regret can be larger."""


class _RecordedTrial:
    """The attributes of Ray Tune's `Trial` that a scheduler reads."""

    def __init__(self, curve: Curve) -> None:
        self.trial_id = curve.id
        self.config = dict(curve.params)
        self.status = "RUNNING"
        # Our schedulers read earlier reports below this path: here there are none.
        self.path = os.devnull


def read_curves(paths: RunPaths, experiment: Experiment) -> list[Curve]:
    """Proposed trials with at least one validation, in the order they were started.

    Raises:
        MissingError: there are none.
    """
    trials = read_status(paths, experiment, is_alive=False)
    recorded = [
        Curve(
            id=trial.id,
            params=trial.params,
            rows=read_history(paths.tune / trial.id),
            has_failed=trial.status == "failed",
        )
        for trial in trials
        if not is_fresh(trial.params, experiment)
    ]
    key = validation(experiment.sweep.metric)
    curves = [curve for curve in recorded if _best(curve, key) is not None]
    if not curves:
        raise MissingError(f"no trial of {paths.root} has a validation yet; replay it when one has")
    return curves


def replay(
    curves: Sequence[Curve], experiment: Experiment, settings: Mapping[str, Scalar]
) -> Replay:
    """Drive a scheduler over recorded curves.

    Args:
        curves: of the proposed trials, in the order they were started.
        experiment: the sweep's.
        settings: `scheduler`, `grace_steps`, `reduction_factor`; the sweep's own where absent.

    Raises:
        ConfigError: settings that a sweep would refuse.
    """
    values = {f"sweep.{name}": value for name, value in settings.items()}
    experiment = with_values(experiment, values, source="replay")
    check_early_stopping(experiment)
    stopped = _run_scheduler(curves, experiment)
    cut = [curve if (step := stopped[curve.id]) is None else curve.until(step) for curve in curves]
    (chosen, score), (best, best_score) = (_winner(some, experiment) for some in (cut, curves))
    sweep, total = experiment.sweep, experiment.training.total_steps
    num_gpus = experiment.training.world_size
    return Replay(
        settings={
            name: getattr(sweep, name) for name in ("scheduler", "grace_steps", "reduction_factor")
        },
        stopped_at=stopped,
        steps=_savings([curve.steps for curve in curves], [curve.steps for curve in cut]),
        gpu_seconds=_savings(*([num_gpus * _seconds(c) for c in some] for some in (curves, cut))),
        chosen=chosen,
        score=score,
        best=best,
        best_score=best_score,
        regret=best_score - score,
        is_best_stopped=stopped[best] is not None,
        unknown=[curve.id for curve in curves if curve.steps < total],
    )


def describe(replayed: Replay) -> list[str]:
    """Lines for people."""
    settings = ", ".join(f"{name} {value}" for name, value in replayed.settings.items())
    steps, seconds = replayed.steps, replayed.gpu_seconds
    num_stopped = sum(step is not None for step in replayed.stopped_at.values())
    lines = [
        f"{settings}: {num_stopped} of {len(replayed.stopped_at)} trials stopped",
        f"{steps['spent']:.0f} of {steps['recorded']:.0f} steps "
        f"({steps['saved'] / steps['recorded']:.0%} saved), "
        f"{seconds['spent']:.0f} of {seconds['recorded']:.0f} GPU-seconds",
        f"chosen: trial {replayed.chosen}, {replayed.score:.3f}; by the full curves trial "
        f"{replayed.best}, {replayed.best_score:.3f}; regret {replayed.regret:.3f}",
    ]
    if replayed.is_best_stopped:
        step = replayed.stopped_at[replayed.best]
        lines.append(
            f"trial {replayed.best}, the best of the full curves, would have been stopped at "
            f"step {step}"
        )
    if replayed.unknown:
        lines.append(
            f"the record of {', '.join(replayed.unknown)} ends early: what they would have reached "
            "is unknown, and the regret may be larger"
        )
    return lines


def _run_scheduler(curves: Sequence[Curve], experiment: Experiment) -> dict[str, int | None]:
    """Trial → the step at which the experiment's scheduler stops it, None where it does not.

    At the last step of a trial nothing is left to stop.
    """
    # Here: it imports Ray Tune, seconds that only a replay should cost.
    from deepicd.sweeps.schedulers import build_scheduler

    scheduler, metric = build_scheduler(experiment), validation(experiment.sweep.metric)
    total = experiment.training.total_steps
    seen = [_with_objective(curve.rows, metric) for curve in curves]
    trials = [_RecordedTrial(curve) for curve in curves]
    waiting = iter(range(len(curves)))
    # Seconds, trial, report: at equal seconds the trial that was started first comes first.
    events: list[tuple[float, int, int]] = []
    stopped: dict[str, int | None] = {curve.id: None for curve in curves}

    def start_next(now: float) -> None:
        if (number := next(waiting, None)) is not None:
            # No controller: our schedulers never ask it, since they pause nobody.
            scheduler.on_trial_add(None, trials[number])
            heapq.heappush(events, (now + seen[number][0].get(_SECONDS, 0.0), number, 0))

    # 0 left it to a cluster that is not there any more: then one at a time.
    for _ in range(max(1, experiment.sweep.max_concurrent)):
        start_next(0.0)
    while events:
        now, number, at = heapq.heappop(events)
        rows, trial = seen[number], trials[number]
        step, is_over = int(rows[at]["step"]), at + 1 == len(rows)
        if scheduler.on_trial_result(None, trial, rows[at]) == _STOP and step < total:
            stopped[trial.trial_id], is_over = step, True
        if not is_over:
            seconds = float(rows[at + 1].get(_SECONDS, 0.0))
            heapq.heappush(events, (now + seconds, number, at + 1))
            continue
        # A trial that is stopped before its failure does not come to fail.
        has_failed = curves[number].has_failed and stopped[trial.trial_id] is None
        end = scheduler.on_trial_error if has_failed else scheduler.on_trial_complete
        # Ray's `on_trial_error` takes no report.
        end(*((None, trial) if has_failed else (None, trial, rows[at])))
        start_next(now)
    return stopped


def _with_objective(rows: Sequence[_Row], metric: str) -> list[dict[str, Any]]:
    """With the last validation score, as a trial reports it."""
    last, completed = math.nan, []
    for row in rows:
        last = row.get(metric, last)
        completed.append({**row, "objective": last})
    return completed


def _winner(curves: Sequence[Curve], experiment: Experiment) -> tuple[str, float]:
    metric = experiment.sweep.metric
    scored = [
        ScoredTrial(curve.id, curve.params, score)
        for curve in curves
        if (score := _best(curve, validation(metric))) is not None
    ]
    first = rank(scored, experiment)[0]
    return max(first.counted, key=lambda trial: trial.score).id, first.mean


def _best(curve: Curve, key: str) -> float | None:
    return max((row[key] for row in curve.rows if key in row), default=None)


def _seconds(curve: Curve) -> float:
    return sum(float(row.get(_SECONDS, 0.0)) for row in curve.rows)


def _savings(recorded: Sequence[float], spent: Sequence[float]) -> dict[str, float]:
    total, used = round(sum(recorded), 1), round(sum(spent), 1)
    return {"recorded": total, "spent": used, "saved": round(total - used, 1)}
