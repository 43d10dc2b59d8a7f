"""The wire between a trial's Train worker, its runner and the driver of verl: typed messages.

In: a message. Out: one line of JSON, and back. Decided here: every message is a frozen dataclass;
`encode` and `decode` are the only two that know how one looks as text. Between Ray processes (Train
worker, runner) messages travel as they are; the pipe between runner and driver carries lines. A
line that cannot be read is an error that says why, never a message that is passed over.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from deepicd.config import Experiment
from deepicd.errors import TrainingError
from deepicd.training.process.events import LOG

_SHOWN = 200
"""Characters of a broken line that its error shows."""


@dataclass(frozen=True)
class TrialInput:
    """What a trial needs besides its experiment: paths that every node sees."""

    model: Path
    """Start model (Hugging Face layout)."""
    train: Path
    """Training split (Parquet)."""
    validation: Path
    """Validation split (Parquet)."""


@dataclass(frozen=True)
class Job:
    """One verl run: the trial's experiment, once, and what the experiment does not hold."""

    name: str
    """Trial id."""
    experiment: Experiment
    """The trial's experiment, reward weights included."""
    inputs: TrialInput
    out: Path
    """Folder for verl's checkpoints, configuration and log: the trial's own, which every node
    sees."""
    address: str
    """GCS address of the Ray cluster to join."""
    sweep: str
    """Ray job of the sweep, which asks the cluster for capacity."""
    env: Mapping[str, str]
    """Environment of the run's Ray workers (profile and paths; never a reward weight)."""
    resume: Path | None = None
    """Checkpoint folder to go on from."""

    @property
    def log(self) -> Path:
        """File that the driver writes its output to while this run lasts."""
        return self.out / LOG

    @property
    def verl_config(self) -> Path:
        """Where verl's resolved configuration (YAML) is kept."""
        return self.out / "verl.yaml"


@dataclass(frozen=True)
class Start:
    """Runner to driver: run this trial."""

    job: Job


@dataclass(frozen=True)
class Stop:
    """Runner to driver: leave the trial after its step."""


@dataclass(frozen=True)
class Stage:
    """What the trial does from now on."""

    name: str
    ray_job: str = ""
    """Ray job of verl's processes, as soon as there is one."""


@dataclass(frozen=True)
class Ready:
    """The first step can begin."""

    reuses_engine: bool
    """Whether the trial runs in processes that another trial has started."""
    ray_job: str


@dataclass(frozen=True)
class Step:
    """One GRPO step is done."""

    step: int
    metrics: Mapping[str, float]
    checkpoint: Path | None
    """Folder, where the step saved one."""


@dataclass(frozen=True)
class OtherEngine:
    """The trial needs an engine that is built otherwise; the driver ends."""


@dataclass(frozen=True)
class Done:
    """The trial came to its last step."""


@dataclass(frozen=True)
class Stopped:
    """The trial was told to stop, and has."""


@dataclass(frozen=True)
class Failed:
    """The trial failed; the driver ends."""

    type: str
    """Class of the error."""
    message: str
    lost: tuple[str, ...] = ()
    """What became of nodes that went away, where that can be the reason."""


@dataclass(frozen=True)
class Ended:
    """The driver's process is gone, and did not say why."""

    code: int | None


Message = Start | Stop | Stage | Ready | Step | OtherEngine | Done | Stopped | Failed | Ended
TrialEnd = Done | Stopped | Failed | Ended
"""Messages after which a trial is over."""

_CLASSES: Mapping[str, type[Any]] = {each.__name__: each for each in get_args(Message)}


def encode(message: Message) -> str:
    """A message as one line of JSON, newline included."""
    line = {"kind": type(message).__name__, **_fields_of(message)}
    return json.dumps(line, default=_as_json) + "\n"


def decode(line: str) -> Message:
    """The message that a line holds.

    Raises:
        TrainingError: it is no JSON object, of no kind that is known here, or holds values that its
            kind does not have.
    """
    try:
        values = json.loads(line)
        kind = values.pop("kind")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise TrainingError(
            f"the driver's pipe holds a line that is no message: {line[:_SHOWN]!r}. Something else "
            "writes to it; start the trial again"
        ) from None
    if not isinstance(kind, str) or kind not in _CLASSES:
        raise TrainingError(
            f"the driver's pipe holds a message of unknown kind {kind!r}; known are "
            f"{', '.join(_CLASSES)}. Both ends must be of one version of deepicd"
        )
    try:
        message: Message = _adapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise TrainingError(f"a message {kind} cannot be read: {field}: {first['msg']}") from None
    return message


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    # An unknown field means that the other end is of another version: refused, not passed over.
    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(_CLASSES[kind]))


def _fields_of(record: Any) -> dict[str, Any]:
    # `asdict` would copy the experiment deeply; `json` asks for what is inside by `_as_json`.
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _as_json(value: Any) -> Any:
    """What `json` does not know: the experiment, paths, and the dataclasses inside of messages."""
    if isinstance(value, Experiment):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    return _fields_of(value)
