"""Prometheus' service discovery: the addresses of Ray's metrics ports, in a file.

In: the Ray that this process is connected to. Out: a file in the format of Prometheus'
`file_sd_configs`. Decided here: the file is written again and again, because nodes come and go and
a Ray without its dashboard keeps no such list; a reader never sees half of it.
"""

import json
import logging
import threading
from pathlib import Path

from deepicd.errors import describe_failure
from deepicd.files import write_atomically

_log = logging.getLogger(__name__)

PERIOD_S = 10.0
"""Seconds between two writes."""


def keep_service_discovery(file: Path, *, stopped: threading.Event) -> None:
    """Write the file now and every few seconds, until `stopped` is set; then remove it."""
    complaint = ""
    while True:
        try:
            _write_service_discovery(file)
            complaint = ""
        except Exception as error:
            if (line := describe_failure(error)) != complaint:
                _log.warning(f"{file} is not being written: {line}")
            complaint = line
        if stopped.wait(PERIOD_S):
            file.unlink(missing_ok=True)
            return


def _write_service_discovery(file: Path) -> None:
    """Write the file once."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    endpoints = sorted(f"{n['NodeManagerAddress']}:{n['MetricsExportPort']}" for n in alive)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps([{"targets": endpoints, "labels": {"job": "deepicd"}}]))
