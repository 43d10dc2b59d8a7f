"""A warm trial is the same trial: equal ones, one after the other in one slot.

Four trials with seeds 7, 8, 7, 8, else with equal values. The first starts cold, the others in the
first one's processes; on CPU in float32 every number that depends on the weights must be equal to
the last bit where the seed is, and so must the weights themselves.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepicd.config import Experiment, parse_experiment
from deepicd.training.checkpoints.retention import CHECKPOINT_MODEL

pytestmark = pytest.mark.timeout(900)
STEPS = 3
TABLE = {
    "name": "twins",
    "seed": 7,
    "data": {"num_notes": 400, "max_prompt_tokens": 300, "num_validation": 16, "num_codes": 12},
    "model": {"vocab_size": 600, "hidden_size": 64, "num_layers": 2, "num_heads": 2},
    "training": {
        "train_batch_size": 8,
        "ppo_mini_batch_size": 4,
        "ppo_micro_batch_size_per_gpu": 8,
        "rollout_n": 4,
        "temperature": 1.0,
        "max_response_tokens": 24,
        "entropy_coeff": 0.01,  # random weights earn no reward, and learn all the same
        "total_steps": STEPS,
        "validate_every": STEPS,
    },
    "rewards": {"preset": "default"},
    "sweep": {
        "num_trials": 2,
        "num_seeds": 2,
        "scheduler": "none",
        "search": {"training.learning_rate": {"type": "choice", "values": [1e-3]}},
    },
}
EXACT = (
    *("actor/grad_norm", "actor/pg_loss", "actor/entropy", "critic/score/mean"),
    *("critic/advantages/max", "response_length/mean", "reward/reward_hierarchy/mean"),
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """Seed, history and last checkpoint of each trial."""
    from deepicd.clusters.ray_session import run_session

    root = tmp_path_factory.mktemp("warm")
    experiment = parse_experiment(TABLE, "here")
    with run_session(experiment, root):
        yield run(experiment, root)


def run(experiment: Experiment, root: Path) -> list[dict[str, Any]]:
    from deepicd.notes.build import build_notes
    from deepicd.notes.split_files import read_split
    from deepicd.paths import RunPaths
    from deepicd.sweeps.results.trials import read_histories
    from deepicd.sweeps.run import run_sweep
    from deepicd.training.grpo.trial import TrialInput
    from deepicd.training.start_model import build_model

    paths = RunPaths(root)
    build_notes(experiment.data, tables=paths.tables, out=paths.notes, seed=1)
    build_model(
        experiment.model,
        [note.text for note in read_split(paths.split("train"))],
        paths.model,
        seed=1,
    )
    given = TrialInput(paths.model, paths.split("train"), paths.split("validation"))
    trials = run_sweep(experiment, given, storage=paths.sweep, say=lambda line: None)
    histories = read_histories(paths.tune)
    return [
        {
            "seed": trial.params["seed"],
            "history": histories[trial.id],
            "checkpoint": trial.checkpoint,
            "error": trial.error,
        }
        for trial in trials
    ]


def numbers_of(one: dict[str, Any]) -> list[list[float]]:
    """What depends on the weights, step by step."""
    return [[row[name] for name in EXACT] for row in one["history"] if row["step"] > 0]


def weights_of(one: dict[str, Any]) -> str:
    """Digest of the trained weights."""
    (file,) = (Path(one["checkpoint"].path) / CHECKPOINT_MODEL).glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_later_trials_start_in_the_processes_of_the_first(twins: list[dict[str, Any]]) -> None:
    assert [(one["seed"], one["error"]) for one in twins] == [(seed, None) for seed in (7, 8) * 2]
    last = [one["history"][-1] for one in twins]
    assert [row["start/reused_engine"] for row in last] == [0.0, 1.0, 1.0, 1.0]


def test_every_step_of_a_warm_trial_equals_the_cold_ones(twins: list[dict[str, Any]]) -> None:
    cold, other, again, other_again = map(numbers_of, twins)
    assert len(cold) == STEPS and len({tuple(row) for row in cold}) == STEPS
    assert again == cold and other_again == other and other != cold


def test_the_trained_weights_are_equal_to_the_last_bit(twins: list[dict[str, Any]]) -> None:
    cold, other, again, other_again = map(weights_of, twins)
    assert again == cold and other_again == other and other != cold


def test_equal_trials_have_equal_fingerprints_and_are_not_stopped(
    twins: list[dict[str, Any]],
) -> None:
    keys = [f"fingerprint/{number}" for number in range(1, STEPS + 1)]
    for number, key in enumerate(keys, 1):
        seen = [one["history"][number][key] for one in twins]
        assert seen[:2] == seen[2:] and seen[0] != seen[1]
        assert key not in twins[0]["history"][number - 1]
    assert len({twins[0]["history"][-1][key] for key in keys}) == STEPS
