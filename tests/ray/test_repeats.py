"""Seeds and confirmations through Ray Tune's own loop, killed twice on the way and resumed.

Run as a script, this file is the sweep (`python test_repeats.py run|resume FOLDER`), with a
trainable that takes no time to learn: a configuration is worth its learning rate, and fresh seeds
are worth less, so that a scheduler would stop them.
"""

import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from deepicd.config import parse_experiment
from deepicd.paths import RunPaths
from deepicd.records import Trial
from deepicd.sweeps.results.decision import decide
from deepicd.sweeps.results.ranking import is_fresh
from deepicd.sweeps.results.status import started_trials, unfinished_trial

STEPS = 4
EXPERIMENT = parse_experiment(
    {
        "name": "repeats",
        "seed": 5,
        "training": {"total_steps": STEPS, "validate_every": 1},
        "sweep": {
            "num_trials": 3,
            "num_seeds": 2,
            "confirm_top": 1,
            "confirm_seeds": 2,
            "grace_steps": 2,
            "search": {"training.learning_rate": {"type": "uniform", "low": 0.1, "high": 0.9}},
        },
    },
    "here",
)
pytestmark = pytest.mark.timeout(900)
SWEEP = EXPERIMENT.sweep
RATE = "training.learning_rate"


def learn(params: dict[str, Any]) -> None:
    """Reports as a real trial's."""
    from ray import tune

    luck = {5: 0.05, 6: 0.0, 7: -0.05, 8: -0.06}[params["seed"]]
    for step in range(STEPS + 1):
        time.sleep(0.1)
        score = (params["training.learning_rate"] + luck) * step / STEPS
        tune.report(
            {
                "step": step,
                "objective": score,
                "validation/hierarchical_f1": score,
                "checkpoint_path": f"kept/global_step_{step}",
            }
        )


def main(verb: str, root: Path) -> None:
    """Run the sweep, or go on with it."""
    from ray import tune

    from deepicd.clusters.ray_session import ray_session
    from deepicd.sweeps import run
    from deepicd.training.process.protocol import TrialInput

    run.configure_tune()
    run.build_trainable = lambda *_, **__: tune.with_resources(learn, {"CPU": 1})
    trial_input = TrialInput(root, root, root)
    with ray_session(
        token_file=root / "token", num_cpus=2, object_store_memory=10**8, include_dashboard=False
    ):
        build = run.restore_tuner if verb == "resume" else run.build_tuner
        build(EXPERIMENT, trial_input, storage=root / "sweep").fit()


def start(verb: str, root: Path) -> subprocess.Popen[bytes]:
    with (root / "log").open("ab") as log:
        command = [sys.executable, __file__, verb, str(root)]
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def kill_when(verb: str, root: Path, is_time: Callable[[], bool]) -> None:
    """Start the driver, and kill it with -9 once it has come so far."""
    process = start(verb, root)
    deadline = time.monotonic() + 300
    try:
        while not is_time():
            is_late = process.poll() is not None or time.monotonic() > deadline
            assert not is_late, (root / "log").read_text()[-3000:]
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def read(root: Path) -> list[Trial]:
    """Trials on disk, in the order they were started."""
    folders = started_trials(RunPaths(root).tune)
    trials = [unfinished_trial(folder, EXPERIMENT) for folder in folders]
    return sorted(trials, key=lambda trial: (is_fresh(trial.params, EXPERIMENT), trial.id))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep that was killed among the proposed trials, again among the confirmations, and then
    came to its end."""
    root = tmp_path_factory.mktemp("repeats")
    kill_when("run", root, lambda: len(read(root)) >= 3)
    kill_when("resume", root, lambda: len(read(root)) >= 7)
    assert start("resume", root).wait(timeout=300) == 0, (root / "log").read_text()[-3000:]
    return root


def test_every_seed_of_every_configuration_ran_once(root: Path) -> None:
    runs = Counter((trial.params[RATE], trial.params["seed"]) for trial in read(root))
    assert set(runs.values()) == {1} and len(runs) == SWEEP.total_trials == 8
    seeds = defaultdict(set)
    for rate, seed in runs:
        seeds[rate].add(seed)
    best = sorted(seeds, reverse=True)[:1]
    assert {rate: seeds[rate] for rate in best} == {rate: {5, 6, 7, 8} for rate in best}
    assert [found for rate, found in seeds.items() if rate not in best] == [{5, 6}] * 2


def test_a_confirmation_is_never_stopped(root: Path) -> None:
    fresh = [trial for trial in read(root) if is_fresh(trial.params, EXPERIMENT)]
    assert [trial.steps for trial in fresh] == [STEPS] * 2


def test_the_study_knows_configurations_and_their_means(root: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(root / "sweep" / "optuna.log")))
    study = optuna.load_study(study_name="repeats", storage=storage)
    told = {trial.params[RATE]: trial.value for trial in study.trials if trial.value is not None}
    proposed = [trial for trial in read(root) if not is_fresh(trial.params, EXPERIMENT)]
    last = defaultdict(list)
    for trial in proposed:
        last[trial.params[RATE]].append(trial.validation["hierarchical_f1"])
    assert told == pytest.approx({rate: fmean(scores) for rate, scores in last.items()})


def test_the_winner_is_named_by_fresh_seeds(root: Path) -> None:
    decision = decide(read(root), EXPERIMENT, sweep=root / "sweep")
    first, second, _ = decision.configurations
    assert decision.is_confirmed and decision.winner in first.trials and not second.is_confirmed
    assert set(first.seeds) == {7, 8}
    assert first.mean == pytest.approx(first.params[RATE] - 0.055)
    assert first.proposed_mean > first.mean


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
