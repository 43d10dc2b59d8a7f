"""One run in progress: its experiment, its folder, and its stages, each done once.

Decided here: a stage that is whole is not done again; one that another run made of the same inputs
is taken over; both are said. A stage is sealed last, so whatever ends a process, the next one goes
on from the stages that are whole.
"""

import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepicd.config import Experiment, read_experiment
from deepicd.errors import ConfigError, DataError, MissingError, SweepError
from deepicd.files import exclusive_lock, lock_holder, lock_host
from deepicd.paths import RunPaths
from deepicd.pipeline import cache
from deepicd.pipeline.eta import describe_left, seconds_left
from deepicd.pipeline.seal import Seal, hash_outputs, is_whole, read_seal, write_seal
from deepicd.pipeline.stage import STAGES, Stage, differences, identify, read_code
from deepicd.pipeline.values import read_value, write_value

_log = logging.getLogger(__name__)

_POLL_S = 0.2
_START = "`deepicd run FILE --name NAME` makes one"


@dataclass
class Run:
    """What every stage is given."""

    experiment: Experiment
    paths: RunPaths
    stages: tuple[str, ...] = tuple(STAGES)
    """Names of those that this run is to do, in their order."""
    is_rest_estimated: bool = False
    """Whether each stage's line says how long the rest of the run will take."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage → how long it took, where and whenever it was done."""
    seals: dict[str, Seal] = field(default_factory=dict)
    """Those of the stages so far."""
    _measured: dict[str, float] = field(default_factory=dict)
    """Seconds of the stages that were done by this process."""

    def do(self, name: str, what: str, work: Callable[[], None]) -> None:
        """Do a stage, unless it is whole already or can be taken over.

        Args:
            name: one of `STAGES`.
            what: what it does, for the log.
            work: does it: writes the stage's outputs.

        Raises:
            DataError: an output was changed by hand, or what it began with.
        """
        stage = STAGES[name]
        self._announce(name, what)
        wanted = Seal(name, identify(stage, self.experiment, self.seals), outputs={}, seconds=0)
        seal = self._whole(wanted) or self._take_over(stage, wanted)
        if seal is None:
            seal = self._work(stage, wanted, work)
        self.seals[name], self.seconds[name] = seal, seal.seconds

    def _whole(self, wanted: Seal) -> Seal | None:
        """The stage as this run did it before; None where it has to be done."""
        file = self.paths.seal(wanted.stage)
        seal = read_seal(file)
        if seal is None:
            return None
        self._compare(seal.identity, wanted, file)
        if seal.identity["inputs"] != wanted.identity["inputs"]:
            self.detail("what it was made from is another now; it is done again")
            return None
        if not is_whole(self.paths.root, seal, seal_file=file):
            self.detail("a file of it is gone; it is done again")
            return None
        self.detail("whole already")
        return seal

    def _compare(self, old: Mapping[str, Any], wanted: Seal, file: Path) -> None:
        """Raise DataError where settings or named files are others than those of `old`."""
        changed = differences(old, wanted.identity)
        # Other inputs are no fault of the user's: an earlier stage has run again.
        if any(not name.startswith(("inputs.", "code")) for name in changed):
            raise DataError(
                f"stage {wanted.stage!r} of {self.paths.root} was made with other "
                f"{', '.join(changed[:5])}; put them back, or start another run. Its record is "
                f"{file}"
            )
        if "code" in changed:
            self.detail("it was begun with other code than this process runs")

    def _take_over(self, stage: Stage, wanted: Seal) -> Seal | None:
        if not stage.is_shared:
            return None
        self.paths.seal(stage.name).unlink(missing_ok=True)
        self._remove_outputs(stage)
        seal = cache.take_over(self.paths.cache, self.paths.root, wanted)
        if seal is not None:
            write_seal(self.paths.seal(stage.name), seal)
            self.detail(f"taken over from {seal.taken_from}, made of the same inputs")
        return seal

    def _work(self, stage: Stage, wanted: Seal, work: Callable[[], None]) -> Seal:
        if stage.has_parts:
            self._begin(stage, wanted)  # which may refuse, and then the seal stays
        # Before the outputs: no seal may stand beside what is half removed.
        self.paths.seal(stage.name).unlink(missing_ok=True)
        if not stage.has_parts:
            self._remove_outputs(stage)
        started = time.monotonic()
        try:
            work()
        # Ctrl-C and SIGTERM too: they are no `Exception`.
        except BaseException:
            self.detail(f"{stage.name} did not end; deepicd resume {self.paths.root.name} goes on")
            raise
        seconds = round(time.monotonic() - started, 1)
        outputs = hash_outputs(self.paths.root, stage.outputs)
        seal = replace(wanted, outputs=outputs, seconds=seconds)
        write_seal(self.paths.seal(stage.name), seal)
        if stage.is_shared and read_code() == wanted.identity["code"]:
            # Else a worker may have loaded code that came meanwhile, and the identity names the
            # code before.
            cache.publish(self.paths.cache, self.paths.root, seal)
        self._measured[stage.name] = seconds
        self.detail(f"{stage.name} took {seconds:.0f} s")
        return seal

    def _begin(self, stage: Stage, wanted: Seal) -> None:
        """Note what a stage with parts begins with; refuse to go on from other inputs."""
        file = self.paths.begun(stage.name)
        if not file.is_file():
            write_value(file, wanted.identity, dict[str, Any])
            return
        old = read_value(file, dict[str, Any])
        self._compare(old, wanted, file)
        if old["inputs"] != wanted.identity["inputs"]:
            raise DataError(
                f"stage {stage.name!r} of {self.paths.root} began with another "
                f"{', '.join(_others(old['inputs'], wanted.identity['inputs']))}, and cannot go on "
                "from this one; start another run"
            )

    def _remove_outputs(self, stage: Stage) -> None:
        # Files may be linked to the cache's: they are removed, never written into.
        for output in stage.outputs:
            path = self.paths.root / output
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _announce(self, name: str, what: str) -> None:
        rest = f" ({self._describe_rest()})" if self.is_rest_estimated else ""
        _log.info(f"[{self.stages.index(name) + 1}/{len(self.stages)}] {name}: {what}{rest}")

    def _describe_rest(self) -> str:
        sweep, training = self.experiment.sweep, self.experiment.training
        left_s = seconds_left(
            self._measured,
            left=[name for name in self.stages if name not in self.seconds],
            num_trials=sweep.total_trials,
            total_steps=training.total_steps,
        )
        return describe_left(left_s)

    def detail(self, line: str) -> None:
        """One line about the stage that is going on."""
        _log.info("       %s", line)


def _others(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [name for name in new if old.get(name) != new[name]]


@dataclass(frozen=True)
class Command:
    """How far a run goes; kept beside it, so that `resume` goes as far."""

    is_promoted: bool = True
    """The winner is evaluated, judged and registered."""
    is_deployed: bool = True
    """The champion is served and asked at the end."""

    def fit_to(self, experiment: Experiment) -> "Command":
        """Without deployment where an experiment asks the endpoint nothing."""
        is_asked = bool(experiment.serving.num_check_notes)
        return replace(self, is_deployed=self.is_deployed and is_asked)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in their order."""
        left_out = set() if self.is_deployed else {"deployment"}
        if not self.is_promoted:
            left_out = {"baselines", "evaluation", "promotion", "deployment", "report"}
        return tuple(name for name in STAGES if name not in left_out)


def write_command(paths: RunPaths, command: Command) -> None:
    """Keep a command beside the run."""
    write_value(paths.command, command, Command)


def read_command(paths: RunPaths) -> Command:
    """The command of a run.

    Raises:
        MissingError: no run lies there that can be resumed.
    """
    if not paths.command.is_file():
        raise MissingError(f"no run in {paths.root} that can go on; {_START}")
    command: Command = read_value(paths.command, Command)
    return command


def experiment_of_run(paths: RunPaths) -> Experiment:
    """The experiment that a run was started with.

    Raises:
        MissingError: no run lies there.
    """
    if not paths.experiment.is_file():
        raise MissingError(f"no run in {paths.root}; {_START}")
    return read_experiment(paths.experiment)


def experiment_or_defaults(file: Path) -> Experiment:
    """The resolved experiment beside a run's results, or the defaults where there is none."""
    return read_experiment(file) if file.is_file() else Experiment()


def run_of_registry(registry: str) -> RunPaths:
    """The run that a registry lies in; the working directory for one in an object store."""
    from deepicd.promotion.remote_registry import is_url

    return RunPaths(Path() if is_url(registry) else Path(registry).resolve().parent)


def registry_address(experiment: Experiment, paths: RunPaths) -> str:
    """Folder or URL of the registry that a run promotes into."""
    named = experiment.promotion.registry
    return named.replace("{run}", str(paths.root)) if named else str(paths.registry)


def prepare_root(root: Path, *, may_delete: bool = False) -> Path:
    """A folder for the run; what an earlier run did there is kept beside it.

    Raises:
        ConfigError: a still earlier one is kept there, and may not be deleted.
    """
    root = root.resolve()
    if root.exists() and _holds_work(root):
        previous = root.with_name(f"{root.name}.previous")
        if previous.exists() and not may_delete:
            raise ConfigError(
                f"{root} holds a run, and {previous} the one before, which would be deleted; "
                "give --yes, remove it yourself, or choose another --name. `deepicd resume "
                f"{root.name}` goes on with a run that has not ended"
            )
        if previous.exists():
            shutil.rmtree(previous)
        root.rename(previous)
        _log.info(f"started anew; the earlier run is kept in {previous}")
    root.mkdir(parents=True, exist_ok=True)
    return root


def _holds_work(root: Path) -> bool:
    """Whether a run got further than its start: one that did not must not take the place of
    `NAME.previous`.
    """
    paths = RunPaths(root)
    of_start = {paths.experiment, paths.command, paths.console, paths.token}
    return any(path not in of_start for path in root.iterdir())


@contextmanager
def on_sigterm() -> Iterator[None]:
    """SIGTERM becomes `SystemExit(143)`, so that every `finally` on the way out is run."""

    def leave(*_: object) -> None:
        # As shells tell it: 128 and the signal's number.
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
        ConfigError: nothing can be written there.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(exclusive_lock(path, is_waited_for=False))
        except BlockingIOError:
            raise SweepError(
                f"the run in {path.parent} is going on (process {lock_holder(path)}); wait for it, "
                "stop it (deepicd sweep stop NAME), or choose another --name"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"{path.parent} cannot hold a run ({error}); choose another --runs, or make the "
                "folder yours to write in"
            ) from error
        yield


def stop_holder(path: Path, *, timeout_s: float) -> int:
    """End the process that holds the lock file, and wait until it is gone. Returns its id.

    Raises:
        MissingError: nobody holds it.
        SweepError: it has not written its id yet, is of another machine, or is still there after
            `timeout_s`.
    """
    process = lock_holder(path)
    if process is None:
        raise MissingError(f"nothing is going on in {path.parent}; `deepicd sweep status` shows it")
    if process == 0:  # os.kill(0) would end this process and its whole group
        raise SweepError(f"the run in {path.parent} is just starting; try again in a second")
    if (host := lock_host(path)) != socket.gethostname():
        raise SweepError(
            f"the run in {path.parent} goes on at {host} (process {process}); stop it there"
        )
    with suppress(ProcessLookupError):  # it has just ended
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
