"""What says that a stage is whole: its inputs, and the hash of each file that it wrote.

In: a stage's identity and its output files. Out: `RUN/stages/NAME.json`, written last and at once.
Decided here: without a seal a stage is not whole, whatever lies there; a killed writer leaves none.
Every output is hashed again before a run goes on with it: a file that was changed by hand is an
error, because what follows was made from what was there; a file that is gone makes the stage run
again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepicd.errors import DataError
from deepicd.files import write_json


@dataclass(frozen=True)
class Seal:
    """A whole stage."""

    stage: str
    identity: Mapping[str, Any]
    """What the outputs follow from (`stage.identify`)."""
    outputs: Mapping[str, str]
    """Path relative to the run's folder → SHA-256."""
    seconds: float
    """How long it took where it was made."""
    taken_from: str = ""
    """Folder of the cache that it was taken over from; empty where it was made here."""

    @property
    def digest(self) -> str:
        """Equal exactly when the outputs are: what later stages know of this one."""
        lines = (f"{name} {sha256}\n" for name, sha256 in sorted(self.outputs.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_seal(file: Path, seal: Seal) -> None:
    """Write a seal for people and for `read_seal`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {**asdict(seal), "digest": seal.digest})


def read_seal(file: Path) -> Seal | None:
    """The seal in a file; None where there is none.

    Raises:
        DataError: it is not one.
    """
    if not file.is_file():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        # A seal that was edited by hand does not have the digest of what it lists.
        digest = values.pop("digest")
        seal = Seal(**values)
        is_sound = digest == seal.digest
    # JSON of any other shape fails in one of these ways.
    except (ValueError, KeyError, TypeError, AttributeError):
        is_sound = False
    if not is_sound:
        raise DataError(
            f"{file} is no record of a whole stage any more; remove it, and the stage runs again"
        )
    return seal


def hash_outputs(root: Path, outputs: Sequence[str]) -> dict[str, str]:
    """Relative path → SHA-256 of each file below these files and folders of a run."""
    return {
        str(file.relative_to(root)): _hash_file(file)
        for output in outputs
        for file in sorted(_files_of(root / output))
    }


def is_whole(root: Path, seal: Seal, *, seal_file: Path) -> bool:
    """Whether every output of a seal is there as it was sealed; False where one is gone.

    Raises:
        DataError: one was changed.
    """
    files = {name: root / name for name in seal.outputs}
    if not all(file.is_file() for file in files.values()):
        return False
    changed = [name for name, file in files.items() if _hash_file(file) != seal.outputs[name]]
    if changed:
        raise DataError(
            f"{root / changed[0]} was changed after stage {seal.stage!r} was whole"
            f"{_and_others(changed)}. Put it back; or remove {seal_file}: the stage then runs "
            "again, and what followed from it too"
        )
    return True


def find_whole(root: Path, seal_file: Path) -> Seal | None:
    """The seal of a stage that is whole; None where there is none, or an output of it is gone.

    Raises:
        DataError: an output was changed.
    """
    seal = read_seal(seal_file)
    return seal if seal and is_whole(root, seal, seal_file=seal_file) else None


def _and_others(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in path.rglob("*") if file.is_file()]


def _hash_file(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
