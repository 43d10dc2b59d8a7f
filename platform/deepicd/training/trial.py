"""Ray Train launches verl: one trial = one Train run whose worker has the sweep's slot to itself.

In: an experiment with the trial's values filled in, the start model and the splits. Out: metrics
every step and a checkpoint at every validation, both by `ray.train.report`. verl places its own
workers over the GPU nodes; the Train worker is the small process that speaks for them. See
`training.slot` for why verl's process stays between trials, and `training.driver` for why it is a
Ray job of its own.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.api.report_config import CheckpointUploadMode

from deepicd.config import Experiment
from deepicd.errors import TrainingError
from deepicd.training.job import Job
from deepicd.training.slot import OVER, Slot

_LOG_TAIL_LINES = 15
_CLOSE_TIMEOUT_S = 30.0
OBJECTIVE = "objective"
"""Metric key that sampler and scheduler read: the last validation score, NaN before the first."""


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
    trainer = DataParallelTrainer(
        train_on_worker,
        train_loop_config={
            "experiment": experiment.model_dump(mode="json"),
            "given": {key: str(path) for key, path in vars(given).items()},
            "name": name,
            "folder": str(storage.resolve() / name),
            "since": time.time() - spent_s,
        },
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage.resolve()),
            callbacks=list(callbacks),
            failure_config=FailureConfig(max_failures=experiment.sweep.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute=f"validation/{experiment.sweep.metric}"
            ),
        ),
    )
    return trainer.fit()


def open_slot() -> Any:
    """Start the slot of this job's sweep: an actor by a name that its trials know. Close it with
    `close_slot`; it ends with the job in any case.
    """
    slot = ray.remote(num_cpus=0)(Slot).options(name=slot_name(), max_restarts=-1).remote()
    ray.get(slot.__ray_ready__.remote())
    return slot


def close_slot(slot: Any) -> None:
    """End the slot and the process it owns, which dies with it in any case."""
    with suppress(ray.exceptions.RayError, TimeoutError):
        ray.get(slot.close.remote(), timeout=_CLOSE_TIMEOUT_S)
    ray.kill(slot)


def stop_in_slot(name: str) -> None:
    """Tell trial `name` to leave the slot, if it is there; does not wait."""
    try:
        ray.get_actor(slot_name()).stop.remote(name)
    except ValueError:
        return


def slot_name() -> str:
    """Name of the slot's actor, one a Ray job."""
    return f"slot-{ray.get_runtime_context().get_job_id()}"


def train_on_worker(loop: Mapping[str, Any]) -> None:
    """Body of the Train worker: give the slot this trial, and pass on what it reports."""
    experiment = Experiment.model_validate(loop["experiment"])
    num_gpus = experiment.training.num_gpus * experiment.training.num_nodes
    reporter = Reporter(
        f"validation/{experiment.sweep.metric}", since=loop["since"], num_gpus=num_gpus
    )
    reporter.report({"step": 0})
    job = prepare_job(experiment, loop)
    Path(job.log).parent.mkdir(parents=True, exist_ok=True)
    slot = ray.get_actor(slot_name())
    reporter.expect_start()
    ray.get(slot.begin.remote(asdict(job)))
    forward(slot, job, reporter=reporter)


def prepare_job(experiment: Experiment, loop: Mapping[str, Any]) -> Job:
    """The run that this trial needs."""
    from deepicd.training.verl_config import worker_env

    folder = Path(loop["folder"])
    checkpoint = ray.train.get_checkpoint()
    is_guarded = experiment.profile == "cpu"
    return Job(
        name=loop["name"],
        experiment=loop["experiment"],
        given=loop["given"],
        out=str(folder),
        resume=str(checkpoint.path) if checkpoint else None,
        record=str(folder / "verl.yaml"),
        log=str(folder / "verl.log"),
        address=ray.get_runtime_context().gcs_address,
        env=worker_env(experiment),
        num_gpus=experiment.training.num_gpus * experiment.training.num_nodes,
        min_probs_pearson=experiment.training.min_probs_pearson if is_guarded else None,
    )


class Reporter:
    """Reports to Ray Train; every report carries the worker's placement group, the last validation
    score, `cost/gpu_hours` (clock time of the trial, restarts included, times its GPUs), and how
    the trial started: `start/is_warm`, and `start/seconds` until its first step could begin.
    """

    def __init__(self, metric: str, *, since: float, num_gpus: int) -> None:
        self._metric = metric
        self._since = since
        self._num_gpus = num_gpus
        self._objective = math.nan
        self._expected = 0.0
        self._start: dict[str, float] = {}

    def expect_start(self) -> None:
        """Count the seconds of the start from now."""
        self._expected = time.monotonic()

    def note_start(self, *, is_warm: bool) -> None:
        """The first step begins."""
        seconds = time.monotonic() - self._expected
        self._start = {"start/is_warm": float(is_warm), "start/seconds": seconds}

    def report(self, metrics: Mapping[str, float], folder: str | None = None) -> None:
        """One `ray.train.report`: metrics, and the checkpoint folder where the step saved one.

        verl writes checkpoints where Train keeps them, on storage that every node sees, so nothing
        is copied.
        """
        self._objective = metrics.get(self._metric, self._objective)
        values = {
            **metrics,
            **self._start,
            OBJECTIVE: self._objective,
            "cost/gpu_hours": (time.time() - self._since) * self._num_gpus / 3600,
            "placement_group": current_placement_group(),
        }
        if folder is None:
            ray.train.report(values)
            return
        ray.train.report(
            values,
            checkpoint=Checkpoint.from_directory(folder),
            checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
        )


def forward(slot: Any, job: Job, *, reporter: Reporter) -> None:
    """Pass every step on to Ray Train until the trial is over.

    Raises:
        TrainingError: verl failed, its process ended without a word, or the slot was taken away.
    """
    while True:
        message = ray.get(slot.next_message.remote(job.name))
        if message is None:
            continue
        if message["kind"] == "ready":
            reporter.note_start(is_warm=message["is_warm"])
        if message["kind"] == "step":
            reporter.report({**message["metrics"], "step": message["step"]}, message["checkpoint"])
        if message["kind"] in OVER:
            break
    if message["kind"] == "error":
        raise TrainingError(
            f"verl run failed: {message['type']}: {message['message']} (log: {job.log})"
        )
    if message["kind"] == "ended":
        raise TrainingError(
            f"verl's process ended with code {message['code']} before training was done. "
            f"Last lines of {job.log}:\n{log_tail(Path(job.log))}"
        )
    if message["kind"] == "stopped":
        raise TrainingError(f"trial {job.name} was stopped before its last step")


def current_placement_group() -> str:
    """Id (hex) of this worker's placement group, which the sweep removes with the trial."""
    group = ray.util.get_current_placement_group()
    return group.id.hex() if group is not None else ""


def log_tail(log: Path) -> str:
    """Last lines of a trial's log; verl prints numbers and configuration there, never a note."""
    lines: Iterator[str] = iter(log.read_text(encoding="utf-8", errors="replace").splitlines())
    return "\n".join(list(lines)[-_LOG_TAIL_LINES:])
