"""A cluster that a command starts for itself: it has a token, and nothing is printed about it."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys
from pathlib import Path
from deepicd.clusters.ray_session import ray_session

with ray_session(token_file=Path(sys.argv[1]), num_cpus=1, object_store_memory=10**8):
    print(os.environ["RAY_AUTH_MODE"])
"""


def test_a_cluster_has_a_token_and_a_newcomer_reads_no_warning_of_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(token)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "token\n", "")
    assert len(token.read_text()) == 64
