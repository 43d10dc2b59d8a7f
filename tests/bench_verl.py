"""A sweep beside verl's own command line: the same trials with the same settings, in one run.

    python tests/bench_verl.py [--trials 8] [--steps 4]

First the trials as one sweep of ours, then each by `python -m verl.trainer.main_ppo` with the
configuration that the sweep's trial ran with, but verl's own trainer (`trainer_mode: sync`). Prints
JSON: seconds of both, the ratio (ours / verl's, below 1 is faster), and seconds of a step as the
median time between the ends of two steps that do not validate, with the overhead over verl's.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from deepicd.config import Experiment, parse_experiment
from deepicd.paths import RunPaths
from deepicd.training.process.protocol import TrialInput

NUM_GPUS = 1
TABLE: dict[str, Any] = {
    "name": "beside-verl",
    "data": {"num_notes": 1200, "max_prompt_tokens": 192, "num_validation": 64},
    "model": {"vocab_size": 1024, "hidden_size": 128, "num_layers": 2, "num_heads": 4},
    "training": {
        "train_batch_size": 16,
        "ppo_mini_batch_size": 16,
        "ppo_micro_batch_size_per_gpu": 64,
        "rollout_n": 4,
        "temperature": 1.0,
        "max_response_tokens": 48,
    },
    "sweep": {
        "scheduler": "none",
        "search": {
            "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
            "rewards.weights.hierarchy": {"type": "uniform", "low": 0.0, "high": 1.0},
        },
    },
}


def main() -> None:
    """Time both and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(RunPaths(Path(name)), given.trials, given.steps), indent=2))


def measure(paths: RunPaths, num_trials: int, num_steps: int) -> dict[str, Any]:
    """Seconds of the sweep and of verl's runs, and of their steps."""
    table = json.loads(json.dumps(TABLE))
    table["training"] |= {"total_steps": num_steps, "validate_every": num_steps}
    table["sweep"]["num_trials"] = num_trials
    experiment = parse_experiment(table, "here")
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # a process joins one Ray only
        inputs = apart.submit(build_inputs, experiment, paths).result()
    ours, our_steps, folders = run_sweep(experiment, inputs, paths)
    runs = [run_verl(experiment, folder / "verl.yaml", paths.root / "verl") for folder in folders]
    theirs, their_steps = [seconds for seconds, _ in runs], [steps for _, steps in runs]
    step, verl_step = median_step(our_steps), median_step(their_steps)
    return {
        "trials": num_trials,
        "steps": num_steps,
        "sweep_s": round(ours, 1),
        "verl_s": round(sum(theirs), 1),
        "sweep_per_verl": round(ours / sum(theirs), 3),
        "verl_runs_s": [round(seconds, 1) for seconds in theirs],
        "step_s": round(step, 3),
        "verl_step_s": round(verl_step, 3),
        "step_overhead": round(step / verl_step - 1, 4),
    }


def build_inputs(experiment: Experiment, paths: RunPaths) -> TrialInput:
    """Notes and an untrained model, which both begin with."""
    from deepicd.notes.build import build_notes
    from deepicd.notes.split_files import read_split
    from deepicd.training.start_model import build_model

    build_notes(experiment.data, tables=paths.tables, out=paths.notes)
    texts = [note.text for note in read_split(paths.split("train"))]
    build_model(experiment.model, texts, paths.model, seed=1)
    return TrialInput(paths.model, paths.split("train"), paths.split("validation"))


def run_sweep(
    experiment: Experiment, inputs: TrialInput, paths: RunPaths
) -> tuple[float, list[dict[int, float]], list[Path]]:
    """Seconds of our sweep with Ray's start, when each step ended, and the trials' folders."""
    from deepicd.clusters.ray_session import library_output_to, run_session
    from deepicd.sweeps.run import run_sweep as sweep

    trials = paths.sweep / "trials"
    began, ends, done = time.monotonic(), Ends(trials), threading.Event()
    watcher = threading.Thread(target=ends.watch, args=("*/verl.log", done), daemon=True)
    watcher.start()
    with library_output_to(paths.console), run_session(experiment, paths.root):
        trials_run = sweep(experiment, inputs, storage=paths.sweep).trials
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    assert {trial.status for trial in trials_run} == {"finished"}, trials_run
    return seconds, list(ends.steps.values()), [trials / trial.id for trial in trials_run]


def run_verl(experiment: Experiment, composed: Path, out: Path) -> tuple[float, dict[int, float]]:
    """Seconds of one run of verl's command line, and when each of its steps ended."""
    from deepicd.training.verl_settings import worker_env

    folder = out / composed.parent.name
    folder.mkdir(parents=True)
    config = OmegaConf.load(composed)
    config.trainer.v1.trainer_mode = "sync"
    config.trainer.default_local_dir = str(folder)
    config.ray_kwargs.ray_init.num_cpus = 10
    config.ray_kwargs.ray_init["num_gpus"] = NUM_GPUS
    OmegaConf.save(config, folder / "run.yaml")
    ends, done = Ends(folder), threading.Event()
    watcher = threading.Thread(target=ends.watch, args=("run.log", done), daemon=True)
    watcher.start()
    hydra = [f"--config-path={folder}", "--config-name=run", "hydra.output_subdir=null"]
    began = time.monotonic()
    with (folder / "run.log").open("w") as log:
        subprocess.run(
            [sys.executable, "-m", "verl.trainer.main_ppo", *hydra, "hydra.run.dir=."],
            cwd=folder,
            env={**os.environ, **worker_env(experiment), "RAY_DEDUP_LOGS": "0"},
            stdout=log,
            stderr=log,
            check=True,
        )
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    (steps,) = ends.steps.values()
    assert len(steps) == experiment.training.total_steps
    return seconds, steps


class Ends:
    """When each step of a log ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.steps: dict[Path, dict[int, float]] = {}

    def watch(self, pattern: str, done: threading.Event) -> None:
        """Look for `step:N` in the logs until told to end."""
        while not done.wait(0.02):
            for log in self._folder.glob(pattern):
                self._look(log)

    def _look(self, log: Path) -> None:
        text = log.read_text(errors="replace")
        seen = self.steps.setdefault(log, {})
        for piece in text.split("step:")[1:]:
            number = piece.split(" ", 1)[0]
            if number.isdigit():
                seen.setdefault(int(number), time.monotonic())


def median_step(runs: list[dict[int, float]]) -> float:
    """Median seconds from one step's end to the next one's; the last step validates and is left
    out.
    """
    return statistics.median(gap for run in runs for gap in gaps(run))


def gaps(run: Mapping[int, float]) -> list[float]:
    """Seconds between the ends of steps that follow one another."""
    return [run[step + 1] - run[step] for step in sorted(run)[:-2]]


if __name__ == "__main__":
    main()
