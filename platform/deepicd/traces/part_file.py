"""What a build of traces has so far, as lines of JSON that only grow.

In: `Outcome`s, one an attempt, in order. Out: those of an interrupted build. Decided here: the
first line names what decides the outcomes (`identity`), and a file of another build is never gone
on with. A line that `kill -9` cut off is removed and its attempt made again. The file is locked by
the process that writes it. It holds reasoning about notes, as the traces do.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from deepicd.errors import ConfigError, DataError
from deepicd.files import json_text


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt that had a reply."""

    note_id: str
    sample: int
    reason: str = ""
    """Why it is no trace; empty for one."""
    response: str = ""
    """Of a trace."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    """Of the build, since the outcome before."""


class PartFile:
    """An open part file; a context manager."""

    def __init__(self, path: Path, identity: Mapping[str, Any], *, may_replace: bool) -> None:
        """Open or create it, and read what is there.

        Raises:
            ConfigError: another process writes it, or it is of another build and may not go.
            DataError: it is no part file.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.outcomes = self._begin(json.loads(json.dumps(dict(identity))), may_replace)
        except BlockingIOError:
            self._file.close()
            raise ConfigError(
                f"another process builds the traces of {path}; wait for it, or choose another --out"
            ) from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, outcome: Outcome) -> None:
        """Add one outcome; it is with the operating system when this returns."""
        self._write(asdict(outcome))

    def remove(self) -> None:
        """Delete the file: what it holds stands elsewhere."""
        self.path.unlink()

    def _write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json_text(row, indent=None).encode() + b"\n")
        # A process that is killed loses what Python holds back, not what the kernel has.
        self._file.flush()

    def _begin(self, identity: Mapping[str, Any], may_replace: bool) -> list[Outcome]:
        rows = self._read()
        if not rows:
            self._write({"identity": identity})
            return []
        there = rows[0].get("identity")
        if there == identity:
            return [Outcome(**row) for row in rows[1:]]
        if not may_replace:
            raise ConfigError(
                f"{self.path} is of an interrupted build with other {_differing(there, identity)}; "
                "go on with the same settings, give --yes to begin anew, or choose another --out"
            )
        os.ftruncate(self._file.fileno(), 0)
        self._write({"identity": identity})
        return []

    def _read(self) -> list[Any]:
        self._file.seek(0)
        whole, newline, _ = self._file.read().rpartition(b"\n")
        os.ftruncate(self._file.fileno(), len(whole) + len(newline))
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError:
            raise DataError(
                f"{self.path} is no part of a build of traces; move it away, or choose another "
                "--out"
            ) from None


def _differing(there: Any, identity: Mapping[str, Any]) -> str:
    known = there if isinstance(there, dict) else {}
    names = [name for name, value in identity.items() if known.get(name) != value]
    return ", ".join(names) or "fields"
