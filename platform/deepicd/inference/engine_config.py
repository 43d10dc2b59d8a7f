"""vLLM's engine arguments and environment, for evaluation and for serving, in one place.

In: an `EngineConfig`, a model, its limits. Out: keyword arguments for `vllm.LLM` (evaluation) and
for vLLM's asynchronous engine (serving), and the environment variables that vLLM reads. Decided
here: the CPU and the GPU profile differ in values of `EngineConfig` only; on CPU a prompt is never
cut in pieces (`_engine_arguments` says why). Here alone vLLM's arguments are made. Other packages
hold names that are the same: serving's settings call two of their fields as vLLM does
(`max_num_seqs`, `gpu_memory_utilization`), and training and the plan's estimate of memory write
verl's keys, which verl hands to vLLM (`training/grpo/config.py`, `sweeps/planning/memory.py`).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from deepicd.clusters.ray_session import SLEEPING_THREADS
from deepicd.config import MAX_WHOLE, StrictModel

_WORKER_EXTENSION = "deepicd.inference.weight_reload.SwapExtension"
"""Gives vLLM's worker the method `swap_weights`."""
_MIN_BATCHED_TOKENS = 2048
"""Prompt tokens that the CPU engine takes in one step, at least."""


class EngineConfig(StrictModel):
    """One vLLM engine, and the resources of the process that holds it."""

    max_number: ClassVar[int] = MAX_WHOLE  # bytes of memory

    device: Literal["cpu", "cuda"] = "cpu"
    """What vLLM runs on."""
    dtype: str = "float32"
    """Weights and activations; float32 on CPU (bfloat16 has no fast kernel without AVX-512)."""
    enforce_eager: bool = True
    """No compilation and no CUDA graphs: starts in seconds."""
    max_num_seqs: int | None = Field(default=None, ge=1)
    """Answers generated at the same time; None takes vLLM's own."""
    kv_cache_bytes: int | None = Field(default=256 << 20, ge=1 << 20)
    """Memory of the key-value cache; None lets vLLM take `gpu_memory_utilization`."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of the device that vLLM may take where `kv_cache_bytes` is None."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs over which one model is split."""
    num_cpus: float = Field(default=0.5, ge=0)
    """CPUs that Ray reserves for one engine; small, so that two versions fit side by side."""

    @property
    def num_gpus(self) -> int:
        """GPUs that Ray reserves for one engine."""
        return self.tensor_parallel_size if self.device == "cuda" else 0


GPU_VALUES: dict[str, Any] = {
    "device": "cuda",
    "dtype": "bfloat16",
    "enforce_eager": False,
    "kv_cache_bytes": None,
    "num_cpus": 1,
}
"""What the GPU profile changes in every `EngineConfig`."""


def offline_arguments(
    engine: EngineConfig, *, model: Path, max_model_len: int, seed: int
) -> dict[str, Any]:
    """Keyword arguments of `vllm.LLM`, which answers many prompts at once."""
    return {
        **_engine_arguments(engine, model=model, max_model_len=max_model_len, seed=seed),
        "disable_log_stats": True,
    }


def server_arguments(
    engine: EngineConfig, *, model: Path, names: Sequence[str], max_model_len: int, seed: int
) -> dict[str, Any]:
    """Keyword arguments of `AsyncEngineArgs`; `names` are those that the server's clients use."""
    arguments = {
        **_engine_arguments(engine, model=model, max_model_len=max_model_len, seed=seed),
        "served_model_name": [*names],
        "enable_log_requests": False,  # they hold notes
        "disable_log_stats": False,
    }
    if engine.device == "cpu":
        # Worker and engine in one process: weights are swapped in it (`_WORKER_EXTENSION`).
        arguments["distributed_executor_backend"] = "uni"
    return arguments


def make_async_engine(arguments: dict[str, Any]) -> tuple[Any, Any]:
    """vLLM's asynchronous engine, started, and the `AsyncEngineArgs` that it was made of."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engine_args = AsyncEngineArgs(**arguments)
    config = engine_args.create_engine_config()
    return AsyncLLM.from_vllm_config(config, enable_log_requests=False), engine_args


def _engine_arguments(
    engine: EngineConfig, *, model: Path, max_model_len: int, seed: int
) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": str(model),
        "dtype": engine.dtype,
        "enforce_eager": engine.enforce_eager,
        "max_model_len": max_model_len,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "seed": seed,
        "worker_extension_cls": _WORKER_EXTENSION,
    }
    if engine.max_num_seqs is not None:
        arguments["max_num_seqs"] = engine.max_num_seqs
    if engine.kv_cache_bytes is not None:
        arguments["kv_cache_memory_bytes"] = engine.kv_cache_bytes
    else:
        arguments["gpu_memory_utilization"] = engine.gpu_memory_utilization
    if engine.device == "cpu":
        # A seeded request whose prompt is cut in pieces kills vLLM's CPU engine ("CPU Generator
        # does not use offset"), and any client may send a seed: never cut a prompt. Without
        # chunks, a step must be able to take the longest prompt that the engine accepts.
        arguments["enable_chunked_prefill"] = False
        arguments["max_num_batched_tokens"] = max(_MIN_BATCHED_TOKENS, max_model_len)
    return arguments


_OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
_IN_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


def offline_environment() -> dict[str, str]:
    """Environment of the actor that evaluates: the engine lives in the actor's own process, so that
    one process has to end before its memory is free.
    """
    return _OFFLINE | _IN_PROCESS | SLEEPING_THREADS


def set_server_environment(engine: EngineConfig) -> None:
    """Set what vLLM reads from this process's environment; must come before its first import."""
    os.environ.update(_OFFLINE, TRANSFORMERS_OFFLINE="1", VLLM_DO_NOT_TRACK="1")
    if engine.device == "cpu":
        os.environ.update(_IN_PROCESS, VLLM_TARGET_DEVICE="cpu")
        # It would outrank `kv_cache_bytes`.
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)
