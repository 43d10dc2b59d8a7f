"""`deepicd serve` as a stranger runs it: a registry, a promotion while it runs, SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pyarrow.parquet as pq
from processes import wait_until_gone

from deepicd.config import ModelConfig
from deepicd.promotion.registry import Registry
from deepicd.training.start_model import build_model


def register(registry: Registry, folder: Path, *, seed: int) -> str:
    config = ModelConfig(vocab_size=400, hidden_size=64, num_layers=2, num_heads=2)
    build_model(config, ["Chest pain on effort, two weeks."], folder, seed=seed)
    return registry.register(folder, lineage={"seed": seed}).name


def wait_for_version(http: httpx.Client, name: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 400
    seen = "nothing"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            seen = http.get("/healthz").text
        except httpx.TransportError:
            seen = "no connection"
        if f'"{name}"' in seen:
            return
        time.sleep(0.5)
    raise AssertionError(f"{name} does not answer; last seen: {seen}; exit {process.poll()}")


def read_metrics(targets: Path) -> str:
    """What Prometheus would read, once the gateway's gauges are among it."""
    deadline, text = time.monotonic() + 90, ""
    while time.monotonic() < deadline and "ray_deepicd_" not in text:
        ((address,),) = [row["targets"] for row in json.loads(targets.read_text())]
        text = httpx.get(f"http://{address}/metrics", trust_env=False).text
        time.sleep(0.5)
    return text


def test_the_champion_is_served_followed_and_gone_after_sigterm(find_port, tmp_path):
    registry = Registry(tmp_path / "run" / "registry")
    first, second = (register(registry, tmp_path / f"m{seed}", seed=seed) for seed in (1, 2))
    registry.promote(first, reason="test")
    port = find_port()
    command = [sys.executable, "-m", "deepicd", "serve", "--registry", str(registry.root)]
    log = tmp_path / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--port", str(port)], stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
            wait_for_version(http, first, process)
            registry.promote(second, reason="test")
            wait_for_version(http, second, process)
            reply = http.post("/v1/diagnoses", json={"note": "Chest pain."}).json()
            assert reply["model_version"] == second
        targets = tmp_path / "run" / "monitor" / "metrics-targets.json"
        assert "ray_deepicd_monitor_blind" in read_metrics(targets)
        note = tmp_path / "note.txt"
        note.write_text("Chest pain.")
        query = [sys.executable, "-m", "deepicd", "query", str(note), "--json", "--url", url]
        done = subprocess.run(query, capture_output=True, text=True, check=True)
        assert f'"model_version": "{second}"' in done.stdout
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 0, log.read_text()
        assert not wait_until_gone(children)
        assert (tmp_path / "run" / "monitor" / "predictions.sqlite").is_file()
        assert f"{second} answers at {url}" in log.read_text()
        assert not targets.exists()
        kept = pq.read_table(tmp_path / "run" / "monitor" / "parquet" / "predictions.parquet")
        assert {second} <= set(kept.column("version").to_pylist())
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(timeout=120)
