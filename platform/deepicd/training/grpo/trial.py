"""Ray Train launches verl: one trial = one Train run whose worker has the sweep's slot to itself.

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
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.report_config import CheckpointUploadMode

from deepicd.config import Experiment
from deepicd.errors import TrainingError
from deepicd.training.checkpoints.reshard import fit_world
from deepicd.training.checkpoints.retention import Saves, facts_of, identify
from deepicd.training.grpo import metric_names
from deepicd.training.process.events import LOG, give_notice
from deepicd.training.process.pool import take_slot
from deepicd.training.process.protocol import Job
from deepicd.training.process.runner import OVER
from deepicd.training.process.watchdog import Watch, conclude

ON_HEAD: Mapping[str, float] = {"node:__internal_head__": 0.001}
"""Resources (Ray's own) that place a trial's light processes on the head node, which no trial
survives anyway: what is lost with another node, verl and its slot, a trial starts again."""
_ABSENT_S = 1.0


@dataclass(frozen=True)
class TrialInput:
    """What a trial needs besides its experiment: paths that every node sees."""

    model: Path
    """Start model (Hugging Face layout)."""
    train: Path
    """Training split (Parquet)."""
    validation: Path
    """Validation split (Parquet)."""


def fit_trial(
    experiment: Experiment,
    given: TrialInput,
    *,
    name: str,
    storage: Path,
    callbacks: Sequence[Any] = (),
    spent_s: float = 0.0,
) -> ray.train.Result:
    """Run one trial to its end; blocks.

    Args:
        experiment: the trial's values.
        given: start model and splits.
        name: the trial's id.
        storage: folder of all trials.
        callbacks: of Ray Train.
        spent_s: seconds that the trial ran before its sweep was interrupted.

    Raises:
        ray.train.TrainingFailedError: the verl run failed more often than `sweep.max_failures`.
    """
    forget_checkpoints(storage / name)
    # Of Train's light processes one would only watch the head node, where they all are.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    trainer = DataParallelTrainer(
        train_on_worker,
        train_loop_config={
            "experiment": experiment.model_dump(mode="json"),
            "given": {key: str(path) for key, path in vars(given).items()},
            "name": name,
            "folder": str(storage.resolve() / name),
            "since": time.time() - spent_s,
        },
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker=dict(ON_HEAD)),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage.resolve()),
            callbacks=list(callbacks),
            failure_config=FailureConfig(max_failures=experiment.sweep.max_failures),
            checkpoint_config=CheckpointConfig(),  # `saves` removes what is not kept
        ),
    )
    return trainer.fit()


def forget_checkpoints(trial: Path) -> None:
    """Remove Ray Train's own list of a trial's checkpoints (2.60): it refuses to go on when one of
    them is gone, and what a trial goes on from is decided by what lies there (`saves`).
    """
    (trial / "checkpoint_manager_snapshot.json").unlink(missing_ok=True)


def train_on_worker(loop: Mapping[str, Any]) -> None:
    """Body of the Train worker: give a slot this trial, and pass on what it reports.

    A trial that the cluster interrupts (a node that is lost or pre-empted, a slot that dies) or
    that hangs goes on from its last checkpoint, which is not charged as a failure.

    Raises:
        TrainingError: verl failed, or was interrupted more than `sweep.max_interruptions` times.
    """
    experiment = Experiment.model_validate(loop["experiment"])
    num_gpus, saves = experiment.training.world_size, saves_of_loop(experiment, loop)
    metric = metric_names.validation(experiment.sweep.metric)
    reporter = Reporter(metric, saves, since=loop["since"], num_gpus=num_gpus)
    reporter.report({metric_names.STEP: 0})
    job = prepare_job(experiment, loop)
    Path(job.log).parent.mkdir(parents=True, exist_ok=True)
    job = replace(job, resume=find_start(saves, reporter, job))
    while (cause := run_in_slot(job, experiment, reporter=reporter)) is not None:
        if reporter.num_interruptions == experiment.sweep.max_interruptions:
            raise TrainingError(
                f"trial {job.name} was interrupted more than sweep.max_interruptions = "
                f"{experiment.sweep.max_interruptions} times, at last: {cause} (log: {job.log})"
            )
        reporter.note_interruption(cause)
        job = replace(job, resume=find_start(saves, reporter, job))


def find_start(saves: Saves, reporter: "Reporter", job: Job) -> str | None:
    """Checkpoint that the trial goes on from, in as many pieces as it has ranks; None where it
    begins at its start model.
    """
    start = saves.newest()
    if start is None:
        return None
    reporter.repeat(start)
    return str(fit_world(start, job.num_gpus, say=saves.say))


def run_in_slot(job: Job, experiment: Experiment, *, reporter: "Reporter") -> str | None:
    """Run a trial to its end; returns what interrupted it, None when nothing did."""
    watch = Watch(Path(job.out), hang_timeout_s=experiment.training.hang_timeout_s)
    slot = take_slot(job)
    reporter.expect_start()
    return forward(slot, job, reporter=reporter, watch=watch)


def saves_of_loop(experiment: Experiment, loop: Mapping[str, Any]) -> Saves:
    """The checkpoints of this worker's trial."""
    trial = Path(loop["folder"])
    splits = {name: Path(loop["given"][name]) for name in ("train", "validation")}
    return Saves(trial, experiment, identify(experiment, **splits), partial(give_notice, trial))


def prepare_job(experiment: Experiment, loop: Mapping[str, Any]) -> Job:
    """The run that this trial needs, from its start model."""
    from deepicd.training.verl_settings import worker_env

    folder = Path(loop["folder"])
    is_guarded = experiment.profile == "cpu"
    return Job(
        name=loop["name"],
        experiment=loop["experiment"],
        given=loop["given"],
        out=str(folder),
        resume=None,
        record=str(folder / "verl.yaml"),
        log=str(folder / LOG),
        address=ray.get_runtime_context().gcs_address,
        env=worker_env(experiment),
        num_gpus=experiment.training.world_size,
        min_probs_pearson=experiment.training.min_probs_pearson if is_guarded else None,
        sweep=str(ray.get_runtime_context().get_job_id()),
        room_timeout_s=experiment.sweep.room_timeout_s,
    )


class Reporter:
    """Reports to Ray Train; every report carries the worker's placement group, the last validation
    score, `cost/gpu_hours` (clock time of the trial, restarts included, times its GPUs), how the
    trial started (`start/reused_engine`, and `start/seconds` until its first step could begin), and
    what interrupted it so far (`interruptions`, `interruption`).
    """

    def __init__(self, metric: str, saves: Saves, *, since: float, num_gpus: int) -> None:
        self._metric = metric
        self._saves = saves
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

    def note_start(self, *, is_warm: bool) -> None:
        """The first step begins."""
        seconds = time.monotonic() - self._expected
        self._start = {
            metric_names.REUSED_ENGINE: float(is_warm),
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

    def report(self, metrics: Mapping[str, float], folder: str | None = None) -> None:
        """One `ray.train.report`: metrics, and the checkpoint folder where the step saved one.

        verl writes checkpoints where Train keeps them, on storage that every node sees, so nothing
        is copied. One is sealed before it is reported, while verl goes on with its next step.
        """
        values = self._complete(metrics)
        if folder is None:
            ray.train.report(values)
            return
        self._saves.seal(Path(folder), values)
        self._report_checkpoint(values, Path(folder))
        self._saves.prune()

    def repeat(self, save: Path) -> None:
        """Report the step of the checkpoint that the trial goes on from once more: whoever was
        killed may have written its manifest and lost its report.
        """
        row = facts_of(save)["metrics"]
        now = {**self._interruption, metric_names.PLACEMENT_GROUP: current_placement_group()}
        self._report_checkpoint({**self._complete(row), **row, **now}, save)

    def _complete(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        self._objective = metrics.get(self._metric, self._objective)
        self._step = metrics[metric_names.STEP]
        return {
            **metrics,
            **self._start,
            **self._interruption,
            metric_names.OBJECTIVE: self._objective,
            metric_names.GPU_HOURS: (time.time() - self._since) * self._num_gpus / 3600,
            metric_names.PLACEMENT_GROUP: current_placement_group(),
        }

    def _report_checkpoint(self, values: Mapping[str, Any], save: Path) -> None:
        ray.train.report(
            dict(values),
            checkpoint=Checkpoint.from_directory(str(save)),
            checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
        )


def forward(slot: Any, job: Job, *, reporter: Reporter, watch: Watch) -> str | None:
    """Pass every step on to Ray Train until the trial is over; returns what interrupted it.

    Raises:
        TrainingError: verl failed, its process ended without a word, or the slot was taken away.
    """
    while True:
        message = ask(slot, job.name)
        if message is None:
            if cause := watch.overdue():
                slot.abandon.remote(job.name)
                return cause
            continue
        watch.hear(message)
        if message["kind"] == "ready":
            reporter.note_start(is_warm=message["is_warm"])
        if message["kind"] == "step":
            reporter.report(
                {**message["metrics"], metric_names.STEP: message["step"]}, message["checkpoint"]
            )
        if message["kind"] in OVER:
            return conclude(message, job)


def ask(slot: Any, name: str) -> dict[str, Any] | None:
    """What the trial reports next; None when nothing came, or while its slot is not there: one that
    is lost with its node starts again elsewhere, and says so.
    """
    try:
        message: dict[str, Any] | None = ray.get(slot.next_message.remote(name))
    except ray.exceptions.RayActorError:
        time.sleep(_ABSENT_S)
        return None
    return message


def current_placement_group() -> str:
    """Id (hex) of this worker's placement group, which the sweep removes with the trial."""
    group = ray.util.get_current_placement_group()
    return group.id.hex() if group is not None else ""
