"""Ray Tune's own loop with caps and a trainable that only takes time: trials are ended while they
run, they count with what they have, and the sweep goes on.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deepicd.config import Experiment, parse_experiment
from deepicd.records import Trial

STEPS, STEP_S, AT_ONCE = 40, 0.2, 2
TABLE = {
    "training": {"total_steps": STEPS, "validate_every": 1},
    "sweep": {
        "num_trials": 4,
        "max_concurrent": AT_ONCE,
        "scheduler": "none",
        "compare_fingerprints": False,
        "search": {"training.learning_rate": {"type": "uniform", "low": 0.1, "high": 0.9}},
    },
}


def capped(**sweep: float) -> Experiment:
    return parse_experiment({**TABLE, "sweep": {**TABLE["sweep"], **sweep}}, "here")


def counting() -> Callable[[dict[str, Any]], None]:
    """A trial that is validated, and saves, at each step."""

    def count(params: dict[str, Any]) -> None:
        from ray import tune

        for step in range(1, STEPS + 1):
            time.sleep(STEP_S)
            score = params["training.learning_rate"]
            row = {"step": step, "objective": score, "validation/hierarchical_f1": score}
            tune.report({**row, "checkpoint_path": "counted"})

    return count


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from ray import tune

    from deepicd.clusters.ray_session import ray_session
    from deepicd.sweeps import run

    root = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch:
        trainable = tune.with_resources(counting(), {"CPU": 1})
        patch.setattr(run, "build_trainable", lambda *_, **__: trainable)
        run.configure_tune()
        with ray_session(token_file=root / "token", num_cpus=2, num_gpus=AT_ONCE):
            yield


def sweep(experiment: Experiment, storage: Path, *, elsewhere: float = 0.0) -> list[Trial]:
    from deepicd.sweeps import run
    from deepicd.sweeps.results.trials import read_trials
    from deepicd.sweeps.search.caps import write_caps
    from deepicd.training.process.protocol import TrialInput

    write_caps(storage, experiment, elsewhere=elsewhere)
    trial_input = TrialInput(storage, storage, storage)
    results = run.build_tuner(experiment, trial_input, storage=storage).fit()
    return read_trials(results, experiment)


def test_every_trial_ends_at_its_cap_and_the_sweep_goes_on(
    cluster: None, tmp_path: Path, log_lines: list[str]
) -> None:
    from deepicd.sweeps.results.decision import decide

    experiment = capped(max_trial_gpu_hours=1.0 / 3600)
    trials = sweep(experiment, tmp_path)
    assert [trial.status for trial in trials] == ["stopped"] * 4
    assert all("for a trial (sweep.max_trial_gpu_hours)" in trial.reason for trial in trials)
    # After a second: about five steps of forty.
    assert all(1 <= trial.steps < STEPS for trial in trials)
    assert all(trial.checkpoint is not None for trial in trials), "what it has so far counts"
    assert decide(trials, experiment, sweep=tmp_path).winner in {trial.id for trial in trials}
    assert sum("ends after step" in line for line in log_lines) == 4


def test_running_trials_are_cut_when_the_whole_reaches_its_cap(
    cluster: None, tmp_path: Path
) -> None:
    trials = sweep(capped(max_gpu_hours=4.0 / 3600), tmp_path, elsewhere=1.0 / 3600)
    cut = [trial for trial in trials if "for the run" in trial.reason]
    assert {trial.status for trial in cut} == {"stopped"} and len(cut) == AT_ONCE
    assert len(trials) == AT_ONCE, "no further trial starts"
