"""The exception tree. Every class is picklable, so that Ray can carry it between workers.

    DeepICDError
    ├── ConfigError        (ValueError)    an experiment, an override or an option that cannot work
    ├── DataError          (ValueError)    input tables, notes, labels or prediction files
    ├── CodeError          (ValueError)    text that is not an ICD-10-CM code where one is required
    ├── MissingError       (FileNotFoundError)  a path, version or name that does not exist
    ├── CapacityError      (RuntimeError)  the machine or cluster cannot hold what was asked for
    ├── TrainingError      (RuntimeError)  a trial or SFT run failed
    ├── CheckpointError    (RuntimeError)  a checkpoint or version fails verification
    ├── UpstreamError      (RuntimeError)  a library has another version than its private code needs
    ├── SweepError         (RuntimeError)  a sweep as a whole failed
    ├── PromotionError     (RuntimeError)  the registry cannot do what was asked for
    ├── JudgeError         (RuntimeError)  the judge of a reward gives no ratings
    ├── TeacherError       (RuntimeError)  the teacher of traces does not answer
    ├── ExhaustedError     (RuntimeError)  memory or disk ran out; the run can go on
    ├── ServingError       (RuntimeError)  the deployment or a query to it failed
    └── MonitoringError    (RuntimeError)  the prediction or label log cannot be read or written

A message says rule, value, place and way out. A malformed model answer is data
(`records.Answer.reason`), never an exception.

A check yields what it refuses as `Fault`s, so that `deepicd validate` can tell all of them;
`refuse` raises the first for a command that cannot go on.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any


class DeepICDError(Exception):
    """Root of everything this package raises on purpose."""

    exit_code = 1


class ConfigError(DeepICDError, ValueError):
    """An experiment, override or option is wrong."""

    exit_code = 2


class DataError(DeepICDError, ValueError):
    """Input tables, notes, labels or prediction files are wrong."""

    exit_code = 3


class CodeError(DeepICDError, ValueError):
    """Text is not an ICD-10-CM code where one is required."""

    exit_code = 3


class MissingError(DeepICDError, FileNotFoundError):
    """A path, version or name does not exist."""

    exit_code = 4


class CapacityError(DeepICDError, RuntimeError):
    """The machine or cluster cannot hold what was asked for."""

    exit_code = 5


class TrainingError(DeepICDError, RuntimeError):
    """A trial or an SFT run failed."""

    exit_code = 6


class UpstreamError(DeepICDError, RuntimeError):
    """A library is installed in another version than the one whose private code was read."""

    exit_code = 6


class JudgeError(DeepICDError, RuntimeError):
    """The judge of a reward gives no ratings, and the experiment does not go on without."""

    exit_code = 11


class TeacherError(DeepICDError, RuntimeError):
    """The teacher that writes traces does not answer; what was accepted is kept."""

    exit_code = 13


class CheckpointError(DeepICDError, RuntimeError):
    """A checkpoint or registry version fails verification."""

    exit_code = 7


class SweepError(DeepICDError, RuntimeError):
    """A sweep as a whole failed."""

    exit_code = 6


class PromotionError(DeepICDError, RuntimeError):
    """The registry cannot do what was asked for."""

    exit_code = 10


class ServingError(DeepICDError, RuntimeError):
    """The deployment, or a query to it, failed."""

    exit_code = 8


class ExhaustedError(DeepICDError, RuntimeError):
    """Memory or disk ran out; what is whole is kept, and the run can go on."""

    exit_code = 12


class MonitoringError(DeepICDError, RuntimeError):
    """The prediction or label log cannot be read or written."""

    exit_code = 9


def describe_failure(error: Exception) -> str:
    """What a loop that goes on says of an error. The text of one that is not ours may hold a note:
    of those the kind alone, and what the operating system calls it.
    """
    if isinstance(error, DeepICDError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}{f' ({reason})' if reason else ''}"


@dataclass(frozen=True)
class Fault:
    """One thing that is refused before anything starts."""

    place: str
    """Dotted address in the experiment, else the file, option or environment variable."""
    rule: str
    """What has to hold, and does not; a sentence that names place and value."""
    way_out: str = ""
    """What the user can do."""
    value: Any = None
    """The value at that place, as JSON has it; None where there is none."""
    is_missing: bool = False
    """Whether only this machine lacks it: the experiment is right."""

    def __str__(self) -> str:
        """The sentence that an error has."""
        return f"{self.rule}; {self.way_out}" if self.way_out else self.rule


def refuse(faults: Iterable[Fault]) -> None:
    """Raise the first fault, and say how many more there are; what is wrong comes before what this
    machine lacks.

    Raises:
        ConfigError: something is wrong.
        MissingError: nothing is, and something is not on this machine.
    """
    found = sorted(faults, key=lambda fault: fault.is_missing)
    if not found:
        return
    kind = MissingError if found[0].is_missing else ConfigError
    more = f" ({len(found) - 1} more: deepicd validate FILE)" if len(found) > 1 else ""
    raise kind(f"{found[0]}{more}")


def faults_of(check: Callable[[], object], place: str, value: Any = None) -> Iterator[Fault]:
    """What a function that raises refuses, as a fault of that place."""
    try:
        check()
    except DeepICDError as error:
        yield fault_of(error, place, value)


def fault_of(error: DeepICDError, place: str, value: Any = None) -> Fault:
    """An error as a fault: what is wrong, and after the last semicolon the way out."""
    rule, _, way_out = str(error).rpartition("; ")
    if not rule:
        rule, way_out = way_out, ""
    return Fault(place, rule, way_out, value, is_missing=isinstance(error, MissingError))
