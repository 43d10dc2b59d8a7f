"""A run of which every stage is done by `Run.do`, its work being to write its outputs."""

from collections.abc import Callable
from pathlib import Path

from deepicd.config import parse_experiment
from deepicd.paths import RunPaths
from deepicd.pipeline.run import Run
from deepicd.pipeline.stage import STAGES

SEARCH = {"training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3}}
TABLE = {"sweep": {"search": SEARCH}}
ALL = tuple(STAGES)


def _interrupt() -> None:
    raise KeyboardInterrupt


class Walker:
    """Does every stage of a run by writing its outputs, and counts what was done."""

    def __init__(
        self,
        root: Path,
        table: dict | None = None,
        *,
        dies_in: str = "",
        dying: Callable[[], None] = _interrupt,
    ) -> None:
        self.run = Run(parse_experiment(table or TABLE, "here"), RunPaths(root))
        self.done: list[str] = []
        self._dies_in, self._dying = dies_in, dying

    def walk(self) -> list[str]:
        for name in STAGES:
            self.run.do(name, "something", self._work(name))
        return self.done

    def _work(self, name: str) -> Callable[[], None]:
        def work() -> None:
            self.done.append(name)
            first, *others = STAGES[name].outputs
            self._write(first, name)
            if name == self._dies_in:
                self._dying()
            for output in others:
                self._write(output, name)

        return work

    def _write(self, output: str, name: str) -> None:
        path = self.run.paths.root / output
        file = path if path.suffix else path / "file"
        file.parent.mkdir(parents=True, exist_ok=True)
        seed = self.run.experiment.seed if name != "notes" else 0
        file.write_text(f"{name} {seed}")
