"""SIGTERM, as `deepicd sweep stop` and every scheduler of clusters sends it."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from deepicd.clusters.ray_session import ray_session
from deepicd.pipeline.folder.lock import on_sigterm

with on_sigterm(), ray_session(num_cpus=1, object_store_memory=10**8):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    finally:
        Path(sys.argv[1]).write_text("ended")
"""


def test_sigterm_runs_what_ends_a_command_though_ray_is_up(tmp_path: Path) -> None:
    end = tmp_path / "end"
    command = [sys.executable, "-c", PROGRAM, str(end)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 143, done.stderr[-2000:]
    assert end.read_text() == "ended"
