"""GPU-hours of a run outside its trials: what SFT, evaluation and promotion took or will take.

In: the records of whole stages (`RUN/stages/NAME.json`). Out: GPU-hours by stage. Decided here:

- A stage takes its seconds times the GPUs (logical slots on the CPU profile) that it holds: SFT
  those of a trial, what asks vLLM one. The others hold none.
- A stage that was taken over from another run cost this one nothing.
- Attempts that were killed or interrupted cost what they took (`RUN/stages/NAME.interrupted.json`).
- Evaluation and promotion come after the sweep. Each candidate is asked the same notes as the SFT
  start was, so they are expected to take what that took, once for each candidate.
"""

import json
from collections.abc import Mapping
from typing import Any

from deepicd.config import Experiment
from deepicd.paths import RunPaths

_START = "baselines"
"""Evaluation of the SFT start."""
_ASKS_VLLM = (_START, "evaluation", "promotion")
_AFTER_SWEEP = ("evaluation", "promotion")


def gpus_of(stage: str, experiment: Experiment) -> int:
    """GPUs that a stage holds; the sweep's are counted trial by trial."""
    if stage == "sft":
        return experiment.training.world_size if experiment.sft.is_enabled else 0
    return int(stage in _ASKS_VLLM)


def read_spent(paths: RunPaths, experiment: Experiment) -> dict[str, float]:
    """Stage → GPU-hours that it took in this run."""
    spent = {}
    for name in ("sft", *_ASKS_VLLM):
        record = _read_record(paths, name)
        is_own = record and not record.get("taken_from")
        whole = [_hours(record) * gpus_of(name, experiment)] if is_own else []
        interrupted = [_hours(each) * each["gpus"] for each in _read_interrupted(paths, name)]
        if hours := [*whole, *interrupted]:
            spent[name] = sum(hours)
    return spent


def read_elsewhere(paths: RunPaths, experiment: Experiment) -> dict[str, float]:
    """Stage → GPU-hours of a cap that trials cannot have: spent by the stages that are whole, kept
    for the evaluation that comes.
    """
    spent, start = read_spent(paths, experiment), _read_record(paths, _START)
    if start and not any(_read_record(paths, name) for name in _AFTER_SWEEP):
        expected = _hours(start) * experiment.promotion.num_candidates
        spent["evaluation"] = spent.get("evaluation", 0.0) + expected
    return spent


def _hours(record: Mapping[str, Any]) -> float:
    return float(record.get("seconds", 0.0)) / 3600


def _read_record(paths: RunPaths, stage: str) -> dict[str, Any]:
    """The record of a whole stage; empty where it is not whole."""
    try:
        record: dict[str, Any] = json.loads(paths.seal(stage).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record


def _read_interrupted(paths: RunPaths, stage: str) -> list[dict[str, Any]]:
    """Attempts of a stage that did not end."""
    try:
        attempts = json.loads(paths.interrupted(stage).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return list(attempts)
