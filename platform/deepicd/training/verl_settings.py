"""What both of verl's trainers share: defaults as installed, precision, environment, platform."""

import contextlib
import copy
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from omegaconf import DictConfig

from deepicd.clusters.ray_session import SLEEPING_THREADS
from deepicd.config import Experiment
from deepicd.training.verl_plugin.platform_choice import PLATFORM_VARIABLE

Settings = dict[str, Any]
"""Dotted verl key → value."""

EXTERNAL = "deepicd.training.grpo.registrations"

FP32 = {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}

BF16 = {"param_dtype": "bf16", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}


def worker_env(experiment: Experiment) -> dict[str, str]:
    """Environment of every process of a verl run; never holds a value that we sweep."""
    # verl's own entry sets these but for the offline hub and usage; it is not used here.
    env = {
        "HF_HUB_OFFLINE": "1",
        "NCCL_DEBUG": "WARN",
        "TOKENIZERS_PARALLELISM": "true",
        "TRANSFER_QUEUE_ENABLE": "1",
        "VLLM_DISABLE_COMPILE_CACHE": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if experiment.profile == "cpu":
        # Trials and ranks share the cores; torch would give each process all of them.
        at_once = experiment.training.num_gpus * max(1, experiment.sweep.max_concurrent)
        num_threads = max(1, (os.cpu_count() or 1) // at_once)
        env |= {
            PLATFORM_VARIABLE: "cpu",
            "OMP_NUM_THREADS": str(num_threads),
            **SLEEPING_THREADS,
            # At its first answer vLLM compiles what ranks log-probabilities, in C++: ten seconds of
            # every start, and no answer is another.
            "TORCH_COMPILE_DISABLE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # else vLLM replaces the uni executor
        }
    return env


@contextlib.contextmanager
def platform_of(experiment: Experiment) -> Iterator[None]:
    """Tell verl the platform before it is imported; it looks once a process."""
    if experiment.profile == "cpu":
        os.environ.setdefault(PLATFORM_VARIABLE, "cpu")
    yield


def compose(name: str) -> DictConfig:
    """verl's own defaults, as installed; the caller may change them."""
    return copy.deepcopy(_defaults(name))


@cache
def _defaults(name: str) -> DictConfig:
    # Hydra reads some thirty files each time, which takes ten times as long as a copy.
    import hydra

    with hydra.initialize_config_module("verl.trainer.config", version_base=None):
        return hydra.compose(name)
