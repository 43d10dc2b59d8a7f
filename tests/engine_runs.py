"""Runs of `engine_on_one_rank.py`: verl's engine in a process of its own."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("engine_on_one_rank.py")


def run_engine(model: Path, *, device: str = "cpu", **options: Any) -> dict[str, Any]:
    """What the script prints; RuntimeError with the end of its errors where it fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    env |= {"MASTER_PORT": port, "VERL_PLATFORM": device, "HF_HUB_OFFLINE": "1"}
    if device == "cpu":
        env["TORCH_COMPILE_DISABLE"] = "1"
    done = subprocess.run(
        [sys.executable, str(_SCRIPT), str(model), json.dumps(options)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
