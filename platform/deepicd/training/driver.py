"""One trial's verl run, in a process and a Ray job of its own.

In: a job file written by `training.trial` and an inherited pipe. Out: one JSON line a step on the
pipe.

Why a process: Ray frees a placement group only when its creator actor and its creator job are both
dead. verl's groups, made inside a Tune or Train actor, would outlive the trial for as long as the
sweep lives. As a job of its own, a verl run takes everything with it when its process ends, however
it ends; the kernel ends the process when the Train worker that started it dies (parent-death
signal).

Why one run at a time: TransferQueue's controller is one actor named `TransferQueueController` in
the namespace `transfer_queue` of the whole cluster. A second run would attach to it silently and
train on the other run's rollouts, so a run waits for it to be gone, and refuses to go on when the
controller it got belongs to another job.
"""

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf

from deepicd.config import Experiment
from deepicd.errors import CapacityError, DeepICDError
from deepicd.training.job import Job, read_job

_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1


class Pipe:
    """Writes messages to the Train worker, one JSON line each."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")

    def send(self, kind: str, **values: Any) -> None:
        """Send one message; the reader is gone only when this process is about to be."""
        self._file.write(json.dumps({"kind": kind, **values}) + "\n")


def main() -> None:
    """Entry of the process: `python -m deepicd.training.driver JOB_FILE DESCRIPTOR PARENT`."""
    die_with(int(sys.argv[3]))
    job, pipe = read_job(Path(sys.argv[1])), Pipe(int(sys.argv[2]))
    try:
        run_job(job, pipe)
    except Exception as error:
        pipe.send("error", type=type(error).__name__, message=explain(error))
        raise
    pipe.send("done")


def die_with(parent: int) -> None:
    """Ask the kernel (Linux) to kill this process when its parent is gone; it may be already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which started this run, is gone")


def run_job(job: Job, pipe: Pipe) -> None:
    """Join the cluster as a new job, wait for room, train, leave."""
    pipe.send("stage", name="joining Ray")
    ray.init(
        address=job.address,
        namespace=job.namespace,
        runtime_env={"env_vars": dict(job.env)},
        logging_level="warning",
    )
    try:
        wait_for_room(job)
        pipe.send("stage", name="starting verl")
        train(compose(job), job, pipe)
    finally:
        ray.shutdown()


def compose(job: Job) -> DictConfig:
    """verl's configuration of this run, which is also kept beside the trial's log."""
    from deepicd.training.verl_config import compose_grpo

    given = {name: Path(path) for name, path in job.given.items()}
    config = compose_grpo(
        Experiment.model_validate(job.experiment),
        **given,
        out=Path(job.out),
        resume=Path(job.resume) if job.resume else None,
    )
    Path(job.record).write_text(OmegaConf.to_yaml(config), encoding="utf-8")
    return config


def wait_for_room(job: Job) -> None:
    """Block until the previous run has left the TransferQueue and enough slots are free.

    Raises:
        CapacityError: that did not happen within `job.start_timeout_s` seconds.
    """
    deadline = time.monotonic() + job.start_timeout_s
    while True:
        free = ray.available_resources().get("GPU", 0.0)
        if not has_transfer_queue() and free >= job.num_gpus:
            return
        if time.monotonic() > deadline:
            raise CapacityError(
                f"no room for trial {job.name} within {job.start_timeout_s:.0f} s: {free:g} of "
                f"{job.num_gpus} GPUs "
                "(logical slots) free, another verl run "
                f"{'is' if has_transfer_queue() else 'is not'} using the "
                "cluster's TransferQueue. Wait for it to end, or give this sweep a cluster of "
                "its own."
            )
        time.sleep(_POLL_S)


def has_transfer_queue() -> bool:
    """Whether some verl run on this cluster holds the one TransferQueue."""
    try:
        ray.get_actor("TransferQueueController", namespace="transfer_queue")
    except ValueError:
        return False
    return True


def own_transfer_queue() -> None:
    """Refuse a TransferQueue that another job made between our look and our start."""
    controller = ray.get_actor("TransferQueueController", namespace="transfer_queue")
    owner, here = controller._actor_id.job_id.hex(), ray.get_runtime_context().get_job_id()
    if owner != here:
        raise CapacityError(
            f"the cluster's TransferQueue belongs to Ray job {owner}, not to this trial's job "
            f"{here}; "
            "two verl runs cannot share a cluster. Start this trial again when the other run "
            "has ended."
        )


def train(config: DictConfig, job: Job, pipe: Pipe) -> None:
    """Drive verl's V1 trainer in this process, as verl's own task runner does in an actor."""
    import transfer_queue as tq
    from verl.trainer.ppo.v1 import AgentLoopManagerTQ
    from verl.utils.logging_utils import configure_verl_logging

    from deepicd.training.trainer import ReportingTrainer

    configure_verl_logging()
    ReportingTrainer.report = lambda step, metrics, saved: send_step(pipe, step, metrics, saved)
    ReportingTrainer.min_probs_pearson = job.min_probs_pearson
    config.transfer_queue.enable = True
    OmegaConf.resolve(config)
    tq.init(config.transfer_queue)
    try:
        own_transfer_queue()
        trainer = ReportingTrainer(config=config)
        trainer.init()
        rollouts = AgentLoopManagerTQ.create(
            config=config,
            llm_client=trainer.get_llm_client(),
            teacher_client=trainer.get_teacher_client(),
            reward_loop_worker_handles=trainer.get_reward_handles(),
        )
        pipe.send("stage", name="training")
        trainer.fit(rollouts)
    finally:
        tq.close()


def send_step(pipe: Pipe, step: int, metrics: Mapping[str, float], saved: Path | None) -> None:
    """Report one step."""
    pipe.send(
        "step", step=step, metrics=dict(metrics), checkpoint=str(saved.resolve()) if saved else None
    )


def explain(error: BaseException) -> str:
    """Short cause for the trial table: our own words, or the last line of a remote traceback."""
    if isinstance(error, DeepICDError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__


if __name__ == "__main__":
    main()
