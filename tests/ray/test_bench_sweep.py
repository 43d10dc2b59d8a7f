"""The simulated sweep of `tests/bench_sweep.py`, at its smallest."""

import json
import subprocess
import sys
from pathlib import Path


def test_a_simulated_sweep_reports_every_step_and_writes_nothing_twice(root: Path) -> None:
    options = "--trials 3 --at-once 1 --steps 10 --speed 100 --scheduler none --failure-rate 0"
    command = [sys.executable, root / "tests" / "bench_sweep.py", *options.split()]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=300)
    found = json.loads(done.stdout)
    assert (found["results"], found["failed"]) == (3 * 11, 0)
    assert found["driver"]["WriteTrialRecord.on_trial_start"]["calls"] == 3
    assert not {"events.out", "progress.csv"} & set(found["disk_mb"])
