"""A trial survives the loss of the node that its GPUs are on: real verl on two raylets.

The program `node_loss.py` starts a head without GPUs and a node with one, runs a trial, takes the
node away after its first checkpoint and adds another one.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)


def test_a_trial_goes_on_from_its_checkpoint_on_another_node(tmp_path: Path) -> None:
    program = Path(__file__).with_name("node_loss.py")
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)], capture_output=True, text=True, check=False
    )
    wrote = tmp_path / "found.json"
    assert wrote.exists(), f"exit code {done.returncode}\n{done.stderr[-4000:]}"
    found = json.loads(wrote.read_text())
    assert (found["status"], found["error"]) == ("finished", None)
    assert found["lost_at"] >= 1 and found["steps"] == list(range(found["num_steps"] + 1))
    assert found["interruptions"] == 1 and "was lost" in found["interruption"]
    assert int(found["resumed_from"].rsplit("_", 1)[1]) >= found["lost_at"]
    assert any("waiting for 1 node(s) with 1 free GPUs" in stage for stage in found["stages"])
