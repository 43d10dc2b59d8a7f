"""The process that drives verl, a Ray job of its own; trials run in it one after the other.

In: lines of JSON on standard input: `start` with a job file written by `training.slot`, `stop`.
Out: JSON lines on an inherited pipe, one a step, and one that says how a trial ended.

Why a process: Ray frees a placement group only when its creator actor and its creator job are both
dead. verl's groups, made inside a Tune or Train actor, would outlive the sweep's trials for as long
as the sweep lives. As a job of its own, verl takes everything with it when its process ends,
however it ends; the kernel ends the process when the slot that started it dies (parent-death
signal).

Why one trial at a time: TransferQueue's controller is one actor named `TransferQueueController` in
the namespace `transfer_queue` of the whole cluster. A second run would attach to it silently and
train on the other run's rollouts, so a process waits for it to be gone, and refuses to go on when
the controller it got belongs to another job.
"""

import ctypes
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ray
from omegaconf import DictConfig, OmegaConf

from deepicd.config import Experiment
from deepicd.errors import CapacityError, DeepICDError
from deepicd.training.job import Job, read_job

if TYPE_CHECKING:
    from deepicd.training.warm import Engines

_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1


class StoppedError(Exception):
    """The slot wants this process for another trial."""


class Pipe:
    """Writes messages to the slot, one JSON line each."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")

    def send(self, kind: str, **values: Any) -> None:
        """Send one message; the reader is gone only when this process is about to be."""
        self._file.write(json.dumps({"kind": kind, **values}) + "\n")


class Inbox:
    """What the slot asks for, read in the background."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._is_stopped = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            if message["kind"] == "start":
                self._is_stopped.clear()
                self._jobs.put(read_job(Path(message["job"])))
            else:
                self._is_stopped.set()
        self._jobs.put(None)

    def next_job(self) -> Job | None:
        """Wait for a trial; None when there will be no more."""
        return self._jobs.get()

    def raise_if_stopped(self) -> None:
        """Leave the trial that runs, if the slot said so."""
        if self._is_stopped.is_set():
            raise StoppedError


def main() -> None:
    """Entry of the process: `python -m deepicd.training.driver DESCRIPTOR PARENT`."""
    die_with(int(sys.argv[2]))
    pipe, inbox = Pipe(int(sys.argv[1])), Inbox()
    try:
        serve(pipe, inbox)
    except Exception as error:
        pipe.send("error", type=type(error).__name__, message=explain(error))
        raise
    finally:
        ray.shutdown()


def serve(pipe: Pipe, inbox: Inbox) -> None:
    """Run one trial after the other, until there are no more or one needs another engine."""
    engines: Engines | None = None
    while (job := inbox.next_job()) is not None:
        log_to(Path(job.log))
        if engines is None:
            join(job, pipe)
        config = compose(job)
        if engines is not None and not engines.fits(config, job.env):
            pipe.send("cold")
            return
        is_warm = engines is not None
        engines = prepare(config, job, engines)
        pipe.send("ready", is_warm=is_warm)
        pipe.send("done" if train(engines, job, pipe, inbox) else "stopped")


def log_to(path: Path) -> None:
    """Write this process's output to a trial's log from now on."""
    with path.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())


def die_with(parent: int) -> None:
    """Ask the kernel (Linux) to kill this process when its parent is gone; it may be already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which started this run, is gone")


def join(job: Job, pipe: Pipe) -> None:
    """Join the cluster as a new job, and wait for room."""
    pipe.send("stage", name="joining Ray")
    ray.init(
        address=job.address,
        namespace=f"verl-{uuid4().hex}",
        runtime_env={"env_vars": {**job.env, "TMPDIR": os.environ["TMPDIR"]}},
        logging_level="warning",
    )
    wait_for_room(job)
    pipe.send("stage", name="starting verl")


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


def prepare(config: DictConfig, job: Job, engines: "Engines | None") -> "Engines":
    """verl's workers and vLLM's engine for this trial: new ones, or those that are there."""
    from verl.utils.logging_utils import configure_verl_logging

    from deepicd.training import warm

    configure_verl_logging()
    if engines is not None:
        return warm.restart(engines, config)
    return warm.start(config, job.env, check_queue=own_transfer_queue)


def train(engines: "Engines", job: Job, pipe: Pipe, inbox: Inbox) -> bool:
    """Run the trial; returns whether it came to its end (False: it was stopped)."""

    def report(step: int, metrics: Mapping[str, float], saved: Path | None) -> None:
        send_step(pipe, step, metrics, saved)
        inbox.raise_if_stopped()

    engines.trainer.report = report
    engines.trainer.min_probs_pearson = job.min_probs_pearson
    try:
        engines.trainer.fit(engines.rollouts)
    except StoppedError:
        engines.trainer.leave()
        return False
    return True


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
