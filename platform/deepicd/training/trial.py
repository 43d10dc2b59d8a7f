"""Ray Train launches verl: one trial = one Train run with one worker that owns one verl process.

In: an experiment with the trial's values filled in, the start model and the splits. Out: metrics
every step and a checkpoint at every validation, both by `ray.train.report`. verl places its own
workers over the GPU nodes; the Train worker is the small process that owns them. See
`training.driver` for why verl is a process and a Ray job of its own.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from deepicd.config import Experiment
from deepicd.errors import TrainingError
from deepicd.training.job import Job, read_job, write_job

_LOG_TAIL_LINES = 15
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
) -> ray.train.Result:
    """Run one trial to its end; blocks.

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


def train_on_worker(loop: Mapping[str, Any]) -> None:
    """Body of the Train worker: start verl, pass on what it reports, end with it."""
    experiment = Experiment.model_validate(loop["experiment"])
    reporter = Reporter(f"validation/{experiment.sweep.metric}")
    reporter.report({"step": 0})
    with tempfile.TemporaryDirectory(prefix="deepicd-trial-") as scratch:
        job_file = prepare_job(experiment, loop, Path(scratch))
        log = Path(loop["folder"]) / "verl.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            process, messages = start_driver(job_file, sink)
            try:
                forward(messages, process, reporter=reporter, log=log)
            finally:
                process.kill()
                process.wait()


def prepare_job(experiment: Experiment, loop: Mapping[str, Any], scratch: Path) -> Path:
    """Write the job file; returns its path."""
    from deepicd.training.verl_config import worker_env

    resume = fetch_checkpoint(scratch)
    is_guarded = experiment.profile == "cpu"
    job = Job(
        name=loop["name"],
        experiment=loop["experiment"],
        given=loop["given"],
        out=str(scratch / "checkpoints"),
        resume=str(resume) if resume else None,
        record=str(Path(loop["folder"]) / "verl.yaml"),
        address=ray.get_runtime_context().gcs_address,
        namespace=f"trial-{loop['name']}",
        env=worker_env(experiment),
        num_gpus=experiment.training.num_gpus * experiment.training.num_nodes,
        min_probs_pearson=experiment.training.min_probs_pearson if is_guarded else None,
    )
    write_job(job, scratch / "job.json")
    return scratch / "job.json"


def fetch_checkpoint(scratch: Path) -> Path | None:
    """Local copy of the checkpoint that Train restarts this worker from, if it does."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    step = Path(checkpoint.path).name
    return Path(checkpoint.to_directory(str(scratch / "resume" / step)))


def start_driver(job_file: Path, log: IO[bytes]) -> tuple[subprocess.Popen[bytes], IO[str]]:
    """Start `training.driver`; it dies with this process, whatever ends it."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "deepicd.training.driver",
            str(job_file),
            str(writer),
            str(os.getpid()),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(writer,),
        env={**driver_env(os.environ), **read_job(job_file).env},
    )
    os.close(writer)
    return process, os.fdopen(reader, encoding="utf-8")


def driver_env(env: Mapping[str, str]) -> dict[str, str]:
    """This worker's environment without what makes Ray take the child for a part of its job."""
    own = (
        "RAY_JOB_ID",
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        "RAY_RAYLET_PID",
        "RAY_WORKER_ID",
        "RAY_ADDRESS",
    )
    return {key: value for key, value in env.items() if key not in own}


class Reporter:
    """Reports to Ray Train; every report carries the worker's placement group and the last
    validation score.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._objective = math.nan

    def report(self, metrics: Mapping[str, float], folder: str | None = None) -> None:
        """One `ray.train.report`: metrics, and the checkpoint folder where the step saved one."""
        self._objective = metrics.get(self._metric, self._objective)
        values = {
            **metrics,
            OBJECTIVE: self._objective,
            "placement_group": current_placement_group(),
        }
        if folder is None:
            ray.train.report(values)
            return
        checkpoint = Checkpoint.from_directory(folder)
        ray.train.report(values, checkpoint=checkpoint, checkpoint_dir_name=Path(folder).name)


def forward(
    messages: IO[str], process: subprocess.Popen[bytes], *, reporter: Reporter, log: Path
) -> None:
    """Pass every step on to Ray Train until the process has ended.

    Raises:
        TrainingError: the process ended without saying that it was done.
    """
    for line in messages:
        message = json.loads(line)
        if message["kind"] == "step":
            reporter.report({**message["metrics"], "step": message["step"]}, message["checkpoint"])
        elif message["kind"] == "error":
            raise TrainingError(
                f"verl run failed: {message['type']}: {message['message']} (log: {log})"
            )
        elif message["kind"] == "done":
            process.wait()
            return
    raise TrainingError(
        f"verl's process ended with code {process.wait()} before training was done. "
        f"Last lines of {log}:\n{log_tail(log)}"
    )


def current_placement_group() -> str:
    """Id (hex) of this worker's placement group, which the sweep removes with the trial."""
    group = ray.util.get_current_placement_group()
    return group.id.hex() if group is not None else ""


def log_tail(log: Path) -> str:
    """Last lines of a trial's log; verl prints numbers and configuration there, never a note."""
    lines: Iterator[str] = iter(log.read_text(encoding="utf-8", errors="replace").splitlines())
    return "\n".join(list(lines)[-_LOG_TAIL_LINES:])
