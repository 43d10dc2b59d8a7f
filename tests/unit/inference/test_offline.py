"""What vLLM says of memory is told apart from what it says of a model."""

import pytest

from deepicd.inference.offline import _is_about_memory


@pytest.mark.parametrize(
    "cause",
    [
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
        "ValueError: Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than desired "
        "GPU memory utilization (0.9, 71.2 GiB).",
        "ValueError: No available memory for the cache blocks. Try increasing it.",
    ],
)
def test_too_little_memory_is_not_taken_for_a_bad_model(cause):
    assert _is_about_memory(cause)


@pytest.mark.parametrize(
    "cause", ["KeyError: 'model.layers.0.mlp'", "ValueError: head size 24 is not supported"]
)
def test_a_bad_model_is_not_taken_for_too_little_memory(cause):
    assert not _is_about_memory(cause)
