"""A trial goes on with another number of ranks: same weights and moments, same next step."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Differences to an unbroken run, by direction; see `reshard_ranks.py`."""
    folder = tmp_path_factory.mktemp("ranks")
    program = Path(__file__).with_name("reshard_ranks.py")
    done = subprocess.run(
        [sys.executable, program, folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return answer


@pytest.mark.parametrize("direction", ["2 to 1", "1 to 2"])
def test_an_actor_goes_on_with_another_number_of_ranks(found, direction):
    at_checkpoint, one_update_later = found[direction]
    assert at_checkpoint == 0.0
    assert one_update_later < 1e-6 < 1e-3 < found["moved"]


def test_it_says_which_ranks_it_goes_on_with(found):
    assert [line.split(":")[0] for line in found["said"]] == [
        "goes on with 1 ranks from global_step_2 of 2",
        "goes on with 2 ranks from global_step_2 of 1",
    ]
