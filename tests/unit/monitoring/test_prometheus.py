"""`deepicd monitor stack`: Debian's Prometheus reads what an endpoint publishes."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner, Result

from deepicd import cli
from deepicd.errors import ConfigError, MissingError
from deepicd.monitoring import prometheus


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["monitor", "stack", *arguments])


def test_without_a_prometheus_or_an_endpoint_the_way_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(prometheus, "_UNPACKED", tmp_path)
    with pytest.raises(MissingError, match="apt-get install prometheus"):
        prometheus.run_prometheus(tmp_path, tmp_path, port=1, period_s=1)
    program = tmp_path / "prometheus"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.raises(MissingError, match="deepicd serve"):
        prometheus.run_prometheus(tmp_path, tmp_path, port=1, period_s=1)


def test_a_configuration_of_another_prometheus_is_replaced_with_yes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "prometheus"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    (tmp_path / prometheus.SERVICE_DISCOVERY_FILE).write_text("[]")
    file = tmp_path / "storage" / "prometheus.yml"
    arguments = ["--log", str(tmp_path), "--storage", str(file.parent)]
    assert run(*arguments).exception is None
    ours = file.read_text()
    assert run(*arguments).exception is None  # what an earlier start wrote
    file.write_text("scrape_configs: []\n")
    refused = run(*arguments).exception
    assert isinstance(refused, ConfigError) and str(file) in str(refused)
    assert "give --yes" in str(refused) and file.read_text() == "scrape_configs: []\n"
    assert run(*arguments, "--yes").exception is None and file.read_text() == ours


def test_the_configuration_reads_the_file_of_the_endpoints_addresses(tmp_path: Path) -> None:
    assert prometheus.SERVICE_DISCOVERY_FILE == "metrics-targets.json"  # users name it
    file = tmp_path / prometheus.SERVICE_DISCOVERY_FILE
    config = yaml.safe_load(prometheus.write_config(file, tmp_path / "alerts.yml", period_s=7))
    (job,) = config["scrape_configs"]
    assert job["file_sd_configs"] == [{"files": [str(file)], "refresh_interval": "7s"}]
    assert config["rule_files"] == [str(tmp_path / "alerts.yml")]


class Metrics(BaseHTTPRequestHandler):
    """What Ray's metrics port shows."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"ray_deepicd_monitor_blind 1\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Path]:
    server = HTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    address = f"127.0.0.1:{server.server_port}"
    (tmp_path / prometheus.SERVICE_DISCOVERY_FILE).write_text(json.dumps([{"targets": [address]}]))
    yield tmp_path
    server.shutdown()
    server.server_close()


def test_prometheus_reads_the_endpoint_until_it_is_told_to_stop(published: Path) -> None:
    try:
        prometheus.find_prometheus()
    except MissingError:
        pytest.skip("no prometheus here; `make prometheus` fetches it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "deepicd", "monitor", "stack", "--every", "1"]
    process = subprocess.Popen([*command, "--log", str(published), "--port", str(port)])
    try:
        assert ask(port, "ray_deepicd_monitor_blind") == "1"
        rules = httpx.get(f"http://127.0.0.1:{port}/api/v1/rules", trust_env=False).json()
        names = {rule["name"] for group in rules["data"]["groups"] for rule in group["rules"]}
        assert "DeepicdMonitorBlind" in names
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def ask(port: int, query: str) -> str:
    """Value of a series, as soon as Prometheus has it."""
    deadline = time.monotonic() + 60
    url = f"http://127.0.0.1:{port}/api/v1/query"
    while time.monotonic() < deadline:
        try:
            found = httpx.get(url, params={"query": query}, trust_env=False).json()
        except (httpx.TransportError, ValueError):
            found = {}
        if found.get("data", {}).get("result"):
            return str(found["data"]["result"][0]["value"][1])
        time.sleep(0.3)
    raise AssertionError(f"{query} never came")
