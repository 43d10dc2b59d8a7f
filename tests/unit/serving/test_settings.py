"""What may be chosen, and what the engine is told from it; no Ray, no vLLM."""

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from deepicd.config import Experiment, ServingConfig
from deepicd.errors import CapacityError, ConfigError, MissingError, ServingError
from deepicd.records import Limits
from deepicd.serving import (
    EngineSettings,
    ServedModel,
    ServingSettings,
    applications,
    endpoint,
)
from deepicd.serving.engine.version_checks import check_gpus, check_model, max_prompt_tokens
from deepicd.serving.engine.vllm import call_asgi, engine_arguments
from deepicd.serving.ingress.prediction_log import open_log
from deepicd.serving.protocol import Head


def write_model(folder: Path, context: int = 2048) -> ServedModel:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    (folder / "tokenizer.json").write_text("{}")
    return ServedModel(path=folder, version="v0001")


def test_limits_come_from_the_experiment():
    experiment = Experiment.model_validate(
        {"profile": "gpu", "data": {"max_prompt_tokens": 100}, "serving": {"port": 8123}}
    )
    settings = ServingSettings.of_experiment(experiment)
    assert settings.limits == Limits(100, 1024)
    assert settings.config.port == 8123 and settings.engine.device == "cuda"
    moved = ServingSettings.of_experiment(experiment, host="::1", port=9000).config
    assert (moved.host, moved.port) == ("::1", 9000)
    with pytest.raises(ValidationError, match="less than or equal to 65535"):
        ServingSettings.of_experiment(experiment, port=99999)


def test_settings_survive_the_way_to_a_replica(tmp_path):
    settings = ServingSettings(limits=Limits(100, 32, "filter"), log=tmp_path, registry="s3://x/y")
    assert ServingSettings.model_validate(settings.model_dump(mode="json")) == settings
    with pytest.raises(ValidationError, match="at least 1 token"):
        ServingSettings(limits=Limits(0, 32))


@pytest.mark.parametrize("context", [64, 4096])
def test_the_cpu_engine_takes_every_prompt_whole(tmp_path, context):
    """A seeded request whose prompt is cut in pieces kills it."""
    settings = ServingSettings(limits=Limits(3000, 32))
    arguments = engine_arguments(write_model(tmp_path, context), settings)
    assert arguments["enable_chunked_prefill"] is False
    assert arguments["max_num_batched_tokens"] >= max(2048, arguments["max_model_len"])


def test_profiles_differ_in_values_only():
    cpu, gpu = EngineSettings.for_profile("cpu"), EngineSettings.for_profile("gpu")
    assert (cpu.num_gpus, cpu.dtype, cpu.enforce_eager) == (0, "float32", True)
    assert (gpu.num_gpus, gpu.dtype, gpu.enforce_eager) == (1, "bfloat16", False)


def test_engine_arguments_follow_the_profile(tmp_path):
    model = write_model(tmp_path)
    cpu = engine_arguments(model, ServingSettings(limits=Limits(256, 64)))
    assert cpu["served_model_name"] == ["v0001", "deepicd"] and cpu["max_model_len"] == 320
    assert cpu["kv_cache_memory_bytes"] == 512 << 20 and not cpu["enable_log_requests"]
    settings = ServingSettings(engine=EngineSettings.for_profile("gpu"))
    gpu = engine_arguments(model, settings)
    assert gpu["gpu_memory_utilization"] == 0.85 and "kv_cache_memory_bytes" not in gpu
    assert gpu["max_model_len"] == 2048 and "enable_chunked_prefill" not in gpu


@pytest.mark.parametrize(("context", "expected"), [(4096, 256), (300, 236)])
def test_the_longest_prompt_leaves_room_for_an_answer(tmp_path, context, expected):
    settings = ServingSettings(limits=Limits(256, 64))
    assert max_prompt_tokens(write_model(tmp_path, context), settings) == expected


def test_a_context_without_room_for_an_answer_is_refused(tmp_path):
    settings = ServingSettings(limits=Limits(256, 64))
    with pytest.raises(ConfigError, match="context of 64 tokens"):
        max_prompt_tokens(write_model(tmp_path, 64), settings)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"no config\.json"):
        check_model(ServedModel(path=tmp_path, version="v9"))


def test_more_gpus_than_there_are_is_refused():
    with pytest.raises(CapacityError, match="needs 2 GPUs"):
        check_gpus(EngineSettings(device="cuda", tensor_parallel_size=2), 1)


@pytest.fixture
def no_tokens(monkeypatch):
    for name in applications.TOKEN_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_loopback_needs_no_token(no_tokens, host):
    assert applications.read_tokens(ServingSettings(config=ServingConfig(host=host))) == {}


def test_any_other_interface_needs_one(no_tokens, monkeypatch):
    with pytest.raises(ConfigError, match="DEEPICD_TOKEN is not set"):
        applications.read_tokens(ServingSettings(config=ServingConfig(host="0.0.0.0")))
    monkeypatch.setenv("DEEPICD_TOKEN", "abc")
    (hashed,) = applications.read_tokens(ServingSettings(config=ServingConfig(host="0.0.0.0")))
    assert "abc" not in hashed


def test_narrower_tokens_need_one_that_may_do_everything_and_differ_from_it(no_tokens, monkeypatch):
    monkeypatch.setenv("DEEPICD_LABEL_TOKEN", "abc")
    with pytest.raises(ConfigError, match="a token is set, and DEEPICD_TOKEN is not set"):
        applications.read_tokens(ServingSettings())
    monkeypatch.setenv("DEEPICD_TOKEN", "abc")
    with pytest.raises(ConfigError, match="hold one token"):
        applications.read_tokens(ServingSettings())
    monkeypatch.setenv("DEEPICD_TOKEN", "xyz")
    assert set(applications.read_tokens(ServingSettings()).values()) == {"admin", "label"}


def test_a_taken_port_is_refused_before_anything_starts():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = ServingSettings(config=ServingConfig(port=taken.getsockname()[1]))
        with pytest.raises(ServingError, match="choose another port"):
            endpoint.check_port(settings)


def test_the_log_is_that_of_the_settings_with_their_window(tmp_path):
    settings = ServingSettings(config=ServingConfig(window=7), log=tmp_path / "monitor")
    log = open_log(settings)
    assert log is not None and (log.path, log.window) == (tmp_path / "monitor", 7)
    assert open_log(ServingSettings()) is None


def test_importing_the_room_is_light():
    code = "import deepicd.serving, sys; print({'ray', 'vllm', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def asgi_scope(path: str) -> dict:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": b"", "headers": [], "client": None, "server": None,
    }  # fmt: skip


def test_a_forwarded_stream_arrives_piece_by_piece_and_stops_when_it_is_dropped():
    produced: list[int] = []

    async def numbers(request):
        body = await request.body()

        async def stream():
            for number in range(100):
                produced.append(number)
                yield f"{body.decode()}{number} ".encode()
                await asyncio.sleep(0)

        return StreamingResponse(stream(), 201, media_type="text/plain")

    app = Starlette(routes=[Route("/n", numbers, methods=["POST"])])

    async def take(count: int) -> list:
        pieces = call_asgi(app, asgi_scope("/n"), b"x")
        found = [await anext(pieces) for _ in range(count)]
        await pieces.aclose()
        await asyncio.sleep(0.01)
        return found

    head, *rest = asyncio.run(take(3))
    assert isinstance(head, Head) and head.status == 201
    assert rest == [b"x0 ", b"x1 "] and len(produced) < 100


def test_an_application_that_breaks_is_not_swallowed():
    async def broken(scope, receive, send):
        raise KeyError("bug")

    async def run() -> None:
        async for _ in call_asgi(broken, asgi_scope("/"), b""):
            pass

    with pytest.raises(KeyError, match="bug"):
        asyncio.run(run())


def test_weights_are_held_against_the_versions_manifest(tmp_path):
    from deepicd.checkpoints import write_manifest
    from deepicd.serving.engine.version_checks import check_same_shape, check_weights

    one, other = write_model(tmp_path / "a"), write_model(tmp_path / "b")
    check_same_shape(one.path, other.path)
    check_weights(one.path, {"model.safetensors": "0" * 64})  # no manifest: taken as it is
    (one.path / "model.txt").write_text("weights")
    manifest = write_manifest(one.path)
    check_weights(one.path, {"model.txt": manifest["files"]["model.txt"]["sha256"]})
    for read in ({"model.txt": "0" * 64}, {"other.safetensors": "0" * 64}, {}):
        with pytest.raises(ServingError, match="is not what its manifest says"):
            check_weights(one.path, read)
    wider = write_model(tmp_path / "c", 4096)
    with pytest.raises(ServingError, match="is another one"):
        check_same_shape(one.path, wider.path)


def test_vllms_own_series_are_copied_and_nothing_else():
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    from deepicd.serving.metrics import read_vllm_samples

    registry = CollectorRegistry()
    Gauge("vllm:num_requests_running", "", ["engine"], registry=registry).labels("0").set(3)
    Counter("vllm:generation_tokens", "", registry=registry).inc(7)
    Histogram("vllm:e2e_seconds", "", registry=registry).observe(2.0)
    Gauge("python_info", "", registry=registry).set(1)
    found = {one.metric: (one.labels, one.value) for one in read_vllm_samples(registry.collect())}
    assert found == {
        "vllm_num_requests_running": ({"engine": "0"}, 3.0),
        "vllm_generation_tokens_total": ({}, 7.0),
        "vllm_e2e_seconds_count": ({}, 1.0),
        "vllm_e2e_seconds_sum": ({}, 2.0),
    }


def test_the_declared_configuration_is_serves_own_and_points_at_its_engine(tmp_path):
    from ray.serve.schema import ServeDeploySchema

    from deepicd.serving.applications import declare

    found = declare(write_model(tmp_path / "m"), ServingSettings(config=ServingConfig(port=8123)))
    schema = ServeDeploySchema.model_validate(found)
    engine, gateway = schema.applications
    assert gateway.deployments[0].user_config["champion"]["app"] == engine.name
    assert json.loads(json.dumps(found)) == found and found["http_options"]["port"] == 8123
