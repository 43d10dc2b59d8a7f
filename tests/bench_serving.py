"""The endpoint beside bare `vllm serve`: same model, same flags, same client, in one run.

    python tests/bench_serving.py [--repeats 5] [--concurrency 1 8 32] [--requests 64]

Both are started first and are up together; each repeat asks one, then the other, at each number of
requests at a time. Requests are chat completions of the official route with a fixed number of
generated tokens. Prints JSON: seconds until the first good answer of each, medians of tokens per
second and of the median latency, their ratio (ours / theirs), the milliseconds that we add, and
the seconds of a change of version: to a new engine, back to one that was kept, and in place.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deepicd import serving
from deepicd.config import ModelConfig, ServingConfig
from deepicd.prompts import render_messages
from deepicd.records import Limits
from deepicd.serving import EngineSettings, ServedModel, ServingSettings, capacity
from deepicd.serving.engine.vllm import engine_arguments
from deepicd.training.start_model import build_model

NOTE = (
    "CHIEF COMPLAINT: chest pain on effort.\nPRESENT ILLNESS: two weeks, worse on stairs, relieved "
    "by rest. Diabetes, hypertension, smoker. No fever.\n"
) * 4
NUM_TOKENS = 48
PROMPT, ANSWER = 512, 256


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def bare(model: ServedModel, settings: ServingSettings, log: Path) -> Iterator[str]:
    """`vllm serve` with the engine's own flags; its address."""
    engine = settings.engine
    flags = engine_arguments(model, settings)
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", "127.0.0.1", "--port", str(settings.config.port), "--model", str(model.path)),
        *("--served-model-name", "deepicd", "--dtype", engine.dtype, "--enforce-eager"),
        *("--max-model-len", str(flags["max_model_len"])),
        *("--max-num-seqs", str(engine.max_num_seqs)),
        *("--max-num-batched-tokens", str(flags["max_num_batched_tokens"])),
        *("--kv-cache-memory-bytes", str(engine.kv_cache_bytes), "--no-enable-chunked-prefill"),
        *("--disable-uvicorn-access-log", "--seed", str(settings.seed)),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_TARGET_DEVICE": "cpu"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    url = f"http://127.0.0.1:{settings.config.port}"
    try:
        wait_for(f"{url}/health", process, log)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None:
        try:
            if httpx.get(url, timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"vllm ended: {log.read_text()[-2000:]}")


async def ask(http: httpx.AsyncClient, gate: asyncio.Semaphore) -> float:
    """Seconds of one request."""
    body = {
        "model": "deepicd", "messages": render_messages(NOTE), "max_tokens": NUM_TOKENS,
        "temperature": 0, "ignore_eos": True,
    }  # fmt: skip
    async with gate:
        begun = time.perf_counter()
        reply = await http.post("/v1/chat/completions", json=body)
        reply.raise_for_status()
        assert reply.json()["usage"]["completion_tokens"] == NUM_TOKENS
        return time.perf_counter() - begun


async def load(url: str, *, concurrency: int, num_requests: int) -> tuple[float, float]:
    """Generated tokens per second, and the median latency in seconds."""
    limits = httpx.Limits(max_connections=concurrency)
    gate = asyncio.Semaphore(concurrency)
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False, limits=limits) as http:
        begun = time.perf_counter()
        seconds = await asyncio.gather(*(ask(http, gate) for _ in range(num_requests)))
        whole = time.perf_counter() - begun
    return num_requests * NUM_TOKENS / whole, statistics.median(seconds)


def compare(urls: dict[str, str], options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians by concurrency."""
    found: dict[str, dict[str, float]] = {}
    for concurrency in options.concurrency:
        num = max(8, min(options.requests, 8 * concurrency))
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in urls}
        for url in urls.values():  # warm up
            asyncio.run(load(url, concurrency=concurrency, num_requests=concurrency))
        for _ in range(options.repeats):
            for name, url in urls.items():
                seen[name].append(asyncio.run(load(url, concurrency=concurrency, num_requests=num)))
        rates, latencies = (
            {name: statistics.median(pair[i] for pair in pairs) for name, pairs in seen.items()}
            for i in (0, 1)
        )
        found[f"concurrency {concurrency}"] = {
            "ours_tokens_per_s": round(rates["ours"], 1),
            "theirs_tokens_per_s": round(rates["theirs"], 1),
            "ratio_tokens_per_s": round(rates["ours"] / rates["theirs"], 3),
            "ours_p50_ms": round(1e3 * latencies["ours"], 1),
            "theirs_p50_ms": round(1e3 * latencies["theirs"], 1),
            "added_p50_ms": round(1e3 * (latencies["ours"] - latencies["theirs"]), 1),
        }
    return found


def time_changes(endpoint: serving.Endpoint, first: ServedModel, other: ServedModel) -> object:
    """Seconds of a change to a new engine, back to the one that was kept, and in place."""
    begun = time.perf_counter()
    endpoint.deploy(other)
    changed = time.perf_counter()
    endpoint.deploy(first)
    back = time.perf_counter()
    capacity.free_bytes = lambda: 0
    endpoint.deploy(other)  # its engine is still there: ended, then its weights come in place
    endpoint.deploy(first)
    swapped = time.perf_counter()
    endpoint.deploy(other)
    in_place = time.perf_counter() - swapped
    return {
        "new_engine": round(changed - begun, 1),
        "kept_engine": round(back - changed, 1),
        "in_place": round(in_place, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deepicd-bench-") as place:
        folder = Path(place)
        for name in ("m1", "m2"):
            build_model(ModelConfig(), [NOTE], folder / name, seed=1)
        first, other = (ServedModel(path=folder / n, version=n) for n in ("m1", "m2"))
        settings = ServingSettings(
            config=ServingConfig(port=find_port(), max_concurrent=64, num_samples=0),
            limits=Limits(PROMPT, ANSWER), engine=EngineSettings(kv_cache_bytes=256 << 20),
        )  # fmt: skip
        begun = time.perf_counter()
        with serving.start(first, settings) as endpoint:
            ours_s = time.perf_counter() - begun
            begun = time.perf_counter()
            config = settings.config.model_copy(update={"port": find_port()})
            plain = settings.model_copy(update={"config": config})
            with bare(first, plain, folder / "vllm.log") as url:
                theirs_s = time.perf_counter() - begun
                found = compare({"ours": endpoint.url, "theirs": url}, options)
            changes = time_changes(endpoint, first, other)
    start = {"ours": round(ours_s, 1), "theirs": round(theirs_s, 1)}
    print(json.dumps({"start_s": start, "change_s": changes, **found}, indent=2))


if __name__ == "__main__":
    main()
