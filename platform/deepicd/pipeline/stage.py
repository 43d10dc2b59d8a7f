"""The stages of a run, and what each follows from.

    notes → traces → model → sft → baselines → sweep → evaluation → promotion → deployment → report

In: an experiment, and the seals of earlier stages. Out: a stage's identity: the settings that act
on it, what it reads (outputs of earlier stages by hash, files that the experiment names), and the
code. Decided here: a setting counts for a stage unless it is known not to act there; a table that
counts too much costs time, one that counts too little would take over what is wrong. The place of a
file does not count, what it holds does. A run that is resumed goes on with its own stages although
the code has changed meanwhile; another run does not take them over.
"""

import hashlib
import json
import sysconfig
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from importlib.resources import files
from pathlib import Path
from typing import Any

from deepicd import checkpoints
from deepicd.config import TEACHER_PATIENCE, Experiment, flatten, known_addresses
from deepicd.pipeline.seal import Seal

_READERS = ("data.curriculum", "data.max_prompt_tokens", "data.num_validation", "data.overlong")
"""Settings of those who read the notes."""
_NUM_SAMPLES, _SAMPLE_BYTES = 128, 1 << 16
"""Of a file that is too large to hash for an identity: evenly spaced, from first to last byte."""
_MACHINES = (*("training.num_gpus", "training.num_nodes", "training.ppo_micro_batch_size_per_gpu"),)
"""Addresses that say how sums are divided, and so act on numbers."""
_WAITING = (
    *("training.disk_wait_s", "training.hang_timeout_s", "sweep.keep_top", "sweep.max_failures"),
    *("sweep.max_interruptions", "sweep.placement_timeout_s", "sweep.max_trial_gpu_hours"),
    *("sweep.max_gpu_hours", "sweep.max_cost", "sweep.gpu_hour_price"),
)
"""Addresses that say how long is waited, what is kept, and when a sweep has to end."""
_REACHING = tuple(f"traces.{name}" for name in sorted(TEACHER_PATIENCE))
"""Addresses that say how the teacher of traces is reached and waited for."""
PATIENCE = (*_MACHINES, *_WAITING, *_REACHING)
"""Addresses that may change when a run goes on."""
INEFFECTIVE: Mapping[str, str] = {
    "name": "a label",
    "question": "a label",
    **dict.fromkeys(_REACHING, "the way to the teacher, not what it is asked or held to"),
    **dict.fromkeys(_WAITING, "ends or delays trials, and may change while a sweep goes on"),
}
"""Address that is in no stage's identity → why."""


@dataclass(frozen=True)
class Stage:
    """One step of a run that is done once."""

    name: str
    settings: tuple[str, ...]
    """Tables and addresses of the experiment that act on it."""
    after: tuple[str, ...]
    """Stages whose outputs it reads."""
    outputs: tuple[str, ...]
    """Files and folders that it writes, relative to the run's folder; some not in every run."""
    ignored: tuple[str, ...] = _WAITING
    """Addresses within `settings` that do not act on it."""
    reads: tuple[str, ...] = ()
    """Addresses of files that the experiment names and that it opens."""
    is_shared: bool = False
    """Whether other runs may take it over."""
    has_parts: bool = False
    """Whether it goes on from what an interrupted one left; else that is removed first."""
    is_kept: bool = False
    """Whether what it began is never begun again, even where its inputs are others now."""


_MODEL = ("data", "model", "sft", "seed", "profile")
_ALL = (*_MODEL, "training", "rewards", "sweep", "promotion", "serving", "verl")
_PIPELINE = (
    Stage(
        "notes",
        settings=("data",),
        after=(),
        outputs=(
            *("notes/train.parquet", "notes/validation.parquet"),
            *("notes/test.parquet", "notes/promotion.parquet", "notes/report.json"),
            "notes/ceiling_answers.json",  # of the embedded corpus only
        ),
        ignored=_READERS,
        reads=("data.root", "data.file", "data.splits"),
        is_shared=True,
    ),
    Stage(
        "traces",
        settings=("data.source", "sft.is_enabled", "sft.num_traces", "seed", "traces"),
        after=("notes",),
        outputs=("traces.parquet", "traces.card.json", "grpo_notes/train.parquet"),
        ignored=_REACHING,
        reads=("sft.traces",),
        is_shared=True,
    ),
    Stage(
        "model",
        settings=("model", "seed"),
        after=("notes", "traces"),
        outputs=("model",),
        reads=("model.path",),
        is_shared=True,
    ),
    Stage(
        "sft",
        # Trials at once: so many threads a rank has, and threads divide sums.
        settings=(*_MODEL, *_MACHINES, "sweep.max_concurrent", "training.attention"),
        after=("notes", "traces", "model"),
        outputs=("sft",),
        reads=("model.path",),
        is_shared=True,
    ),
    Stage(
        "baselines",
        settings=(*_MODEL, "training", "evaluation", "promotion", "serving"),
        after=("notes", "model", "sft"),
        outputs=(
            *("evaluation/majority", "evaluation/sft", "evaluation/sft.json"),
            *("evaluation/context", "evaluation/context.json"),
        ),
        ignored=(*PATIENCE, "promotion.registry"),
        reads=("model.path",),
        is_shared=True,
    ),
    Stage(
        "sweep",
        settings=(*_MODEL, "training", "rewards", "sweep", "verl"),
        after=("notes", "traces", "sft"),
        outputs=("trials.json", "sweep/decision.json", "sweep/result.json"),
        has_parts=True,
        is_kept=True,
    ),
    Stage(
        "evaluation",
        settings=_ALL,
        after=("notes", "sweep"),
        outputs=("evaluation/candidates.json",),
        has_parts=True,
    ),
    Stage(
        "promotion",
        settings=_ALL,
        after=("baselines", "evaluation"),
        outputs=("promotion.json",),
        reads=("model.path",),
        has_parts=True,
    ),
    Stage("deployment", settings=_ALL, after=("notes", "promotion"), outputs=("deployment.json",)),
    Stage(
        "report",
        settings=_ALL,
        after=("baselines", "sweep", "evaluation", "promotion"),
        outputs=("summary.json", "report.html"),
    ),
)
STAGES: Mapping[str, Stage] = {stage.name: stage for stage in _PIPELINE}
"""Name → stage, in the order of a run."""


def identify(
    stage: Stage,
    experiment: Experiment,
    seals: Mapping[str, Seal],
    *,
    describe: Callable[[Path], str | None] | None = None,
) -> dict[str, Any]:
    """What the outputs of a stage follow from, as values of JSON.

    Args:
        stage: one of `STAGES`.
        experiment: the run's.
        seals: those of the stages that it comes after.
        describe: `describe_file`, or one that remembers what it said of a path.
    """
    describe = describe or describe_file
    named = {name: _path_at(experiment, name) for name in stage.reads}
    return {
        "settings": settings_of(stage, experiment),
        "files": {name: describe(path) for name, path in named.items() if path is not None},
        "inputs": {name: seals[name].digest for name in stage.after},
        "code": hash_code(),
    }


def settings_of(stage: Stage, experiment: Experiment) -> dict[str, Any]:
    """Address → value of the settings that act on a stage."""
    values = flatten(experiment.model_dump(mode="json"))
    return {name: value for name, value in values.items() if _acts(name, stage)}


def settled_paths(whole: Collection[str], walked: Collection[str]) -> set[str]:
    """Addresses of files that no stage opens any more.

    Args:
        whole: names of the stages that are whole.
        walked: names of those that the run does.
    """
    left = {address for name in walked if name not in whole for address in STAGES[name].reads}
    return _paths() - left


def _paths() -> set[str]:
    """Addresses that name files: what lies there counts, for the stages that open it."""
    return {address for stage in STAGES.values() for address in stage.reads}


def _path_at(experiment: Experiment, address: str) -> Path | None:
    table, _, name = address.partition(".")
    path: Path | None = getattr(getattr(experiment, table), name)
    return path


def digest_of(identity: Mapping[str, Any]) -> str:
    """SHA-256 of an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Where two identities of one run differ, `settings.seed` and so on.

    No difference is what may change when a run goes on, and a file that is gone: what was made of
    it is there. Of other code a setting that only one of both has is none either: it came or went
    with the code.
    """
    left, right = flatten(old), flatten(new)
    found = [
        name
        for name in sorted({*left, *right})
        if left.get(name) != right.get(name)
        and name.removeprefix("settings.") not in PATIENCE
        and not (name.startswith("files.") and _is_gone(name, left, right))
    ]
    if left.get("code") == right.get("code"):
        return found
    return [name for name in found if (name in left and name in right) or not _is_of_code(name)]


def _is_gone(name: str, *sides: Mapping[str, Any]) -> bool:
    return any(side.get(name, "") is None for side in sides)


def _is_of_code(name: str) -> bool:
    """Whether an address of an identity is a setting that every experiment has: not a key of a
    table that users fill, such as `sweep.search`.
    """
    address = name.removeprefix("settings.")
    is_filled = any(address.startswith(f"{known}.") for known in known_addresses())
    return name != address and not is_filled


@cache
def hash_code() -> str:
    """SHA-256 over what ran first in this process: the package's own source and data, and the
    versions of all installed packages.
    """
    return read_code()


def read_code() -> str:
    """As `hash_code`, of what is on disk now."""
    package = Path(str(files("deepicd")))
    hasher = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            hasher.update(f"{file.relative_to(package)}\n".encode())
            hasher.update(file.read_bytes())
    # Not by `sys.path`: what is imported meanwhile may add folders of its own to it.
    places = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    installed = {f"{each.name.lower()}=={each.version}\n" for each in distributions(path=places)}
    hasher.update("".join(sorted(installed)).encode())
    return hasher.hexdigest()


def _acts(address: str, stage: Stage) -> bool:
    def is_in(tables: tuple[str, ...]) -> bool:
        return any(address == table or address.startswith(f"{table}.") for table in tables)

    return is_in(stage.settings) and not is_in((*stage.ignored, *_paths()))


def describe_file(path: Path) -> str | None:
    """What tells the contents of a file or folder from others: a model's manifest, else names and
    contents; None where nothing is there. Of a large file, as a table of MIMIC-IV, size, time of
    change and samples count.
    """
    if not path.exists():
        return None
    if (path / checkpoints.MANIFEST).is_file():
        return checkpoints.content_digest(checkpoints.read_manifest(path))
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    lines = (f"{file.relative_to(path)} {_sample(file)}\n" for file in found if file.is_file())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sample(file: Path) -> str:
    # Sizes and times are not enough: two models of one kind have the same sizes, and archives and
    # object stores give every file the same time.
    stat, hasher = file.stat(), hashlib.sha256()
    with file.open("rb") as opened:
        if stat.st_size <= _NUM_SAMPLES * _SAMPLE_BYTES:
            hasher.update(opened.read())
            return hasher.hexdigest()
        for number in range(_NUM_SAMPLES):
            opened.seek((stat.st_size - _SAMPLE_BYTES) * number // (_NUM_SAMPLES - 1))
            hasher.update(opened.read(_SAMPLE_BYTES))
    return f"{stat.st_size} {stat.st_mtime_ns} {hasher.hexdigest()}"
