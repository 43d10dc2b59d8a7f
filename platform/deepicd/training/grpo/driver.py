"""The process that drives verl, a Ray job of its own; trials run in it one after the other.

In: messages on standard input (`process.protocol`): `Start` with a job, `Stop`. Out: messages on an
inherited pipe, one a step, and one that says how a trial ended.

Why a process: Ray frees a placement group only when its creator actor and its creator job are both
dead. verl's groups, made inside a Tune or Train actor, would outlive the sweep's trials for as long
as the sweep lives. As a job of its own, verl takes everything with it when its process ends,
however it ends; the kernel ends the process when the runner that started it dies (parent-death
signal).

Several of these processes may work in one cluster: each has a TransferQueue of its own
(`verl_plugin.patches.transfer_queue`) and waits until its whole placement fits
(`process.placement`). One that has no trial ends when somebody waits for GPUs.
"""

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import ray
from omegaconf import DictConfig, OmegaConf

from deepicd.clusters.state import describe_lost
from deepicd.errors import ConfigError, DataError, DeepICDError, TrainingError
from deepicd.provenance import add_to_record, sha256
from deepicd.training.process.events import record_event
from deepicd.training.process.protocol import (
    Done,
    Failed,
    Job,
    Message,
    OtherEngine,
    Ready,
    Stage,
    Start,
    Step,
    Stopped,
    decode,
    encode,
)
from deepicd.training.verl_plugin.patches.transfer_queue import QUEUE_VARIABLE

if TYPE_CHECKING:
    from deepicd.training.grpo.engine_reuse import Engines

_log = logging.getLogger(__name__)
# How often an idle process looks whether somebody waits for its GPUs.
_IDLE_S = 5.0
_LOST_S = 30.0
_POLL_S = 0.5
_PR_SET_PDEATHSIG = 1


class _StoppedError(Exception):
    """The runner wants this process for another trial."""


class _Pipe:
    """Writes messages to the runner."""

    def __init__(self, descriptor: int) -> None:
        # Line by line: the runner must hear of a step while the next one goes on.
        self._file = os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")

    def send(self, message: Message) -> None:
        """Send one message; the reader is gone only when this process is about to be."""
        self._file.write(encode(message))


class _Inbox:
    """What the runner asks for, read in the background."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        self._is_stopped = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for line in sys.stdin:
                message = decode(line)
                if isinstance(message, Start):
                    self._is_stopped.clear()
                    self._jobs.put(message.job)
                else:
                    self._is_stopped.set()
        except TrainingError as error:
            _log.error("%s", error)
        finally:  # a runner that is gone, or cannot be understood, has no further job
            self._jobs.put(None)

    def next_job(self) -> Job | None:
        """Wait for a trial; None when there will be no more, or when somebody else waits for the
        GPUs of this process.
        """
        while True:
            try:
                return self._jobs.get(timeout=_IDLE_S)
            except queue.Empty:
                # Not before it has joined: the question imports verl, whose plug-in must find the
                # queue's name in the environment.
                if ray.is_initialized() and _is_capacity_wanted():
                    return None

    def raise_if_stopped(self) -> None:
        """Leave the trial that runs, if the runner said so."""
        if self._is_stopped.is_set():
            raise _StoppedError


def main() -> None:
    """Entry of the process: `python -m deepicd.training.grpo.driver DESCRIPTOR PARENT`."""
    set_parent_death_signal(int(sys.argv[2]))
    pipe, inbox = _Pipe(int(sys.argv[1])), _Inbox()
    try:
        serve(pipe, inbox)
    except Exception as error:
        # Asked here, while Ray is still there to answer.
        lost = _lost_nodes(error)
        pipe.send(Failed(type(error).__name__, explain(error), tuple(lost)))
        raise
    finally:
        ray.shutdown()


def serve(pipe: _Pipe, inbox: _Inbox) -> None:
    """Run one trial after the other, until there are no more or one needs another engine."""
    engines: Engines | None = None
    while (job := inbox.next_job()) is not None:
        # Before anything that speaks: what is printed from here on belongs to this trial.
        _log_to(job.log)
        if engines is None:
            join(job, pipe)
        # After `join`, since it imports verl, whose plug-in reads the name of the queue.
        config = compose(job)
        if engines is not None and not engines.fits(config, job.env):
            pipe.send(OtherEngine())
            return
        reuses_engine = engines is not None
        engines = prepare(config, job, pipe, engines)
        pipe.send(Ready(reuses_engine, ray.get_runtime_context().get_job_id()))
        pipe.send(Done() if train(engines, job, pipe, inbox) else Stopped())
        if _is_capacity_wanted(by_others_than=job.sweep):
            return


def _is_capacity_wanted(*, by_others_than: str = "") -> bool:
    """Whether a trial of another sweep, or with "" of any, waits for GPUs of the cluster."""
    from deepicd.training.process.placement import waiting_sweep

    return waiting_sweep() not in (None, by_others_than)


def _log_to(path: Path) -> None:
    """Write this process's output to a trial's log from now on."""
    with path.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            # The descriptor, not `sys.stdout`: libraries in C and child processes write there too.
            os.dup2(file.fileno(), stream.fileno())


def set_parent_death_signal(parent: int) -> None:
    """Ask the kernel (Linux) to kill this process when its parent is gone; it may be already."""
    # The signal comes when the parent *thread* ends that made this process; a runner's actor calls
    # all of its methods in one thread, which lives as long as the actor.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(f"process {parent}, which started this run, is gone")


def join(job: Job, pipe: _Pipe) -> None:
    """Join the cluster as a new job, whose processes share a TransferQueue of their own."""
    pipe.send(Stage("joining Ray"))
    namespace = f"verl-{uuid4().hex}"
    # For this process, whose plug-in is loaded when verl is imported, and below for its workers.
    os.environ[QUEUE_VARIABLE] = namespace
    # Ray gives workers the environment of the cluster, not of this process. Their temporary files
    # belong in the runner's folder, which is removed.
    own = {"TMPDIR": os.environ["TMPDIR"], QUEUE_VARIABLE: namespace}
    ray.init(
        address=job.address,
        namespace=namespace,
        runtime_env={"env_vars": {**job.env, **own}},
        logging_level="warning",
    )
    _nodes.update(node["NodeID"] for node in ray.nodes() if node["Alive"])
    pipe.send(Stage("starting verl", ray.get_runtime_context().get_job_id()))


_nodes: set[str] = set()
"""Nodes of the cluster when this process joined it."""


def _lost_nodes(error: BaseException) -> list[str]:
    """What became of nodes that went away while verl ran, when that can be why it failed.

    verl's error need not name a death (rollouts that fail are left out of a batch until it is
    empty), and Ray may learn of a node's death some seconds after verl does.
    """
    if isinstance(error, ConfigError | DataError) or not ray.is_initialized():
        return []
    deadline = time.monotonic() + _LOST_S
    while not (lost := describe_lost(_nodes)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return lost


def compose(job: Job) -> DictConfig:
    """verl's configuration of this run, kept beside the trial's log and named in its record."""
    from deepicd.training.grpo.config import compose_grpo, describe_kernels

    config = compose_grpo(job.experiment, **vars(job.inputs), out=job.out, resume=job.resume)
    text = OmegaConf.to_yaml(config)
    job.verl_config.write_text(text, encoding="utf-8")
    verl = {"path": str(job.verl_config), "sha256": sha256(text.encode())}
    add_to_record(job.out, verl=verl, kernels=describe_kernels(job.experiment))
    return config


def prepare(config: DictConfig, job: Job, pipe: _Pipe, engines: "Engines | None") -> "Engines":
    """verl's workers and vLLM's engine for this trial: new ones, or those that are there."""
    from verl.utils.logging_utils import configure_verl_logging

    from deepicd.training.grpo import engine_reuse
    from deepicd.training.process.placement import WholePlacement

    # As verl's own entry does, which is not used here.
    configure_verl_logging()
    if engines is not None:
        return engine_reuse.restart(engines, config)

    make_pools = partial(
        WholePlacement,
        sweep=job.sweep,
        timeout_s=job.experiment.sweep.placement_timeout_s,
        on_stage=lambda stage: pipe.send(Stage(stage)),
    )
    return engine_reuse.start(config, job.env, make_pools=make_pools)


def train(engines: "Engines", job: Job, pipe: _Pipe, inbox: _Inbox) -> bool:
    """Run the trial; returns whether it came to its end (False: it was stopped)."""
    training = job.experiment.training

    def report(step: int, metrics: Mapping[str, float], checkpoint: Path | None) -> None:
        # Resolved here: the path leaves this process, whose working folder nobody else knows.
        pipe.send(Step(step, dict(metrics), checkpoint.resolve() if checkpoint else None))
        inbox.raise_if_stopped()

    def on_event(line: str) -> None:
        record_event(job.out, line)
        pipe.send(Stage(line))

    engines.trainer.report = report
    engines.trainer.on_stage = lambda stage: pipe.send(Stage(stage))
    engines.trainer.on_event = on_event
    engines.trainer.disk_wait_s = training.disk_wait_s
    engines.trainer.min_probs_pearson = job.experiment.min_probs_pearson
    try:
        engines.trainer.fit(engines.rollouts)
    except _StoppedError:
        return False
    finally:
        engines.trainer.leave()
    return True


def explain(error: BaseException) -> str:
    """Short cause for the trial table: our own words, or the last line of a remote traceback."""
    if isinstance(error, DeepICDError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__


if __name__ == "__main__":
    main()
