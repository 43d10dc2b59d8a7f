"""Starts a Prometheus that reads a running endpoint's metrics and alerts.

In: the folder of its prediction log, in which the endpoint keeps the addresses of its metrics. Out:
a Prometheus on loopback until it is told to stop. Decided here: it is the one of the machine, or
the one that `make prometheus` unpacked; nothing is downloaded; its configuration is written anew at
each start.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

import yaml

from deepicd.errors import MissingError, MonitoringError
from deepicd.files import refuse_existing

_log = logging.getLogger(__name__)

SERVICE_DISCOVERY_FILE = "metrics-targets.json"
"""Beside the prediction log; `serving.service_discovery` writes it."""
_JOB = "deepicd"
# Where `make prometheus` puts it: beside the Python of this environment.
_UNPACKED = Path(sys.executable).parent


def run_prometheus(
    log: Path, storage: Path, *, port: int, period_s: int, may_replace: bool = False
) -> None:
    """Run Prometheus until it ends; SIGTERM and Ctrl-C reach it as well.

    Raises:
        ConfigError: `storage` holds a configuration of another Prometheus, which may not be
            replaced.
        MissingError: no Prometheus, or no endpoint keeps its addresses in that folder.
        MonitoringError: it ended by itself, for example because the port is taken.
    """
    program = find_prometheus()
    endpoints = log / SERVICE_DISCOVERY_FILE
    if not endpoints.is_file():
        raise MissingError(
            f"no endpoint keeps its addresses in {endpoints}. Start one first (deepicd serve), or "
            "name the folder of its prediction log with --log."
        )
    storage.mkdir(parents=True, exist_ok=True)
    with as_file(files("deepicd").joinpath("data/monitor/alerts.yml")) as alerts:
        file = storage / "prometheus.yml"
        if not _is_ours(file):
            refuse_existing([file], may_replace=may_replace, option="--storage")
        file.write_text(write_config(endpoints.resolve(), alerts, period_s=period_s))
        command = [
            *(program, f"--config.file={file}", f"--storage.tsdb.path={storage / 'series'}"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
        ]
        _log.info(f"Prometheus at http://127.0.0.1:{port} reads {endpoints} (Ctrl-C ends it)")
        code = _run(command)
    # Below 0: ended by a signal, as it is meant to end.
    if code not in (0, -signal.SIGINT, -signal.SIGTERM):
        raise MonitoringError(
            f"Prometheus ended with {code}; what it wrote above says why. Is port {port} taken? "
            "Choose another with --port."
        )


def find_prometheus() -> str:
    """Path of the program. Raises MissingError without one."""
    program = shutil.which("prometheus", path=f"{os.environ.get('PATH', '')}:{_UNPACKED}")
    if program is None:
        raise MissingError(
            "no prometheus on this machine. Install Debian's (apt-get install prometheus), or "
            "unpack it here (make prometheus)."
        )
    return program


def write_config(endpoints: Path, alerts: Path, *, period_s: int) -> str:
    """Prometheus' configuration as YAML."""
    period = f"{period_s}s"
    endpoint_files = [{"files": [str(endpoints)], "refresh_interval": period}]
    config = {
        "global": {"scrape_interval": period, "evaluation_interval": period},
        "rule_files": [str(alerts)],
        "scrape_configs": [{"job_name": _JOB, "file_sd_configs": endpoint_files}],
    }
    return str(yaml.safe_dump(config, sort_keys=False))


def _is_ours(file: Path) -> bool:
    """Whether an earlier start wrote that configuration; such a one is written anew."""
    return file.is_file() and f"job_name: {_JOB}" in file.read_text(errors="replace")


def _run(command: list[str]) -> int:
    """Run in the foreground; a signal to us ends it, and it is waited for."""
    process = subprocess.Popen(command)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:
        # Ctrl-C in a terminal reaches Prometheus too; a SIGINT to this process alone does not.
        process.terminate()
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        # Another exception came: it must not outlive this process.
        if process.poll() is None:
            process.kill()
