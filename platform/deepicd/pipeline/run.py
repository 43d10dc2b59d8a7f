"""One run in progress: its experiment, its folder, and its stages, each done once.

Decided here: a stage that is whole is not done again; one that another run made of the same inputs
is taken over; both are said. A stage is sealed last, so whatever ends a process, the next one goes
on from the stages that are whole.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from deepicd.config import Experiment
from deepicd.errors import DataError
from deepicd.paths import RunPaths
from deepicd.pipeline import cache
from deepicd.pipeline.eta import describe_left, seconds_left
from deepicd.pipeline.folder.attempts import add_attempt, counted
from deepicd.pipeline.folder.parts import SealedScores, check_parts
from deepicd.pipeline.seal import Seal, hash_outputs, is_whole, read_seal, write_seal
from deepicd.pipeline.stage import (
    PATIENCE,
    STAGES,
    Stage,
    describe_file,
    differences,
    identify,
    read_code,
    settings_of,
)
from deepicd.pipeline.values import read_value, write_value
from deepicd.sweeps.results.spent import gpus_of

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


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
    _described: dict[Path, str | None] = field(default_factory=dict)

    def do(self, name: str, what: str, work: Callable[[], _T]) -> _T | None:
        """Do a stage, unless it is whole already or can be taken over: then None, else what `work`
        returns, so that nobody reads what this process has just written.

        Args:
            name: one of `STAGES`.
            what: what it does, for the log.
            work: does it: writes the stage's outputs.

        Raises:
            DataError: an output was changed by hand, or what it began with.
        """
        stage = STAGES[name]
        self._announce(name, what)
        identity = identify(stage, self.experiment, self.seals, describe=self._describe)
        wanted = Seal(name, identity, outputs={}, seconds=0)
        seal, value = self._whole(wanted) or self._take_over(stage, wanted), None
        if seal is None:
            seal, value = self._work(stage, wanted, work)
        self.seals[name], self.seconds[name] = seal, seal.seconds
        return value

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
        check_parts(self.paths, wanted.stage)
        self.detail("whole already")
        self._tell_gone(wanted)
        return seal

    def _tell_gone(self, wanted: Seal) -> None:
        for address, contents in wanted.identity["files"].items():
            if contents is None:
                self.detail(f"{address} is gone; what was made of it is here, and is used")

    def _describe(self, path: Path) -> str | None:
        """Each file once: a folder of MIMIC-IV is large, and several stages open a model."""
        if path not in self._described:
            self._described[path] = describe_file(path)
        return self._described[path]

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
        self._unseal(stage)
        self._remove_outputs(stage)
        seal = cache.take_over(self.paths.cache, self.paths.root, wanted)
        if seal is not None:
            write_seal(self.paths.seal(stage.name), seal)
            self.detail(f"taken over from {seal.taken_from}, made of the same inputs")
        return seal

    def _work(self, stage: Stage, wanted: Seal, work: Callable[[], _T]) -> tuple[Seal, _T]:
        if stage.has_parts:
            self._begin(stage, wanted)  # which may refuse, and then the seal stays
        # Before the outputs: no seal may stand beside what is half removed.
        self._unseal(stage)
        if not stage.has_parts:
            self._remove_outputs(stage)
        started = time.monotonic()
        try:
            num_gpus = gpus_of(stage.name, self.experiment)
            with counted(self.paths.interrupted(stage.name), num_gpus):
                value = work()
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
        return seal, value

    def _unseal(self, stage: Stage) -> None:
        """Say no longer that a stage is whole; what it took when it was has been spent."""
        file = self.paths.seal(stage.name)
        former = read_seal(file)
        if former is not None and not former.taken_from:
            num_gpus = gpus_of(stage.name, self.experiment)
            attempts = self.paths.interrupted(stage.name)
            add_attempt(attempts, seconds=former.seconds, num_gpus=num_gpus)
        file.unlink(missing_ok=True)

    def _begin(self, stage: Stage, wanted: Seal) -> None:
        """Note what a stage with parts begins with. From other inputs it begins again, unless it
        holds what nobody throws away.
        """
        file = self.paths.begun(stage.name)
        if file.is_file():
            old = read_value(file, dict[str, Any])
            self._compare(old, wanted, file)
            others = ", ".join(_others(old["inputs"], wanted.identity["inputs"]))
            if not others:
                return
            if stage.is_kept:
                raise DataError(
                    f"stage {stage.name!r} of {self.paths.root} began with another {others}, and "
                    "cannot go on from this one; start another run"
                )
            # Its parts say themselves what they were made from.
            self.detail(f"it was begun with another {others}; it begins again")
        write_value(file, wanted.identity, dict[str, Any])

    def do_part(
        self, stage: str, name: str, *, made_from: Mapping[str, Any], work: Callable[[], _T]
    ) -> _T | None:
        """Do a part of a stage, unless it is whole already and was made from the same: then None,
        else what `work` returns.

        Args:
            stage: one of `STAGES`, with parts.
            name: of the part.
            made_from: what it follows from beside the stage's settings and the notes.
            work: writes `evaluation/NAME.json`, and may fill the folder `evaluation/NAME`.

        Raises:
            DataError: it was changed by hand.
        """
        settings = settings_of(STAGES[stage], self.experiment)
        acting = {key: value for key, value in settings.items() if key not in PATIENCE}
        part = SealedScores(self.paths, stage, name, {**made_from, "settings": acting})
        return None if part.is_whole() else part.make(work)

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
