"""Lineage: from a served answer back to the code and the machine that its model comes from. Pure.

    answer → version → run → trial → checkpoint → start model → base model → data → limits
           → code → environment

In: what a run knows, or a version's manifest as JSON. Out: `Lineage`, its values as JSON, its lines
for people, and what differs between two. Decided here: what a version is told about itself, and
under which names; what is not known is left out and never guessed; whatever else a registrant
writes is kept as it is. An answer names its version (`model_version`), and the version holds the
rest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from deepicd.config import flatten
from deepicd.records import Limits

SFT, GRPO, BASE, BY_HAND = "sft", "grpo", "base", "by hand"
"""What made a model: SFT, a trial, nothing (SFT was switched off), or somebody outside of a run."""

_ENVIRONMENT = ("code", "environment")
"""Parts that say where a version was made and not what it is."""
_SHORT = 12
"""Characters of a hash that are shown to people."""


@dataclass(frozen=True)
class ModelFiles:
    """A folder of weights."""

    path: str = ""
    """Where it lay."""
    sha256: str | None = None
    """Over its files, as in its manifest."""
    step: int | None = None
    """GRPO step of a checkpoint."""


@dataclass(frozen=True)
class TrainedPatients:
    """The list of patients that a version was trained on (`promotion.patients`)."""

    count: int
    sha256: str
    """Of the list's file."""


@dataclass(frozen=True)
class Lineage:
    """Where a version comes from; what nobody knows is empty."""

    stage: str = ""
    """What made it: `SFT`, `GRPO`, `BASE`, `BY_HAND`."""
    experiment: str = ""
    run: str = ""
    """Name of the run's folder."""
    seed: int | None = None
    """Of the training."""
    profile: str = ""
    trial: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The trial's values."""
    checkpoint: ModelFiles | None = None
    """The checkpoint that was exported."""
    start_model: ModelFiles | None = None
    """Where GRPO began."""
    base_model: ModelFiles | None = None
    """Where SFT began."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Identity of the build of notes (`notes.identity`): hashes of the splits, code table,
    settings, seed of the splits."""
    patients: TrainedPatients | None = None
    limits: Limits | None = None
    """Of prompt and answer, in training as in serving."""
    temperature: float | None = None
    """At which answers are sampled beside the greedy one."""
    code: Mapping[str, Any] = field(default_factory=dict)
    """Commit, whether it was changed, and the release of this package."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Lock, versions of packages, container image, machines."""
    further: Mapping[str, Any] = field(default_factory=dict)
    """What a registrant wrote under other names."""

    def as_dict(self) -> dict[str, Any]:
        """Values of JSON, without what is empty."""
        values = asdict(self)
        further = values.pop("further")
        known = {name: _drop_none(each) for name, each in values.items() if not _is_empty(each)}
        return {**further, **known}

    @property
    def source(self) -> str:
        """Where the notes come from (`data.source`); empty where that is not known."""
        return str(_mapping(self.data, "settings").get("source", ""))

    @property
    def code_table(self) -> str:
        """Release and hash of the ICD-10-CM table; empty where they are not known."""
        table = _mapping(self.data, "codes")
        return f"{table.get('release')} ({table.get('sha256')})" if table else ""


def read_lineage(values: Mapping[str, Any]) -> Lineage:
    """Lineage of a manifest. Values of another kind than ours are kept under `further`."""
    known: dict[str, Any] = {}
    further = dict(values)
    for each in fields(Lineage):
        read = _READERS.get(each.name, _text)
        value = None if each.name == "further" else read(values.get(each.name))
        if value is not None:
            known[each.name] = value
            del further[each.name]
    return Lineage(**known, further=further)


def describe_lineage(lineage: Lineage) -> list[tuple[str, str]]:
    """Rows (step, what is known of it), from the run down to the machine; without what is not
    known.
    """
    rows = [
        ("made by", lineage.stage),
        ("run", _join(lineage.run, _named("experiment", lineage.experiment), _seed(lineage))),
        ("trial", _join(lineage.trial, *_settings(lineage.params))),
        ("checkpoint", _model(lineage.checkpoint)),
        ("start model", _model(lineage.start_model)),
        ("base model", _model(lineage.base_model)),
        *_data_rows(lineage),
        ("limits", _limits(lineage)),
        *_code_rows(lineage),
        *((name, str(value)) for name, value in sorted(flatten(dict(lineage.further)).items())),
    ]
    return [(name, text) for name, text in rows if text]


def name_origin(lineage: Lineage) -> str:
    """Run, trial and step in a few words; what else a registrant wrote where there is no run."""
    step = None if lineage.checkpoint is None else lineage.checkpoint.step
    named = [_named("run", lineage.run), _named("trial", lineage.trial), _named("step", step)]
    further = [f"{name} {value}" for name, value in sorted(flatten(dict(lineage.further)).items())]
    return _join(lineage.stage, *named, *further)


def compare_lineages(first: Lineage, second: Lineage) -> list[tuple[str, Any, Any]]:
    """Rows (field, first's value, second's value) of what differs, field by field."""
    left, right = (flatten(lineage.as_dict()) for lineage in (first, second))
    names = [*left, *(name for name in right if name not in left)]
    return [
        (name, left.get(name), right.get(name))
        for name in names
        if left.get(name) != right.get(name)
    ]


def same_origin(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two lineages name the same model. A run that goes on with other code, on another
    machine or in another folder registers nothing twice, so code, environment and places of files
    do not count.
    """
    left, right = (
        {name: _without_place(value) for name, value in one.items() if name not in _ENVIRONMENT}
        for one in (first, second)
    )
    return left == right


def _without_place(value: Any) -> Any:
    """A model's files by what they hold."""
    if not isinstance(value, Mapping) or "sha256" not in value:
        return value
    return {name: part for name, part in value.items() if name != "path"}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> Any:
    # In Python True is an int.
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _table(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else None


def _record(kind: Any) -> Any:
    """A reader of a nested dataclass; None for what is no such table."""

    def read(value: Any) -> Any:
        try:
            return kind(**value) if isinstance(value, Mapping) else None
        # Fields that we do not know: it stays as the registrant wrote it (`read_lineage`).
        except TypeError:
            return None

    return read


_READERS = {
    **dict.fromkeys(("seed", "temperature"), _number),
    "checkpoint": _record(ModelFiles),
    "start_model": _record(ModelFiles),
    "base_model": _record(ModelFiles),
    "patients": _record(TrainedPatients),
    "limits": _record(Limits),
    **dict.fromkeys(("params", "data", "code", "environment"), _table),
}


def _is_empty(value: Any) -> bool:
    # Not by truth: seed 0 and temperature 0 are known.
    return value is None or value in ("", {})


def _drop_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _drop_none(item) for name, item in value.items() if item is not None}
    return value


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = values.get(name)
    return value if isinstance(value, Mapping) else {}


def _join(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def _named(name: str, value: Any) -> str:
    # Not by truth: step 0 and seed 0 are known.
    return f"{name} {value}" if value not in (None, "") else ""


def _seed(lineage: Lineage) -> str:
    return _named("seed", lineage.seed)


def _settings(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in sorted(flatten(dict(values)).items()):
        yield f"{name} = {value:.6g}" if isinstance(value, float) else f"{name} = {value}"


def _short(value: Any) -> str:
    return str(value)[:_SHORT]


def _model(files: ModelFiles | None) -> str:
    if files is None:
        return ""
    sha256 = f"SHA-256 {_short(files.sha256)}" if files.sha256 else "SHA-256 not known"
    return _join(_named("step", files.step), files.path, sha256)


def _data_rows(lineage: Lineage) -> Iterator[tuple[str, str]]:
    data = lineage.data
    settings = _mapping(data, "settings")
    yield "data", _join(lineage.source, _named("seed of the splits", data.get("seed")))
    yield "data settings", _join(*_settings(settings))
    hashes = {**_mapping(data, "splits"), "trained on": data.get("train")}
    shown = (f"{name} {_short(value)}" for name, value in hashes.items() if value)
    yield "data splits", _join(*shown)
    yield "code table", lineage.code_table
    if lineage.patients is None:
        yield "patients", "not recorded: nobody can say which patients it was trained on"
    else:
        kept = _short(lineage.patients.sha256)
        yield "patients", f"trained on {lineage.patients.count}, kept as salted digests ({kept})"


def _limits(lineage: Lineage) -> str:
    limits = lineage.limits
    if limits is None:
        return ""
    return _join(
        f"prompt {limits.max_prompt_tokens} tokens",
        f"answer {limits.max_response_tokens}",
        f"over-long notes: {limits.overlong}",
        _named("temperature of samples", lineage.temperature),
    )


def _code_rows(lineage: Lineage) -> Iterator[tuple[str, str]]:
    code, environment = lineage.code, lineage.environment
    is_changed = "changed since" if code.get("is_changed") else ""
    release, commit = _named("release", code.get("release")), _short(code.get("commit") or "")
    yield "code", _join(release, _named("commit", commit), is_changed)
    lock = _mapping(environment, "lock")
    sha256 = _named("SHA-256", _short(lock.get("sha256") or ""))
    yield "lock", _join(str(lock.get("name") or ""), sha256)
    yield "packages", _join(*(f"{k} {v}" for k, v in _mapping(environment, "versions").items()))
    yield "image", str(environment.get("image") or "")
    for machine in environment.get("machines") or ():
        yield "machine", _machine(machine)


def _machine(machine: Any) -> str:
    if not isinstance(machine, Mapping):
        return "one that did not answer"
    gpus = [f"{gpu.get('name')} (driver {gpu.get('driver_version')})" for gpu in machine["gpus"]]
    cpus = f"{machine.get('num_cpus')} × {machine.get('cpu')}"
    return _join(str(machine.get("os", "")), cpus, *(gpus or ["no GPU"]))
