"""vLLM's arguments and environment, value by value, for both profiles and both uses; no vLLM."""

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from deepicd.inference.engine_config import (
    EngineConfig,
    offline_arguments,
    offline_environment,
    server_arguments,
    set_server_environment,
)
from deepicd.inference.offline import OfflineEngine
from deepicd.serving.settings import EngineSettings

MODEL = Path("/models/v1")
ARGUMENT = re.compile(
    r"\b(enable_chunked_prefill|kv_cache_memory_bytes|max_num_batched_tokens|served_model_name"
    r"|worker_extension_cls|disable_log_stats|distributed_executor_backend)\b"
)


def offline(profile: str, max_model_len: int = 320) -> dict[str, object]:
    engine = OfflineEngine.for_profile(profile, seed=7)  # type: ignore[arg-type]
    return offline_arguments(engine, model=MODEL, max_model_len=max_model_len, seed=engine.seed)


def server(profile: str, max_model_len: int = 320) -> dict[str, object]:
    engine, names = EngineSettings.for_profile(profile), ["v1", "deepicd"]
    return server_arguments(engine, model=MODEL, names=names, max_model_len=max_model_len, seed=1)


def test_the_arguments_of_evaluation_on_cpu():
    assert offline("cpu") == {
        "model": "/models/v1",
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 320,
        "tensor_parallel_size": 1,
        "seed": 7,
        "kv_cache_memory_bytes": 2**28,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": 2048,
        "worker_extension_cls": "deepicd.inference.weight_reload.SwapExtension",
        "disable_log_stats": True,
    }


def test_the_arguments_of_evaluation_on_gpu():
    assert offline("gpu") == {
        "model": "/models/v1",
        "dtype": "bfloat16",
        "enforce_eager": False,
        "max_model_len": 320,
        "tensor_parallel_size": 1,
        "seed": 7,
        "gpu_memory_utilization": 0.9,
        "worker_extension_cls": "deepicd.inference.weight_reload.SwapExtension",
        "disable_log_stats": True,
    }


SERVER = {
    "model": "/models/v1",
    "served_model_name": ["v1", "deepicd"],
    "max_model_len": 320,
    "tensor_parallel_size": 1,
    "seed": 1,
    "worker_extension_cls": "deepicd.inference.weight_reload.SwapExtension",
    "enable_log_requests": False,
    "disable_log_stats": False,
}


def test_the_arguments_of_serving_on_cpu():
    assert server("cpu") == SERVER | {
        "dtype": "float32",
        "enforce_eager": True,
        "max_num_seqs": 32,
        "kv_cache_memory_bytes": 512 << 20,
        "distributed_executor_backend": "uni",
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": 2048,
    }


def test_the_arguments_of_serving_on_gpu():
    assert server("gpu") == SERVER | {
        "dtype": "bfloat16",
        "enforce_eager": False,
        "max_num_seqs": 256,
        "gpu_memory_utilization": 0.85,
    }


@pytest.mark.parametrize("arguments", [offline, server])
@pytest.mark.parametrize(("max_model_len", "expected"), [(320, 2048), (2048, 2048), (9000, 9000)])
def test_the_cpu_engine_takes_the_longest_prompt_in_one_step(arguments, max_model_len, expected):
    assert arguments("cpu", max_model_len)["max_num_batched_tokens"] == expected


@pytest.mark.parametrize(
    ("profile", "resources"), [("cpu", (0.5, 0)), ("gpu", (1.0, 1))], ids=["cpu", "gpu"]
)
def test_both_uses_reserve_the_same_resources(profile, resources):
    engines = (OfflineEngine.for_profile(profile), EngineSettings.for_profile(profile))
    assert [(engine.num_cpus, engine.num_gpus) for engine in engines] == [resources] * 2


def test_gpus_are_those_over_which_a_model_is_split():
    assert EngineConfig(device="cuda", tensor_parallel_size=4).num_gpus == 4
    assert EngineConfig(tensor_parallel_size=4).num_gpus == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("kv_cache_bytes", 1000), ("gpu_memory_utilization", 1.5), ("tensor_parallel_size", 0)],
)
def test_a_value_that_cannot_work_is_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        EngineConfig(**{field: value})


def test_evaluation_keeps_the_engine_in_the_actors_process():
    assert offline_environment() == {
        "HF_HUB_OFFLINE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
    }


@pytest.fixture
def environment(monkeypatch) -> None:
    """This process's environment, put back after the test."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "0")
    for name in ("NO_USAGE_STATS", "DO_NOT_TRACK", "LOGGING_LEVEL", "TARGET_DEVICE"):
        monkeypatch.setenv(f"VLLM_{name}", "before")
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "before")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "40")


@pytest.mark.usefixtures("environment")
def test_a_cpu_server_has_its_worker_in_process_and_its_own_cache_size():
    set_server_environment(EngineConfig())
    assert os.environ["VLLM_TARGET_DEVICE"] == "cpu"
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert "VLLM_CPU_KVCACHE_SPACE" not in os.environ
    assert os.environ["HF_HUB_OFFLINE"] == os.environ["TRANSFORMERS_OFFLINE"] == "1"
    assert os.environ["VLLM_NO_USAGE_STATS"] == os.environ["VLLM_DO_NOT_TRACK"] == "1"


@pytest.mark.usefixtures("environment")
def test_a_gpu_server_keeps_vllms_own_processes():
    set_server_environment(EngineConfig(device="cuda"))
    assert os.environ["VLLM_TARGET_DEVICE"] == "before"
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "before"
    assert os.environ["VLLM_LOGGING_LEVEL"] == "WARNING"


def test_no_other_room_writes_the_name_of_an_engine_argument(root):
    package = root / "platform" / "deepicd"
    rooms = {
        path.relative_to(package).parts[0]
        for path in package.rglob("*.py")
        if ARGUMENT.search(path.read_text(encoding="utf-8"))
    }
    # sweeps reads verl's settings of a rollout, to estimate its memory.
    assert rooms <= {"inference", "training", "sweeps"}
