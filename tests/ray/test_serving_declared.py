"""The declarative configuration: `serve deploy` accepts it on a Ray that is not ours; it serves."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from deepicd.promotion.registry import Registry

NOTE = "CHIEF COMPLAINT: chest pain on effort.\nPRESENT ILLNESS: two weeks, worse on stairs."


@pytest.fixture
def registry(tmp_path: Path, build_served) -> Registry:
    made = Registry(tmp_path / "run" / "registry")
    model = build_served(tmp_path / "model", [NOTE], seed=1)
    made.promote(made.register(model.path, lineage={}).name, reason="test")
    return made


@pytest.fixture
def cluster(tmp_path_factory, find_port) -> Iterator[dict[str, str]]:
    """Environment by which commands reach a Ray with a dashboard, started as an operator does."""
    ports = {
        name: find_port() for name in ("port", "dashboard-port", "dashboard-agent-listen-port")
    }
    folder = tmp_path_factory.mktemp("ray")
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    }
    command = [
        *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
        *("--num-cpus", "4", "--node-ip-address", "127.0.0.1", "--temp-dir", str(folder)),
        *(f"--{name}={port}" for name, port in ports.items()),
    ]
    log = (folder / "start.log").open("wb")
    process = subprocess.Popen(
        command, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    url = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        wait_for(f"{url}/api/version", process, environment["RAY_AUTH_TOKEN"])
        yield {**environment, "RAY_DASHBOARD_ADDRESS": url}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        log.close()


def wait_for(url: str, process: subprocess.Popen[bytes], token: str) -> None:
    deadline = time.monotonic() + 120
    headers = {"authorization": f"Bearer {token}"}
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, headers=headers, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"no dashboard at {url}; exit {process.poll()}")


def serve(environment: dict[str, str], *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("serve")), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_serve_deploy_accepts_what_deepicd_serve_prints(
    registry: Registry, cluster: dict[str, str], find_port, tmp_path: Path
) -> None:
    port = find_port()
    command = [sys.executable, "-m", "deepicd", "serve", "--print-config", "--port", str(port)]
    printed = subprocess.run(
        [*command, "--registry", str(registry.root)], capture_output=True, text=True, check=True
    ).stdout
    file = tmp_path / "serve.yaml"
    file.write_text(printed)
    declared = yaml.safe_load(printed)
    ServeDeploySchema.model_validate(declared)
    serve(cluster, "deploy", str(file))
    deadline, body = time.monotonic() + 240, {}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
        while time.monotonic() < deadline and "model_version" not in body:
            try:
                reply = http.post("/v1/diagnoses", json={"note": NOTE})
            except httpx.TransportError:
                continue
            finally:
                time.sleep(0.5)
            body = reply.json() if reply.is_success else {}
        assert body.get("model_version") == "v0001", serve(cluster, "status")
        assert http.get("/v1/monitor").json()["status"] == "on"
    status = yaml.safe_load(serve(cluster, "status"))
    assert {app["status"] for app in status["applications"].values()} == {"RUNNING"}
    serve(cluster, "shutdown", "-y")
