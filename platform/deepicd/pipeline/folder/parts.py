"""Parts of a stage that goes on from what an interrupted one left: each with a seal of its own.

In: what a part was made from, and who makes it. Out: its files, and `RUN/stages/STAGE/PART.json`
last. Decided here: a part without a seal was cut off, and is made again; one that was changed since
it was sealed is refused, as an output of a whole stage is.
"""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from deepicd.paths import RunPaths
from deepicd.pipeline.seal import Seal, hash_outputs, is_whole, read_seal, write_seal

_T = TypeVar("_T")


@dataclass(frozen=True)
class SealedScores:
    """One part, the scores of a model: `evaluation/NAME.json` and the folder `evaluation/NAME`."""

    paths: RunPaths
    stage: str
    name: str
    made_from: Mapping[str, Any]
    """As values of JSON."""

    def is_whole(self) -> bool:
        """Whether it is there, made from the same.

        Raises:
            DataError: it was changed after it was whole.
        """
        file = self.paths.part(self.stage, self.name)
        seal = read_seal(file)
        if seal is None or seal.identity != self._identity():
            return False
        return is_whole(self.paths.root, seal, seal_file=file)

    def make(self, work: Callable[[], _T]) -> _T:
        """Make it, and seal it last; returns what `work` returns."""
        file, place = self.paths.part(self.stage, self.name), self.paths.evaluation / self.name
        file.unlink(missing_ok=True)
        record = place.with_name(f"{self.name}.json")
        record.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        started = time.monotonic()
        value = work()
        outputs = [str(path.relative_to(self.paths.root)) for path in (record, place)]
        hashes = hash_outputs(self.paths.root, outputs)
        seconds = round(time.monotonic() - started, 1)
        write_seal(file, Seal(self._title, self._identity(), hashes, seconds))
        return value

    @property
    def _title(self) -> str:
        return f"{self.stage}/{self.name}"

    def _identity(self) -> dict[str, Any]:
        notes = read_seal(self.paths.seal("notes"))
        return {**self.made_from, "notes": notes.digest if notes else None}


def check_parts(paths: RunPaths, stage: str) -> None:
    """Refuse a part of a whole stage that was changed; one that is gone is not needed any more.

    Raises:
        DataError: names the file.
    """
    for file in sorted(paths.part(stage, "").parent.glob("*.json")):
        seal = read_seal(file)
        if seal is not None:
            is_whole(paths.root, seal, seal_file=file)
