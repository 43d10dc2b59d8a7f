"""A cluster that loses the node its only trial trains on; a program of `test_node_loss.py`.

    python node_loss.py FOLDER

Writes what became of the trial to `FOLDER/found.json`, before the cluster is taken down: Ray's
teardown of a cluster inside one process may end that process with its output unwritten.
"""

import json
import logging
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import ray
from omegaconf import OmegaConf
from ray.cluster_utils import Cluster

from deepicd.clusters.ray_session import EMBEDDED_ENV
from deepicd.config import Experiment, parse_experiment
from deepicd.notes.build import build_notes
from deepicd.notes.split_files import read_split
from deepicd.paths import RunPaths
from deepicd.sweeps.results.trials import read_history
from deepicd.sweeps.run import run_sweep
from deepicd.training.process.protocol import TrialInput
from deepicd.training.start_model import build_model

# So many that a quick trial has not ended before a busy machine sees its first checkpoint.
STEPS = 8
GPU_NODE = {"num_cpus": 4, "num_gpus": 1, "object_store_memory": 10**8}
TABLE = {
    "name": "loss",
    "data": {"num_notes": 400, "max_prompt_tokens": 300, "num_validation": 16, "num_codes": 12},
    "model": {"vocab_size": 600, "hidden_size": 64, "num_layers": 1, "num_heads": 2},
    "training": {
        "train_batch_size": 8,
        "ppo_mini_batch_size": 8,
        "ppo_micro_batch_size_per_gpu": 16,
        "rollout_n": 2,
        "max_response_tokens": 16,
        "total_steps": STEPS,
        "validate_every": 1,
    },
    "sweep": {
        "num_trials": 1,
        "scheduler": "none",
        "search": {"training.learning_rate": {"type": "choice", "values": [1e-4]}},
    },
}


def main(root: Path) -> None:
    """Run the sweep while `lose_node` takes its node away."""
    experiment, paths = parse_experiment(TABLE, "here"), RunPaths(root)
    given = build_inputs(experiment, paths)
    head = {"num_cpus": 4, "object_store_memory": 3 * 10**8, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(**GPU_NODE)
    cluster.wait_for_nodes()
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    seen: dict[str, Any] = {"stages": []}
    sweep = partial(run_sweep, experiment, given, storage=paths.sweep)
    with ThreadPoolExecutor(1) as pool:  # Ray starts nodes from the main thread only
        running = pool.submit(sweep)
        lose_node(cluster, node, paths, seen, running=running)
        (trial,) = running.result().trials
    history = read_history(paths.tune / trial.id)
    composed = OmegaConf.load(paths.sweep / "trials" / trial.id / "verl.yaml")
    last = history[-1]
    found = {
        **seen,
        "status": trial.status,
        "error": trial.error,
        "num_steps": STEPS,
        "steps": [row["step"] for row in history],
        "interruptions": last.get("interruptions"),
        "interruption": last.get("interruption"),
        "resumed_from": composed.trainer.resume_from_path,
    }
    (root / "found.json").write_text(json.dumps(found))
    ray.shutdown()
    cluster.shutdown()


def build_inputs(experiment: Experiment, paths: RunPaths) -> TrialInput:
    """Notes and an untrained model."""
    build_notes(experiment.data, tables=paths.tables, out=paths.notes)
    texts = [note.text for note in read_split(paths.split("train"))]
    build_model(experiment.model, texts, paths.model, seed=1)
    return TrialInput(paths.model, paths.split("train"), paths.split("validation"))


def lose_node(
    cluster: Any, node: Any, paths: RunPaths, seen: dict[str, Any], *, running: Future[Any]
) -> None:
    """Kill the node after the first checkpoint; add another when the trial has asked for room."""
    while not running.done() and not saved_steps(paths):
        time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)
    seen["lost_at"] = max(saved_steps(paths), default=0)
    while not running.done() and not any("waiting for" in stage for stage in seen["stages"]):
        for file in paths.sweep.glob("trials/*/stage.json"):
            seen["stages"] += [json.loads(file.read_text() or '{"stage": ""}')["stage"]]
        time.sleep(0.2)
    cluster.add_node(**GPU_NODE)


def saved_steps(paths: RunPaths) -> list[int]:
    """Steps whose checkpoints were reported."""
    folders = [file.parent for file in paths.tune.glob("*/result.json")]
    rows = [row for folder in folders for row in read_history(folder)]
    return [int(row["step"]) for row in rows if row.get("checkpoint_path")]


if __name__ == "__main__":
    import os

    os.environ.update(EMBEDDED_ENV)
    main(Path(sys.argv[1]))
