"""Ray Train launches verl: one trial = one Train run, whose worker hands the trial to a runner.

In: an experiment with the trial's values filled in, the start model and the splits. Out: metrics
every step and a checkpoint at every validation, both by `ray.train.report`. verl places its own
workers over the GPU nodes; the Train worker is the small process that speaks for them. See
`training.process.runner` for why verl's process stays between trials, and `training.grpo.driver`
for why it is a Ray job of its own.
"""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    CheckpointUploadMode,
    FailureConfig,
    RunConfig,
    ScalingConfig,
)
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from deepicd.config import Experiment
from deepicd.errors import TrainingError
from deepicd.training.checkpoints.reshard import fit_world_size
from deepicd.training.checkpoints.retention import TrialCheckpoints, facts_of, identify
from deepicd.training.grpo import metric_names
from deepicd.training.process.events import record_event
from deepicd.training.process.pool import start_in_runner
from deepicd.training.process.protocol import Job, Message, Ready, Step, TrialEnd, TrialInput
from deepicd.training.process.watchdog import Watchdog, conclude
from deepicd.upstream import require_version

ON_HEAD: Mapping[str, float] = {"node:__internal_head__": 0.001}
"""Resources (Ray's own) that place a trial's light processes on the head node, which no trial
survives anyway: what is lost with another node, verl and its runner, a trial starts again."""
_ABSENT_S = 1.0
"""Seconds between two questions to a runner that is not there."""


def fit_trial(
    experiment: Experiment,
    inputs: TrialInput,
    *,
    name: str,
    storage: Path,
    callbacks: Sequence[Any] = (),
    spent_s: float = 0.0,
) -> ray.train.Result:
    """Run one trial to its end; blocks.

    Args:
        experiment: the trial's values.
        inputs: start model and splits.
        name: the trial's id.
        storage: folder of all trials.
        callbacks: of Ray Train.
        spent_s: seconds that the trial ran before its sweep was interrupted.

    Raises:
        ray.train.TrainingFailedError: the verl run failed more often than `sweep.max_failures`.
    """
    # Ray Train exports its trainers for one framework each, and those make a process group; the
    # class below them starts a worker and nothing else.
    require_version("ray", "2.60.0", "the Train run of a trial")
    storage = storage.resolve()
    _forget_checkpoints(storage / name)
    # Of Train's light processes one would only watch the head node, where they all are.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    job = _prepare_job(experiment, inputs, name=name, out=storage / name)
    trainer = DataParallelTrainer(
        train_on_worker,
        train_loop_config={"job": job, "since": time.time() - spent_s},
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker=dict(ON_HEAD)),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            callbacks=list(callbacks),
            failure_config=FailureConfig(max_failures=experiment.sweep.max_failures),
            checkpoint_config=CheckpointConfig(),  # `TrialCheckpoints` removes what is not kept
        ),
    )
    return trainer.fit()


def _prepare_job(experiment: Experiment, inputs: TrialInput, *, name: str, out: Path) -> Job:
    """The run that a trial needs, from its start model; Ray must be running."""
    from deepicd.training.verl_settings import worker_env

    here = ray.get_runtime_context()
    return Job(
        name=name,
        experiment=experiment,
        inputs=inputs,
        out=out,
        address=here.gcs_address,
        sweep=str(here.get_job_id()),
        env=worker_env(experiment),
    )


def _forget_checkpoints(trial: Path) -> None:
    """Remove Ray Train's own list of a trial's checkpoints (2.60): it refuses to go on when one of
    them is gone, and what a trial goes on from is decided by what lies there (`retention`).
    """
    (trial / "checkpoint_manager_snapshot.json").unlink(missing_ok=True)


def train_on_worker(loop: Mapping[str, Any]) -> None:
    """Body of the Train worker: give a runner this trial, and pass on what it reports.

    A trial that the cluster interrupts (a node that is lost or pre-empted, a runner that dies) or
    that hangs goes on from its last checkpoint, which is not charged as a failure.

    Raises:
        TrainingError: verl failed, or was interrupted more than `sweep.max_interruptions` times.
    """
    job: Job = loop["job"]
    checkpoints, limit = _checkpoints_of(job), job.experiment.sweep.max_interruptions
    reporter = _Reporter(
        checkpoints, since=loop["since"], num_gpus=job.experiment.training.world_size
    )
    # Before all else: it carries the worker's placement group, which the sweep has to remove even
    # if the trial is stopped before its first step.
    reporter.report({metric_names.STEP: 0})
    job.out.mkdir(parents=True, exist_ok=True)
    job = replace(job, resume=_find_start(checkpoints, reporter, job))
    while (cause := _run_trial(job, reporter=reporter)) is not None:
        if reporter.num_interruptions == limit:
            raise TrainingError(
                f"trial {job.name} was interrupted more than sweep.max_interruptions = "
                f"{limit} times, at last: {cause} (log: {job.log})"
            )
        reporter.note_interruption(cause)
        job = replace(job, resume=_find_start(checkpoints, reporter, job))


def _find_start(checkpoints: TrialCheckpoints, reporter: "_Reporter", job: Job) -> Path | None:
    """Checkpoint that the trial goes on from, in as many pieces as it has ranks; None where it
    begins at its start model.
    """
    start = checkpoints.latest()
    if start is None:
        return None
    reporter.repeat(start)
    world_size = job.experiment.training.world_size
    return fit_world_size(start, world_size, on_event=checkpoints.on_event)


def _run_trial(job: Job, *, reporter: "_Reporter") -> str | None:
    """Run a trial to its end; returns what interrupted it, None when nothing did."""
    watchdog = Watchdog(job.out, hang_timeout_s=job.experiment.hang_timeout_s)
    runner = start_in_runner(job)
    reporter.expect_start()
    return forward(runner, job, reporter=reporter, watchdog=watchdog)


def _checkpoints_of(job: Job) -> TrialCheckpoints:
    """The checkpoints of a trial."""
    return TrialCheckpoints(
        trial=job.out,
        experiment=job.experiment,
        identity=identify(job.experiment, train=job.inputs.train, validation=job.inputs.validation),
        metric=metric_names.validation(job.experiment.sweep.metric),
        on_event=partial(record_event, job.out),
    )


class _Reporter:
    """Reports to Ray Train; every report carries the worker's placement group, the last validation
    score, `cost/gpu_hours` (clock time of the trial, restarts included, times its GPUs), how the
    trial started (`start/reused_engine`, and `start/seconds` until its first step could begin), and
    what interrupted it so far (`interruptions`, `interruption`).
    """

    def __init__(self, checkpoints: TrialCheckpoints, *, since: float, num_gpus: int) -> None:
        self._checkpoints = checkpoints
        self._since = since
        self._num_gpus = num_gpus
        self._objective = math.nan
        self._expected = 0.0
        self._start: dict[str, float] = {}
        self._interruption: dict[str, str | int] = {}
        self._step = 0.0
        self.num_interruptions = 0

    def expect_start(self) -> None:
        """Count the seconds of the start from now."""
        self._expected = time.monotonic()

    def note_start(self, *, reuses_engine: bool) -> None:
        """The first step begins."""
        seconds = time.monotonic() - self._expected
        self._start = {
            metric_names.REUSED_ENGINE: float(reuses_engine),
            metric_names.START_SECONDS: seconds,
        }

    def note_interruption(self, cause: str) -> None:
        """The trial starts again, from its last checkpoint where it has one."""
        self.num_interruptions += 1
        self._interruption = {
            metric_names.INTERRUPTIONS: self.num_interruptions,
            metric_names.INTERRUPTION: cause,
        }
        self.report({metric_names.STEP: self._step})

    def report(self, metrics: Mapping[str, float], checkpoint: Path | None = None) -> None:
        """One `ray.train.report`: metrics, and the checkpoint folder where the step saved one.

        verl writes checkpoints where Train keeps them, on storage that every node sees, so nothing
        is copied. One gets its manifest before it is reported, while verl does its next step.
        """
        values = self._complete(metrics)
        if checkpoint is None:
            ray.train.report(values)
            return
        # In this order: what lacks a manifest must not be reported, and nothing older goes before
        # the new one is known.
        self._checkpoints.finalize(checkpoint, values)
        self._report_checkpoint(values, checkpoint)
        self._checkpoints.apply_retention()

    def repeat(self, checkpoint: Path) -> None:
        """Report the step of the checkpoint that the trial goes on from once more: whoever was
        killed may have written its manifest and lost its report.
        """
        row = facts_of(checkpoint)["metrics"]
        now = {**self._interruption, metric_names.PLACEMENT_GROUP: _current_placement_group()}
        # What was recorded wins over the clock of now; the interruption and the group are new.
        self._report_checkpoint({**self._complete(row), **row, **now}, checkpoint)

    def _complete(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        self._objective = metrics.get(self._checkpoints.metric, self._objective)
        self._step = metrics[metric_names.STEP]
        return {
            **metrics,
            **self._start,
            **self._interruption,
            metric_names.OBJECTIVE: self._objective,
            metric_names.GPU_HOURS: (time.time() - self._since) * self._num_gpus / 3600,
            metric_names.PLACEMENT_GROUP: _current_placement_group(),
        }

    def _report_checkpoint(self, values: Mapping[str, Any], checkpoint: Path) -> None:
        ray.train.report(
            dict(values),
            checkpoint=Checkpoint.from_directory(str(checkpoint)),
            checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
        )


def forward(runner: Any, job: Job, *, reporter: _Reporter, watchdog: Watchdog) -> str | None:
    """Pass every step on to Ray Train until the trial is over; returns what interrupted it.

    Raises:
        TrainingError: verl failed, its process ended without a word, or the trial was stopped.
    """
    while True:
        message = ask(runner, job.name)
        if message is None:
            if cause := watchdog.overdue():
                # Not waited for: the runner may be what is gone.
                runner.abandon.remote(job.name)
                return cause
            continue
        watchdog.hear(message)
        if isinstance(message, TrialEnd):
            return conclude(message, job)
        if isinstance(message, Ready):
            reporter.note_start(reuses_engine=message.reuses_engine)
        if isinstance(message, Step):
            metrics = {**message.metrics, metric_names.STEP: message.step}
            reporter.report(metrics, message.checkpoint)


def ask(runner: Any, name: str) -> Message | None:
    """What the trial reports next; None when nothing came, or while its runner is not there: one
    that is lost with its node starts again elsewhere, and says so.
    """
    try:
        message: Message | None = ray.get(runner.next_message.remote(name))
    except ray.exceptions.RayActorError:
        time.sleep(_ABSENT_S)
        return None
    return message


def _current_placement_group() -> str:
    """Id (hex) of this worker's placement group, which the sweep removes with the trial."""
    group = ray.util.get_current_placement_group()
    return group.id.hex() if group is not None else ""
