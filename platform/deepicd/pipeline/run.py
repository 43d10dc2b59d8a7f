"""One run in progress: its experiment, its folder, the seconds its stages took."""

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deepicd.config import Experiment, read_experiment
from deepicd.errors import MissingError, SweepError
from deepicd.files import exclusive_lock, lock_holder
from deepicd.paths import RunPaths
from deepicd.pipeline.eta import describe_left, seconds_left

_log = logging.getLogger(__name__)

_POLL_S = 0.2

STAGES = (
    "notes",
    "model",
    "sft",
    "baselines",
    "sweep",
    "evaluation",
    "promotion",
    "serving",
    "monitoring",
    "report",
)


@dataclass
class Run:
    """What every stage is given."""

    experiment: Experiment
    paths: RunPaths
    is_rest_estimated: bool = False
    """Whether each stage's line says how long the rest of the run will take."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage → how long it took."""

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Time a stage and log where the run is."""
        rest = f" ({self._describe_rest()})" if self.is_rest_estimated else ""
        _log.info(f"[{STAGES.index(name) + 1}/{len(STAGES)}] {name}: {what}{rest}")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)
        self.detail(f"{name} took {self.seconds[name]:.0f} s")

    def _describe_rest(self) -> str:
        sweep, training = self.experiment.sweep, self.experiment.training
        left_s = seconds_left(
            self.seconds, num_trials=sweep.total_trials, total_steps=training.total_steps
        )
        return describe_left(left_s)

    def detail(self, line: str) -> None:
        """One line about the stage that is going on."""
        _log.info("       %s", line)


def experiment_of_run(paths: RunPaths) -> Experiment:
    """The experiment that a run was started with.

    Raises:
        MissingError: no run lies there.
    """
    if not paths.experiment.is_file():
        raise MissingError(
            f"no run in {paths.root}; `deepicd sweep run FILE --name NAME` makes one"
        )
    return read_experiment(paths.experiment)


def experiment_or_defaults(file: Path) -> Experiment:
    """The resolved experiment beside a run's results, or the defaults where there is none."""
    return read_experiment(file) if file.is_file() else Experiment()


def run_of_registry(registry: str) -> RunPaths:
    """The run that a registry lies in; the working directory for one in an object store."""
    from deepicd.promotion.remote_registry import is_url

    return RunPaths(Path() if is_url(registry) else Path(registry).resolve().parent)


def prepare_root(root: Path) -> Path:
    """An empty folder for the run; what an earlier run left there is kept beside it."""
    root = root.resolve()
    if root.exists():
        previous = root.with_name(f"{root.name}.previous")
        shutil.rmtree(previous, ignore_errors=True)
        root.rename(previous)
        _log.info(f"started anew; the earlier run is kept in {previous}")
    root.mkdir(parents=True)
    return root


@contextmanager
def on_sigterm() -> Iterator[None]:
    """SIGTERM becomes `SystemExit(143)`, so that every `finally` on the way out is run."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    # Python lets no other thread set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file of a run for the duration of a block.

    Raises:
        SweepError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(path, is_waited_for=False))
        except BlockingIOError:
            raise SweepError(
                f"the run in {path.parent} is going on (process {lock_holder(path)}); wait for it, "
                "stop it (deepicd sweep stop NAME), or choose another --name"
            ) from None
        yield


def stop_holder(path: Path, *, timeout_s: float) -> int:
    """End the process that holds the lock file, and wait until it is gone. Returns its id.

    Raises:
        MissingError: nobody holds it.
        SweepError: it has not written its id yet, or is still there after `timeout_s`.
    """
    process = lock_holder(path)
    if process is None:
        raise MissingError(f"nothing is going on in {path.parent}; `deepicd sweep status` shows it")
    if process == 0:  # os.kill(0) would end this process and its whole group
        raise SweepError(f"the run in {path.parent} is just starting; try again in a second")
    os.kill(process, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while lock_holder(path) is not None:
        if time.monotonic() > deadline:
            raise SweepError(
                f"process {process} is still there after {timeout_s:.0f} s; kill -9 {process} ends "
                "it, and what it started ends with it"
            )
        time.sleep(_POLL_S)
    return process
