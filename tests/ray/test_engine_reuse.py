"""A trial that reuses an engine is the same trial: equal ones, one after the other in one runner.

Four trials with seeds 7, 8, 7, 8, else with equal values (`twins`). The first starts its engine,
the others reuse it; on CPU in float32 every number that depends on the weights must be equal to the
last bit where the seed is, and so must the weights themselves.
"""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from deepicd.training.checkpoints.retention import CHECKPOINT_MODEL

pytestmark = pytest.mark.timeout(900)
STEPS = 3
EXACT = (
    *("actor/grad_norm", "actor/pg_loss", "actor/entropy", "critic/score/mean"),
    *("critic/advantages/max", "response_length/mean", "reward/reward_hierarchy/mean"),
)


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


def test_every_step_with_a_reused_engine_is_that_with_a_new_one(
    twins: list[dict[str, Any]],
) -> None:
    first, other, again, other_again = map(numbers_of, twins)
    assert len(first) == STEPS and len({tuple(row) for row in first}) == STEPS
    assert again == first and other_again == other and other != first


def test_the_trained_weights_are_equal_to_the_last_bit(twins: list[dict[str, Any]]) -> None:
    first, other, again, other_again = map(weights_of, twins)
    assert again == first and other_again == other and other != first


def test_equal_trials_have_equal_fingerprints_and_are_not_stopped(
    twins: list[dict[str, Any]],
) -> None:
    keys = [f"fingerprint/{number}" for number in range(1, STEPS + 1)]
    for number, key in enumerate(keys, 1):
        seen = [one["history"][number][key] for one in twins]
        assert seen[:2] == seen[2:] and seen[0] != seen[1]
        assert key not in twins[0]["history"][number - 1]
    assert len({twins[0]["history"][-1][key] for key in keys}) == STEPS
