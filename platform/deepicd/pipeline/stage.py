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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from importlib.resources import files
from pathlib import Path
from typing import Any

from deepicd import checkpoints
from deepicd.config import Experiment, flatten, known_addresses
from deepicd.pipeline.seal import Seal

_READERS = ("data.curriculum", "data.max_prompt_tokens", "data.num_validation", "data.overlong")
"""Settings of those who read the notes."""
_PATHS = ("data.root", "data.splits", "sft.traces", "model.path")
"""Settings that name files: what lies there counts."""
_NUM_SAMPLES, _SAMPLE_BYTES = 128, 1 << 16
"""Of a file that is too large to hash for an identity: evenly spaced, from first to last byte."""
PATIENCE = (
    *("training.num_gpus", "training.num_nodes", "training.ppo_micro_batch_size_per_gpu"),
    *("training.disk_wait_s", "training.hang_timeout_s", "sweep.keep_top", "sweep.max_failures"),
    *("sweep.max_interruptions", "sweep.placement_timeout_s", "sweep.max_trial_gpu_hours"),
    *("sweep.max_gpu_hours", "sweep.max_cost", "sweep.gpu_hour_price"),
)
"""Addresses that may change when a run goes on: the machines, patience, caps, what is kept."""


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
    ignored: tuple[str, ...] = PATIENCE
    """Addresses within `settings` that do not act on it."""
    is_shared: bool = False
    """Whether other runs may take it over."""
    has_parts: bool = False
    """Whether it goes on from what an interrupted one left; else that is removed first."""


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
        is_shared=True,
    ),
    Stage(
        "traces",
        settings=("data.source", "sft.is_enabled", "sft.num_traces", "sft.traces", "seed"),
        after=("notes",),
        outputs=("traces.parquet", "grpo_notes/train.parquet"),
        is_shared=True,
    ),
    Stage(
        "model",
        settings=("model", "seed"),
        after=("notes", "traces"),
        outputs=("model",),
        is_shared=True,
    ),
    Stage(
        "sft",
        settings=(*_MODEL, "training.max_response_tokens"),
        after=("notes", "traces", "model"),
        outputs=("sft",),
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
        is_shared=True,
    ),
    Stage(
        "sweep",
        settings=(*_MODEL, "training", "rewards", "sweep", "verl"),
        after=("notes", "traces", "sft"),
        outputs=("trials.json", "sweep/decision.json", "sweep/result.json"),
        has_parts=True,
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


def identify(stage: Stage, experiment: Experiment, seals: Mapping[str, Seal]) -> dict[str, Any]:
    """What the outputs of a stage follow from, as values of JSON.

    Args:
        stage: one of `STAGES`.
        experiment: the run's.
        seals: those of the stages that it comes after.
    """
    values = flatten(experiment.model_dump(mode="json"))
    acting = {name: value for name, value in values.items() if _acts(name, stage)}
    named = {name: acting.pop(name, None) for name in _PATHS}
    contents = {name: _describe(Path(path)) for name, path in named.items() if path}
    return {
        "settings": acting,
        "files": contents,
        "inputs": {name: seals[name].digest for name in stage.after},
        "code": hash_code(),
    }


def digest_of(identity: Mapping[str, Any]) -> str:
    """SHA-256 of an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Where two identities differ, `settings.seed` and so on. Of other code a setting that only one
    of both has is no difference: it came or went with the code.
    """
    left, right = flatten(old), flatten(new)
    found = [name for name in sorted({*left, *right}) if left.get(name) != right.get(name)]
    if left.get("code") == right.get("code"):
        return found
    return [name for name in found if (name in left and name in right) or not _is_of_code(name)]


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

    return is_in(stage.settings) and not is_in(stage.ignored)


def _describe(path: Path) -> str:
    """What tells the contents of a file or folder from others: a model's manifest, else names and
    contents. Of a large file, as a table of MIMIC-IV, size, time of change and samples count.
    """
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
