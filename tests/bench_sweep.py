"""A sweep on a cluster that we do not have: our Tune side, real, over trials that only sleep.

    python tests/bench_sweep.py                            # 100 trials, 64 at once: a minute
    python tests/bench_sweep.py --trials 1000 --speed 40   # ten minutes
    python tests/bench_sweep.py --trials 20 --at-once 4 --new-processes
    python tests/bench_sweep.py --snapshot-s 2             # Tune's snapshots at a fixed period

Real: Ray, `sweeps.run.build_tuner` with its searcher, scheduler, callbacks and storage, rows as
long as real ones. Simulated: the trial, which draws durations around recorded ones
(docs/timings.md), sleeps through them `--speed` times faster, fails at a given rate, and saves
nothing. One logical node has the GPUs of all. Prints JSON; docs/scale.md says what it means.
"""

import argparse
import json
import logging
import math
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

import psutil
from ray import tune

from deepicd.config import Experiment, parse_experiment
from deepicd.paths import RunPaths
from deepicd.upstream import require_version

GPUS_PER_TRIAL = 8
NUM_STEP_METRICS, NUM_VALIDATION_METRICS = 110, 31
"""Beside those that the sweep reads: as in a row of `experiments/demo.toml`, 5.4 and 7.0 kB."""
NEW_ENGINE_S, REUSED_ENGINE_S, STEP_S, VALIDATION_S = 64.0, 3.5, 11.0, 13.0
"""Recorded (docs/timings.md): start of verl, of a trial in its processes, step, validation."""
SPREAD = 0.15
"""Standard deviation of a duration's logarithm."""


@dataclass(frozen=True)
class Pace:
    """Durations of a simulated trial, in simulated seconds, and how much faster it runs."""

    speed: float
    step_s: float
    failure_rate: float
    seed: int


def experiment_of(options: argparse.Namespace) -> Experiment:
    """The sweep that is simulated: that of `experiments/demo.toml`, larger."""
    weight = {"type": "uniform", "low": 0.0, "high": 1.0}
    return parse_experiment(
        {
            "name": "simulated",
            "seed": options.seed,
            "training": {"total_steps": options.steps, "validate_every": 5},
            "sweep": {
                "num_trials": options.trials,
                "max_concurrent": options.at_once,
                "sampler": options.sampler,
                "scheduler": options.scheduler,
                "grace_steps": 5,
                "reduction_factor": 3,
                "search": {
                    "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
                    "training.temperature": {"type": "choice", "values": [0.8, 1.0]},
                    "rewards.weights.outcome": weight,
                    "rewards.weights.hierarchy": weight,
                },
            },
        },
        "here",
    )


def pretend(params: Mapping[str, Any], *, experiment: Experiment, pace: Pace) -> None:
    """Body of a simulated trial. As in a real one a step does not wait for who reads its report:
    each is due at a time of its own.
    """
    draw = random.Random(f"{pace.seed} {sorted(params.items())}")
    total, every = experiment.training.total_steps, experiment.training.validate_every
    fails_at = draw.randint(1, total) if draw.random() < pace.failure_rate else 0
    began = due = time.time()
    start_s = REUSED_ENGINE_S if draw.random() > pace.failure_rate else NEW_ENGINE_S
    due += lasts(draw, start_s, pace)
    tune.report({"step": 0, "objective": math.nan, "sim_began": began, "sim_due": began})
    objective = math.nan
    for step in range(1, total + 1):
        is_validation = step % every == 0
        due += lasts(draw, pace.step_s + VALIDATION_S * is_validation, pace)
        time.sleep(max(0.0, due - time.time()))
        if step == fails_at:
            raise RuntimeError("a simulated failure")
        objective = score(params, step, draw) if is_validation else objective
        row = row_of(draw, objective)
        if is_validation:
            row |= validation_of(draw, objective, step)
        row |= {f"fingerprint/{n}": draw.random() for n in (1, 2, 3) if step == 3}
        tune.report({**row, "step": step, "sim_began": began, "sim_due": due})


def lasts(draw: random.Random, seconds: float, pace: Pace) -> float:
    """Real seconds of something that took `seconds` where it was recorded."""
    return seconds * draw.lognormvariate(0.0, SPREAD) / pace.speed


def row_of(draw: random.Random, objective: float) -> dict[str, Any]:
    """A report of a step, as many numbers as verl and we report."""
    metrics = {f"room/part_{i:03}/mean": draw.random() for i in range(NUM_STEP_METRICS)}
    return {**metrics, "critic/score/mean": draw.random(), "objective": objective}


def validation_of(draw: random.Random, objective: float, step: int) -> dict[str, Any]:
    """What a validation adds to a report."""
    parts = range(NUM_VALIDATION_METRICS)
    metrics = {f"val-aux/notes/part_{i:02}/mean@1": draw.random() for i in parts}
    place = {"checkpoint_path": f"simulated/global_step_{step}"}
    return {**metrics, "validation/hierarchical_f1": objective, **place}


def score(params: Mapping[str, Any], step: int, draw: random.Random) -> float:
    """A learning curve: the parameters decide how far it goes, noise does the rest."""
    distance = abs(math.log10(params["training.learning_rate"]) + 4)
    ceiling = 0.7 - 0.2 * distance - 0.1 * abs(params["rewards.weights.hierarchy"] - 0.6)
    return ceiling * (1 - math.exp(-step / 8)) + draw.gauss(0, 0.02)


@dataclass
class Clock(tune.Callback):
    """When each report was due and when it was handled."""

    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)
    row_bytes: int = 0

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of it belongs into Tune's snapshot."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
    ) -> None:
        now = time.time()
        self.began.setdefault(trial.trial_id, result["sim_began"])
        self.lags.append(now - result["sim_due"])
        self.ended[trial.trial_id] = result["sim_due"]
        if result["step"] == 1:
            self.row_bytes = len(json.dumps(result))

    def idle_s(self, num_slots: int) -> float:
        """Seconds that slots stood empty between a trial's last report and the next one's begin,
        once all slots were taken and while there were trials to start. Which slot takes which trial
        does not change the sum.
        """
        begins = sorted(self.began.values())
        pairs = zip(begins[num_slots:], sorted(self.ended.values()), strict=False)
        return sum(begin - max(end, begins[num_slots - 1]) for begin, end in pairs)


class Stopwatch:
    """Wall seconds of each call of some functions of the driver."""

    def __init__(self) -> None:
        self.calls: dict[str, list[float]] = {}

    def watch(self, owner: Any, method: str) -> None:
        """Time `owner.method` from now on."""
        call: Callable[..., Any] = getattr(owner, method)
        times = self.calls.setdefault(f"{owner.__name__}.{method}", [])

        @wraps(call)
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                times.append(time.perf_counter() - start)

        setattr(owner, method, timed)

    def summary(self) -> dict[str, dict[str, float]]:
        """Calls, their sum in seconds, and milliseconds of a call in the first and last tenth."""
        found = {}
        for name, times in sorted(self.calls.items(), key=lambda item: -sum(item[1])):
            if times:
                tenth = max(1, len(times) // 10)
                found[name] = {
                    "calls": len(times),
                    "s": round(sum(times), 2),
                    "ms_first": round(1e3 * mean(times[:tenth]), 2),
                    "ms_last": round(1e3 * mean(times[-tenth:]), 2),
                }
        return found


class Usage:
    """CPU seconds and memory of the driver, of Ray's own processes, and of those of trials."""

    def __init__(self) -> None:
        self._cpu: dict[int, tuple[str, float]] = {}
        self._peak: Counter[str] = Counter()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Usage":
        self._read()
        self._before = self.cpu_s()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._read()

    def _sample(self) -> None:
        while not self._done.wait(1.0):
            self._read()

    def _read(self) -> None:
        root, memory = psutil.Process(), Counter[str]()
        for process in [root, *root.children(recursive=True)]:
            try:
                times, used, name = process.cpu_times(), process.memory_info(), process.name()
            except psutil.Error:
                continue
            kind = "driver" if process == root else kind_of(name)
            self._cpu[process.pid] = (kind, times.user + times.system)
            memory[kind] += used.rss if kind == "driver" else used.rss - used.shared
        self._peak |= memory

    def cpu_s(self) -> Counter[str]:
        """CPU seconds by kind, ended processes included."""
        total = Counter[str]()
        for kind, seconds in self._cpu.values():
            total[kind] += seconds  # type: ignore[assignment]
        return total

    def summary(self) -> dict[str, dict[str, float]]:
        now = self.cpu_s()
        return {
            "cpu_s": {kind: round(now[kind] - self._before[kind], 1) for kind in now},
            "peak_mb": {kind: round(size / 1e6) for kind, size in self._peak.items()},
        }


def kind_of(name: str) -> str:
    """Whose a process is, by its name."""
    return "trials" if name.startswith("ray::") else "ray"


def watched() -> Stopwatch:
    """The parts of the driver that do something for each report, trial or snapshot."""
    from ray.tune.execution.tune_controller import TuneController
    from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback
    from ray.tune.schedulers import AsyncHyperBandScheduler

    from deepicd.sweeps.callbacks.cleanup import CleanUpTrial
    from deepicd.sweeps.callbacks.duplicate_trials import StopDuplicateTrials
    from deepicd.sweeps.callbacks.progress import TrialProgress
    from deepicd.sweeps.callbacks.trial_record import WriteTrialRecord
    from deepicd.sweeps.search.searcher import Searcher

    stopwatch = Stopwatch()
    for owner, *methods in (
        (TuneController, "save_to_dir", "checkpoint", "step"),
        (Searcher, "suggest", "on_trial_result", "on_trial_complete"),
        (AsyncHyperBandScheduler, "on_trial_result"),
        (TrialProgress, "on_trial_result"),
        (CleanUpTrial, "on_trial_complete"),
        (StopDuplicateTrials, "on_trial_result"),
        (WriteTrialRecord, "on_trial_start"),
        (CSVLoggerCallback, "log_trial_result"),
        (JsonLoggerCallback, "log_trial_result"),
        (TBXLoggerCallback, "log_trial_result"),
    ):
        for method in methods:
            stopwatch.watch(owner, method)
    return stopwatch


def simulate(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the sweep; every figure of it."""
    from deepicd.sweeps import run as sweeps
    from deepicd.training.process.protocol import TrialInput

    experiment = experiment_of(options)
    pace = Pace(options.speed, options.step_s, options.failure_rate, options.seed)
    sweeps.build_trainable = lambda *_, **__: tune.with_resources(
        partial(pretend, experiment=experiment, pace=pace), {"CPU": 1, "GPU": GPUS_PER_TRIAL}
    )
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # simulated failures are no news
    sweeps.configure_tune()
    paths = RunPaths(folder)
    tuner = sweeps.build_tuner(experiment, TrialInput(*[folder] * 3), storage=paths.sweep)
    if options.snapshot_s:
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = options.snapshot_s
    clock, stopwatch = Clock(), watched()
    adapt(tuner, options, clock)
    started = time.time()
    with Usage() as usage:
        results = tuner.fit()
    return {
        "options": vars(options),
        **figures(clock, options, time.time() - started),
        "failed": len(results.errors),
        **usage.summary(),
        "driver": stopwatch.summary(),
        "status_s": status_s(paths, experiment),
        "disk_mb": disk_mb(folder),
    }


def adapt(tuner: tune.Tuner, options: argparse.Namespace, clock: Clock) -> None:
    """Give the sweep's tuner a time limit and a clock, which `build_tuner` does not offer."""
    require_version("ray", "2.60.0", "the simulated sweep")
    inner = tuner._local_tuner
    inner._tune_config.reuse_actors = not options.new_processes
    inner._tune_config.time_budget_s = options.limit_s
    inner._run_config.callbacks.append(clock)


def figures(clock: Clock, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What the clock says."""
    hundredths = quantiles(clock.lags, n=100)
    idle = clock.idle_s(options.at_once)
    return {
        "seconds": round(seconds, 1),
        "trials": len(clock.began),
        "results": len(clock.lags),
        "results_per_s": round(len(clock.lags) / seconds, 1),
        "row_bytes": clock.row_bytes,
        "lag_s": {"median": round(hundredths[49], 3), "p99": round(hundredths[98], 3)},
        "idle_s_per_start": round(idle / max(1, len(clock.began) - options.at_once), 2),
        "share_idle": round(idle / (seconds * options.at_once), 4),
    }


def status_s(paths: RunPaths, experiment: Experiment) -> float:
    """Seconds that `deepicd sweep status` reads."""
    from deepicd.sweeps.results.status import budget, read_status

    start = time.perf_counter()
    budget(read_status(paths, experiment, is_alive=True), paths, experiment)
    return round(time.perf_counter() - start, 2)


def disk_mb(folder: Path) -> dict[str, float]:
    """Megabytes on disk by kind of file."""
    sizes = Counter[str]()
    for file in folder.rglob("*"):
        if file.is_file():
            sizes[file.name.split("-")[0].split(".tfevents")[0]] += file.stat().st_size
    return {name: round(size / 1e6, 2) for name, size in sizes.most_common() if size > 10_000}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=64, help="slots: 64 nodes of 8 GPUs")
    parser.add_argument("--steps", type=int, default=20, help="GRPO steps of a whole trial")
    parser.add_argument("--step-s", type=float, default=STEP_S, help="simulated seconds of a step")
    parser.add_argument("--speed", type=float, default=20.0, help="simulated seconds a second")
    parser.add_argument("--failure-rate", type=float, default=0.03, help="share of trials")
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--scheduler", default="asha")
    parser.add_argument("--snapshot-s", default="", help="period of Tune's snapshots; empty: ours")
    parser.add_argument("--new-processes", action="store_true", help="one a trial, as real ones")
    parser.add_argument("--limit-s", type=float, default=660, help="real seconds at most")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    from deepicd.clusters.ray_session import library_output_to, ray_session

    options = parse()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        num_cpus, num_gpus = options.at_once, options.at_once * GPUS_PER_TRIAL
        local = {"num_cpus": num_cpus, "num_gpus": num_gpus, "object_store_memory": 200_000_000}
        with (
            library_output_to(folder / "console.log"),
            ray_session(token_file=folder / "token", **local),
        ):
            found = simulate(options, folder)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
