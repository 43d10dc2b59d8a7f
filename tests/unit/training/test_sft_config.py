"""The micro-batch of SFT: the largest that divides a GPU's share of the batch."""

import pytest

from deepicd.config import parse_experiment
from deepicd.errors import ConfigError
from deepicd.training.sft.config import _micro_batch


def experiment(limit: int):
    batches = {"ppo_micro_batch_size_per_gpu": limit, "ppo_mini_batch_size": 8, "rollout_n": 6}
    return parse_experiment({"training": {**batches, "train_batch_size": 8}}, "here")


@pytest.mark.parametrize(
    ("batch", "gpus", "limit", "size"),
    [(16, 1, 16, 16), (16, 1, 12, 8), (12, 2, 4, 3), (14, 2, 4, 1), (8, 8, 16, 1), (24, 2, 6, 6)],
)
def test_the_micro_batch_divides_a_gpus_share_and_stays_within_the_limit(batch, gpus, limit, size):
    assert _micro_batch(batch, gpus, experiment(limit)) == size


@pytest.mark.parametrize(("batch", "gpus"), [(10, 4), (2, 4)])
def test_a_batch_that_gpus_cannot_share_is_refused_with_both_numbers(batch, gpus):
    words = rf"sft\.batch_size \({batch}\) must be a multiple of the number of GPUs \({gpus}\)"
    with pytest.raises(ConfigError, match=words):
        _micro_batch(batch, gpus, experiment(4))
