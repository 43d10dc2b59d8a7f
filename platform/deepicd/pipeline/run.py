"""One run in progress: its experiment, its folder, the seconds its stages took."""

import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from deepicd.config import Experiment, differing, read_experiment
from deepicd.errors import ConfigError
from deepicd.paths import RunPaths

if TYPE_CHECKING:
    from rich.table import Table

Say = Callable[[str], None]
Draw = Callable[["Table"], None]
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
    say: Say
    draw: Draw | None = None
    """Draws a table of the sweep's trials in place; None where lines say it."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage → how long it took."""

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        """Time a stage and say where the run is."""
        self.say(f"[{STAGES.index(name) + 1}/{len(STAGES)}] {name}: {what}")
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 1)
        self.detail(f"{name} took {self.seconds[name]:.0f} s")

    def detail(self, line: str) -> None:
        """One line about the stage that is going on."""
        self.say(f"       {line}")


def prepare_root(root: Path, say: Say) -> Path:
    """An empty folder for the run; what an earlier run left there is kept beside it."""
    root = root.resolve()
    if root.exists():
        kept = root.with_name(f"{root.name}.previous")
        shutil.rmtree(kept, ignore_errors=True)
        root.rename(kept)
        say(f"started anew; the earlier run is kept in {kept}")
    root.mkdir(parents=True)
    return root


def check_folder(root: Path, experiment: Experiment) -> None:
    """Raise ConfigError for a folder that holds another experiment's run, or no run at all.

    A run of the same experiment is put aside when it is started anew.
    """
    paths = RunPaths(root.resolve())
    if paths.experiment.is_file():
        check_same(paths.experiment, experiment, "choose another --name, or remove the folder")
        return
    strange = sorted({path.name for path in root.glob("*")} - {paths.console.name})
    if strange:
        raise ConfigError(
            f"{root} holds {', '.join(strange[:3])} and no run; choose another --name or --runs"
        )


def check_same(file: Path, experiment: Experiment, way_out: str) -> None:
    """Raise ConfigError, with the differences, when a resolved experiment on disk is another."""
    try:
        there = read_experiment(file)
    except ValidationError as error:
        raise ConfigError(
            f"{file} is no experiment of this version ({error.error_count()} faults); {way_out}"
        ) from None
    found = differing(there, experiment)
    if not found:
        return
    shown = [f"{name} is {old!r} there and {new!r} here" for name, (old, new) in found.items()]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    raise ConfigError(
        f"{file.parent} holds another experiment: {'; '.join(shown[:3])}{more}; {way_out}"
    )


@contextmanager
def heeding_sigterm() -> Iterator[None]:
    """SIGTERM becomes `SystemExit(143)`, so that every `finally` on the way out is heard."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
