"""The record of what each trial ran with, written before its first step.

In: a trial that Tune starts. Out: `RUN/sweep/trials/ID/record.json`, and `code.diff` beside it when
the code was changed. Decided here: what is the same for all trials is read once for each start of
the sweep, in its own process; machines are read by a task on each node. The process that drives
verl adds verl's configuration (`training.grpo.driver`).
"""

import os
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deepicd import provenance
from deepicd.config import Experiment
from deepicd.paths import trial_folder
from deepicd.sweeps.results.trials import trial_experiment
from deepicd.training.process.protocol import TrialInput

_MACHINES_TIMEOUT_S = 60.0


class WriteTrialRecord(tune.Callback):
    """Writes the record of each trial that starts."""

    def __init__(self, experiment: Experiment, trial_input: TrialInput, *, storage: Path) -> None:
        self._experiment = experiment
        self._trial_input = trial_input
        self._storage = storage.resolve()

    def __getstate__(self) -> dict[str, Any]:
        """Without the shared values: a sweep may resume with other code."""
        return {name: value for name, value in vars(self).items() if name != "_shared"}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Before the trial's process is told to begin."""
        shared, diff = self._shared
        experiment = trial_experiment(self._experiment, trial.config)
        record = {
            "trial": trial.trial_id,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "params": dict(trial.config),
            "experiment": experiment.model_dump(mode="json"),
            "seed": experiment.seed,
            **shared,
        }
        provenance.write_record(trial_folder(self._storage, trial.trial_id), record, diff=diff)

    @cached_property
    def _shared(self) -> tuple[dict[str, Any], str]:
        code, diff = provenance.read_code()
        values = {
            "sweep_seed": self._experiment.seed,
            "start_model": provenance.describe_model(self._trial_input.model),
            "data": provenance.describe_data(self._trial_input.train, self._trial_input.validation),
            "code": code,
            "lock": provenance.read_lock(self._experiment.profile),
            "versions": provenance.versions(),
            # An empty variable names no image either.
            "image": os.environ.get(provenance.IMAGE_VARIABLE) or None,
            **_read_cluster(),
        }
        return values, diff


def _read_cluster() -> dict[str, Any]:
    """Number of Ray nodes that are alive, and each one's machine, None for one that did not say."""
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    # No CPUs: a full node answers too. No retries: one that is lost stays without an answer.
    read_machine = ray.remote(num_cpus=0, max_retries=0)(provenance.read_machine)
    replies = [
        read_machine.options(
            # Not soft: elsewhere it would describe another machine.
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote()
        for node in nodes
    ]
    ready, _ = ray.wait(replies, num_returns=len(replies), timeout=_MACHINES_TIMEOUT_S)
    machines = [_machine_of(reply) if reply in ready else None for reply in replies]
    return {"num_nodes": len(nodes), "machines": machines}


def _machine_of(reply: Any) -> dict[str, Any] | None:
    try:
        machine: dict[str, Any] = ray.get(reply)
    # The node was lost while it answered.
    except ray.exceptions.RayError:
        return None
    return machine
