"""The wire between a slot and the process that drives verl: one JSON file, values only."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One verl run."""

    name: str
    """Trial id."""
    experiment: Mapping[str, Any]
    """The trial's experiment, reward weights included."""
    given: Mapping[str, str]
    """Start model and splits: fields of `trial.TrialInput`."""
    out: str
    """Folder for verl's checkpoints: the trial's own, which every node sees."""
    resume: str | None
    """Checkpoint folder to go on from."""
    record: str
    """Where verl's resolved configuration (YAML) is kept."""
    log: str
    """File that the process writes its output to while this run lasts."""
    address: str
    """GCS address of the Ray cluster to join."""
    env: Mapping[str, str]
    """Environment of the run's Ray workers (profile and paths; never a reward weight)."""
    num_gpus: int
    """GPUs (logical slots) the run needs over all nodes."""
    min_probs_pearson: float | None
    """Guard on actor/rollout agreement; None switches it off."""
    sweep: str
    """Who asks for room in the cluster: the Ray job of the sweep."""
    room_timeout_s: float
    """Seconds to wait for room in the cluster."""


def write_job(job: Job, path: Path) -> None:
    """Write the job file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(job), indent=2) + "\n", encoding="utf-8")


def read_job(path: Path) -> Job:
    """Read it back."""
    return Job(**json.loads(path.read_text(encoding="utf-8")))
