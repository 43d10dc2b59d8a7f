"""A sweep's folder that not every node sees is refused before anything is written there."""

import subprocess
import sys
from pathlib import Path


def test_a_path_that_a_node_does_not_see_is_refused_by_name(tmp_path):
    program = Path(__file__).with_name("unshared_path.py")
    command = [sys.executable, program, tmp_path]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=300)
    shared, unshared, left = done.stdout.splitlines()[-3:]
    assert shared == "seen" and left == "[]"
    assert unshared.startswith("node ") and "does not see /proc/self/cwd; every node" in unshared
