"""Ray Tune's own loop with our searcher and rule, and a trainable that only counts: a conditional
space, two objectives, early stops, an interruption and a resume.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from deepicd.config import Experiment, parse_experiment
from deepicd.records import Trial

NUM_TRIALS, NUM_BEFORE, STEPS = 7, 3, 4
TABLE = {
    "name": "counted",
    "training": {"total_steps": STEPS, "validate_every": 2},
    "sweep": {
        "num_trials": NUM_TRIALS,
        "grace_steps": 2,
        "objectives": ["hierarchical_f1", "gpu_hours"],
        "search": {
            "training.learning_rate": {"type": "uniform", "low": 0.1, "high": 0.9},
            "training.use_kl_in_reward": {"type": "choice", "values": [False, True]},
            "training.kl_coef": {
                "type": "uniform",
                "low": 0.0,
                "high": 0.1,
                "when": {"training.use_kl_in_reward": True},
            },
        },
    },
}


@dataclass
class Looped:
    """What the loop left."""

    experiment: Experiment
    trials: list[Trial]
    """As they were proposed and told to the study."""
    others: dict[str, Trial]
    """Trials that were not."""
    storage: Path


def counting(storage: Path) -> Callable[[dict[str, Any]], None]:
    """A trainable whose score is its learning rate, and nothing once the sweep goes on."""

    def count(params: dict[str, Any]) -> None:
        from ray import tune

        is_later = (storage / "goes_on").exists()
        score = 0.0 if is_later else params["training.learning_rate"]
        row: dict[str, Any] = {"objective": float("nan"), "cost/gpu_hours": 0.0}
        for step in range(STEPS + 1):
            row = {"objective": row["objective"], "cost/gpu_hours": step / 10, "step": step}
            if step and step % 2 == 0:
                row |= {"objective": score, "validation/hierarchical_f1": score}
                row["checkpoint_path"] = "counted"
            tune.report(row)

    return count


class InterruptAtStart(logging.Handler):
    """Ctrl-C as the line comes that trial `number` starts."""

    def __init__(self, number: int) -> None:
        super().__init__(logging.INFO)
        self._number = number

    def emit(self, record: logging.LogRecord) -> None:
        if f"({self._number} so far)" in record.getMessage():
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def looped(tmp_path_factory: pytest.TempPathFactory) -> Looped:
    from ray import tune

    from deepicd.clusters.ray_session import ray_session
    from deepicd.sweeps import run
    from deepicd.sweeps.results.trials import read_trials
    from deepicd.training.process.protocol import TrialInput

    storage, experiment = tmp_path_factory.mktemp("loop"), parse_experiment(TABLE, "here")
    trial_input = TrialInput(storage, storage, storage)
    logger = logging.getLogger("deepicd")
    logger.setLevel(logging.INFO)
    cluster = {"num_cpus": 2, "num_gpus": 1, "include_dashboard": False, "log_to_driver": False}
    with pytest.MonkeyPatch.context() as patch:
        trainable = tune.with_resources(counting(storage), {"CPU": 1})
        patch.setattr(run, "build_trainable", lambda *_, **__: trainable)
        patch.setattr(run, "_SNAPSHOT_S", "0")
        run.configure_tune()
        with ray_session(token_file=storage / "token", **cluster):
            patch.setattr(logger, "handlers", [InterruptAtStart(NUM_BEFORE + 1)])
            with pytest.raises(KeyboardInterrupt):
                run.build_tuner(experiment, trial_input, storage=storage).fit()
        (storage / "goes_on").touch()
        logger.handlers.clear()
        with ray_session(token_file=storage / "token", **cluster):
            results = run.restore_tuner(experiment, trial_input, storage=storage).fit()
    found = {trial.id: trial for trial in read_trials(results, experiment)}
    return Looped(experiment, [found.pop(name) for name in told_in(storage)], found, storage)


def study_in(storage: Path) -> optuna.Study:
    journal = JournalStorage(JournalFileBackend(str(storage / "optuna.log")))
    return optuna.load_study(study_name="counted", storage=journal)


def told_in(storage: Path) -> list[str]:
    told = [trial for trial in study_in(storage).trials if trial.state.name == "COMPLETE"]
    return [trial.user_attrs["trial"] for trial in told]


def test_no_trial_is_lost_or_doubled(looped: Looped) -> None:
    assert len({trial.id for trial in looped.trials}) == len(looped.trials) == NUM_TRIALS
    assert looped.others == {}


def test_the_rule_compares_with_trials_from_before_the_interruption(looped: Looped) -> None:
    first, *others = looped.trials
    assert (first.status, first.steps) == ("finished", STEPS), "nothing to compare with yet"
    later = others[NUM_BEFORE - 1 :]
    assert [(trial.status, trial.steps) for trial in later] == [("stopped", 2)] * len(later)


def test_parameters_are_there_only_where_their_condition_holds(looped: Looped) -> None:
    for trial in looped.trials:
        has_kl = trial.params["training.use_kl_in_reward"]
        assert ("training.kl_coef" in trial.params) == has_kl
    assert len({len(trial.params) for trial in looped.trials}) == 2


def test_the_study_holds_both_objectives_of_every_trial(looped: Looped) -> None:
    from deepicd.sweeps.results.pareto import pareto_front

    study = study_in(looped.storage)
    told = {trial.user_attrs["trial"]: trial.values for trial in study.trials if trial.values}
    assert told == {trial.id: list(trial.objectives.values()) for trial in looped.trials}
    front = {trial.user_attrs["trial"] for trial in study.best_trials}
    assert front == pareto_front(looped.trials, looped.experiment.sweep.pursued)


def test_the_same_results_give_the_same_proposals(looped: Looped, tmp_path: Path) -> None:
    from deepicd.sweeps.search.searcher import Searcher

    searcher = Searcher(looped.experiment, storage=tmp_path)
    for trial in looped.trials:
        assert searcher.suggest(trial.id) == trial.params
        searcher.tell(trial.id, dict(trial.objectives))
