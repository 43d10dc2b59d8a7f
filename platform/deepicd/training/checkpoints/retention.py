"""Checkpoint retention: which of a trial's checkpoints are whole, and which of them are kept.

In: folders as verl leaves them, and the trial's experiment and notes. Out: the checkpoint that a
trial goes on from. Decided here:

- The manifest (`checkpoints.write_trainer_manifest`) is written last, with what the trial reports
  at that step; a folder without one is half-written.
- Before a trial goes on, every byte of the latest checkpoint is hashed again. verl reads the same
  bytes afterwards, so that this costs a second reading at most; what is merely kept is not read.
- What is newer than the checkpoint used is removed, since verl writes these folders again.
- The best by validation, the last, and never fewer than two are kept: a trial whose last one is
  damaged has one to fall back on. Ray Train keeps a list of its own and removes nothing.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepicd import checkpoints
from deepicd.config import Experiment
from deepicd.errors import CheckpointError
from deepicd.files import write_json
from deepicd.notes.identity import hash_split
from deepicd.training.checkpoints.reshard import RESHARDED

CHECKPOINT_MODEL = Path("actor") / "huggingface"
"""Where verl leaves the Hugging Face folder inside one of its checkpoints."""

_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""safetensors' name of a type → torch's."""

OnEvent = Callable[[str], None]
"""Receives what happens to a trial, one line each (`training.process.events`)."""
_PREFIX = "global_step_"
"""How verl names its checkpoint folders."""
_TRAINS_THE_SAME: dict[str, bool | set[str]] = {
    "name": True,
    "question": True,
    "sweep": True,
    "promotion": True,
    "serving": True,
    "training": {
        *("total_steps", "total_epochs", "validate_every"),
        *("disk_wait_s", "hang_timeout_s", "min_probs_pearson", "attention"),
        *("num_gpus", "num_nodes", "ppo_micro_batch_size_per_gpu"),
    },
}
"""Addresses that a trial may change between two of its steps: how far it goes and on what."""


@dataclass(frozen=True)
class Identity:
    """What a checkpoint and the trial that goes on from it have in common."""

    experiment: str
    """SHA-256 of the values that decide what is learnt."""
    train: str
    """Hash of the training notes, in order."""
    validation: str
    """Hash of the validation notes."""


@dataclass(frozen=True)
class TrialCheckpoints:
    """The checkpoints of one trial."""

    trial: Path
    """Its folder."""
    experiment: Experiment
    identity: Identity
    metric: str
    """Name of the metric by which the best are chosen."""
    on_event: OnEvent = field(compare=False)

    def latest(self) -> Path | None:
        """The latest checkpoint that is whole, verified; None starts from the start model. What is
        skipped on the way is an event, and removed.

        Raises:
            CheckpointError: it is of other settings or other notes than the trial.
        """
        self._remove_unfinished()
        skipped = 0
        for checkpoint in reversed(list_checkpoints(self.trial)):
            try:
                facts = checkpoints.verify_trainer_manifest(checkpoint)["facts"]
            except CheckpointError as error:
                self.on_event(f"skips a damaged checkpoint: {error}")
                delete_checkpoint(checkpoint)
                skipped += 1
                continue
            # Only of a whole one: what is damaged is skipped, what is of another trial is an error.
            check_same(checkpoint, facts.get("identity", {}), self.identity)
            if skipped:
                self.on_event(f"goes on from {checkpoint.name}, the one before")
            return checkpoint
        if skipped:
            self.on_event("no checkpoint is whole: it starts again from its start model")
        return None

    def finalize(self, checkpoint: Path, metrics: Mapping[str, Any]) -> None:
        """Write the manifest of a checkpoint that verl has written.

        Args:
            checkpoint: its folder.
            metrics: what the trial reports at this step.
        """
        world_size, seed = self.experiment.training.world_size, self.experiment.seed
        facts = {
            "step": step_of(checkpoint),
            "identity": vars(self.identity),
            "world_size": world_size,
            "seeds": {"experiment": seed, "ranks": [seed + rank for rank in range(world_size)]},
            "metrics": dict(metrics),
        }
        checkpoints.write_trainer_manifest(checkpoint, facts)

    def apply_retention(self) -> None:
        """Remove all but the best and the last; a copy for other ranks has been read by now."""
        shutil.rmtree(self.trial / RESHARDED, ignore_errors=True)
        folders = list_checkpoints(self.trial)
        scores = {step_of(checkpoint): _score_of(checkpoint, self.metric) for checkpoint in folders}
        keep = retained_steps(scores, keep_top=self.experiment.sweep.keep_top)
        for checkpoint in folders:
            if step_of(checkpoint) not in keep:
                delete_checkpoint(checkpoint)

    def _remove_unfinished(self) -> None:
        for folder in _folders(self.trial):
            if not _is_complete(folder):
                self.on_event(f"removes {folder.name}, which was not written to its end")
                delete_checkpoint(folder)


def retained_steps(scores: Mapping[int, float], *, keep_top: int) -> set[int]:
    """Steps of the checkpoints to keep: the best (the earliest of equals), the last, and the one
    before the last where that would leave a single one.

    Args:
        scores: step → validation score.
        keep_top: how many are kept for their score.
    """
    best = sorted(scores, key=lambda step: (-scores[step], step))[:keep_top]
    newest = sorted(scores, reverse=True)
    chosen = {*best, *newest[:1]}
    return chosen if len(chosen) > 1 else {*newest[:2]}


def identify(experiment: Experiment, *, train: Path, validation: Path) -> Identity:
    """Identity of a trial's checkpoints; reads both splits."""
    values = experiment.model_dump(mode="json", exclude=_TRAINS_THE_SAME)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return Identity(digest, train=hash_split(train), validation=hash_split(validation))


def check_same(checkpoint: Path, written: Mapping[str, str], wanted: Identity) -> None:
    """Raise CheckpointError when a checkpoint is of another trial's settings or notes."""
    names = {
        "experiment": "settings",
        "train": "training notes",
        "validation": "validation notes",
    }
    differences = [
        words for name, words in names.items() if written.get(name) != getattr(wanted, name)
    ]
    if differences:
        raise CheckpointError(
            f"{checkpoint} was written with other {' and other '.join(differences)} than this "
            "trial has; going on from it would mix two trials. Restore what the run was started "
            "with, or start another run"
        )


def list_checkpoints(trial: Path) -> list[Path]:
    """Checkpoints whose manifest is there, oldest first."""
    return sorted(filter(_is_complete, _folders(trial)), key=step_of)


def _is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end; nothing is read."""
    return (checkpoint / checkpoints.MANIFEST).is_file()


def facts_of(checkpoint: Path) -> dict[str, Any]:
    """What its manifest says of a checkpoint besides its files."""
    facts: dict[str, Any] = checkpoints.read_manifest(checkpoint)["facts"]
    metrics = facts.get("metrics", {})
    numbers = {name: math.nan if value is None else value for name, value in metrics.items()}
    return {**facts, "metrics": numbers} if metrics else facts


def _score_of(checkpoint: Path, metric: str) -> float:
    """Validation score of a checkpoint; below every score where its manifest is damaged."""
    try:
        return float(facts_of(checkpoint)["metrics"][metric])
    except (CheckpointError, KeyError):
        return -1.0


def step_of(checkpoint: Path) -> int:
    """GRPO steps done in a checkpoint."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def _folders(trial: Path) -> list[Path]:
    return [path for path in trial.glob("global_step_*") if path.name[len(_PREFIX) :].isdigit()]


def delete_checkpoint(checkpoint: Path) -> None:
    """Remove a checkpoint, its manifest first, so that half of it counts for nothing."""
    (checkpoint / checkpoints.MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def state_dtype(folder: Path) -> str:
    """Write the type that the weights have into `config.json`, and return it.

    verl writes weights as they are and "bfloat16" beside them, by which transformers and vLLM would
    round them when loading.
    """
    from safetensors import safe_open

    # verl writes all weights in one type, so any tensor tells.
    weights = min(folder.glob("*.safetensors"))
    with safe_open(weights, framework="numpy") as file:
        stored = file.get_slice(next(iter(file.keys()))).get_dtype()
    dtype = _DTYPES[stored]
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, {**config, "dtype": dtype}, sort_keys=False)
    return dtype
