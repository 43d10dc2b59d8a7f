"""The process that drives verl, a Ray job of its own; trials run in it one after the other.

In: lines of JSON on standard input: `start` with a job file written by `training.process.runner`,
`stop`. Out: JSON lines on an inherited pipe, one a step, and one that says how a trial ended.

Why a process: Ray frees a placement group only when its creator actor and its creator job are both
dead. verl's groups, made inside a Tune or Train actor, would outlive the sweep's trials for as long
as the sweep lives. As a job of its own, verl takes everything with it when its process ends,
however it ends; the kernel ends the process when the slot that started it dies (parent-death
signal).

Several of these processes may work in one cluster: each has a TransferQueue of its own
(`training.queue_patch`) and waits until its whole placement fits (`training.placement`). One that
has no trial makes room when somebody waits.
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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import ray
from omegaconf import DictConfig, OmegaConf

from deepicd.clusters.state import describe_lost
from deepicd.config import Experiment
from deepicd.errors import ConfigError, DataError, DeepICDError
from deepicd.provenance import add_to_record, sha256
from deepicd.training.process.events import give_notice
from deepicd.training.process.protocol import Job, read_job
from deepicd.training.verl_plugin.patches.transfer_queue import QUEUE_VARIABLE

if TYPE_CHECKING:
    from deepicd.training.grpo.engine_reuse import Engines

_IDLE_S = 5.0
_LOST_S = 30.0
_POLL_S = 0.5
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
        """Wait for a trial; None when there will be no more, or when somebody else wants this
        process's room meanwhile.
        """
        while True:
            try:
                return self._jobs.get(timeout=_IDLE_S)
            except queue.Empty:
                if ray.is_initialized() and is_room_wanted():
                    return None

    def raise_if_stopped(self) -> None:
        """Leave the trial that runs, if the slot said so."""
        if self._is_stopped.is_set():
            raise StoppedError


def main() -> None:
    """Entry of the process: `python -m deepicd.training.grpo.driver DESCRIPTOR PARENT`."""
    die_with(int(sys.argv[2]))
    pipe, inbox = Pipe(int(sys.argv[1])), Inbox()
    try:
        serve(pipe, inbox)
    except Exception as error:
        lost = lost_nodes(error)
        pipe.send("error", type=type(error).__name__, message=explain(error), lost=lost)
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
        engines = prepare(config, job, pipe, engines)
        pipe.send("ready", is_warm=is_warm, job=ray.get_runtime_context().get_job_id())
        pipe.send("done" if train(engines, job, pipe, inbox) else "stopped")
        if is_room_wanted(by_others_than=job.sweep):
            return


def is_room_wanted(*, by_others_than: str = "") -> bool:
    """Whether a trial of another sweep, or with "" of any, waits for room in the cluster."""
    from deepicd.training.process.placement import waiting_sweep

    return waiting_sweep() not in (None, by_others_than)


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
    """Join the cluster as a new job, whose processes share a TransferQueue of their own."""
    pipe.send("stage", name="joining Ray")
    namespace = f"verl-{uuid4().hex}"
    os.environ[QUEUE_VARIABLE] = namespace
    own = {"TMPDIR": os.environ["TMPDIR"], QUEUE_VARIABLE: namespace}
    ray.init(
        address=job.address,
        namespace=namespace,
        runtime_env={"env_vars": {**job.env, **own}},
        logging_level="warning",
    )
    _nodes.update(node["NodeID"] for node in ray.nodes() if node["Alive"])
    pipe.send("stage", name="starting verl", job=ray.get_runtime_context().get_job_id())


_nodes: set[str] = set()
"""Nodes of the cluster when this process joined it."""


def lost_nodes(error: BaseException) -> list[str]:
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
    from deepicd.training.grpo.config import compose_grpo

    given = {name: Path(path) for name, path in job.given.items()}
    config = compose_grpo(
        Experiment.model_validate(job.experiment),
        **given,
        out=Path(job.out),
        resume=Path(job.resume) if job.resume else None,
    )
    text = OmegaConf.to_yaml(config)
    Path(job.record).write_text(text, encoding="utf-8")
    verl = {"path": job.record, "sha256": sha256(text.encode())}
    add_to_record(Path(job.out), verl=verl)
    return config


def prepare(config: DictConfig, job: Job, pipe: Pipe, engines: "Engines | None") -> "Engines":
    """verl's workers and vLLM's engine for this trial: new ones, or those that are there."""
    from verl.utils.logging_utils import configure_verl_logging

    from deepicd.training.grpo import engine_reuse
    from deepicd.training.process.placement import WholePlacement

    configure_verl_logging()
    if engines is not None:
        return engine_reuse.restart(engines, config)

    def say(stage: str) -> None:
        pipe.send("stage", name=stage)

    place = partial(WholePlacement, sweep=job.sweep, timeout_s=job.room_timeout_s, say=say)
    return engine_reuse.start(config, job.env, place=place)


def train(engines: "Engines", job: Job, pipe: Pipe, inbox: Inbox) -> bool:
    """Run the trial; returns whether it came to its end (False: it was stopped)."""

    def report(step: int, metrics: Mapping[str, float], saved: Path | None) -> None:
        send_step(pipe, step, metrics, saved)
        inbox.raise_if_stopped()

    def notify(line: str) -> None:
        give_notice(Path(job.out), line)
        pipe.send("stage", name=line)

    engines.trainer.report = report
    engines.trainer.say = lambda stage: pipe.send("stage", name=stage)
    engines.trainer.notify = notify
    engines.trainer.disk_wait_s = job.experiment["training"]["disk_wait_s"]
    engines.trainer.min_probs_pearson = job.min_probs_pearson
    try:
        engines.trainer.fit(engines.rollouts)
    except StoppedError:
        return False
    finally:
        engines.trainer.leave()
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
