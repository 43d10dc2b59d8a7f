"""Where Prometheus finds the endpoint's metrics: addresses of Ray's metrics ports, in a file.

In: the Ray that this process is connected to. Out: a file of Prometheus' file-based service
discovery. Decided here: it is written again and again, because nodes come and go and a Ray without
its dashboard keeps no such list; a reader never sees half of one.
"""

import json
import threading
from pathlib import Path

from deepicd.files import write_atomically

TARGETS = "metrics-targets.json"
PERIOD_S = 10.0


def keep_targets(file: Path, *, stopped: threading.Event) -> None:
    """Write the file now and every few seconds, until `stopped` is set; then remove it."""
    while True:
        write_targets(file)
        if stopped.wait(PERIOD_S):
            file.unlink(missing_ok=True)
            return


def write_targets(file: Path) -> None:
    """Write the file once."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    addresses = sorted(f"{n['NodeManagerAddress']}:{n['MetricsExportPort']}" for n in alive)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps([{"targets": addresses, "labels": {"job": "deepicd"}}]))
