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

from deepicd.config import Experiment
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
