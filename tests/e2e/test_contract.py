"""The file of `deepicd init`, run to its end; a second sweep competes with what it left."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(1800)
SMALL = {
    "data.num_notes": 400,
    "data.num_codes": 12,
    "data.num_validation": 16,
    "model.vocab_size": 800,
    "model.hidden_size": 64,
    "model.num_layers": 1,
    "model.num_heads": 2,
    "sft.num_traces": 120,
    "sft.epochs": 1,
    "training.train_batch_size": 8,
    "training.ppo_mini_batch_size": 8,
    "training.ppo_micro_batch_size_per_gpu": 32,
    "training.max_response_tokens": 24,
    "training.total_steps": 2,
    "training.validate_every": 1,
    "sweep.num_trials": 2,
    "sweep.scheduler": "none",
    "promotion.min_patients": 5,
    "promotion.num_calibration": 16,
}


def call(folder: Path, *words: str) -> Any:
    """JSON of a command that runs in that folder."""
    command = [sys.executable, "-m", "deepicd", *words, "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_the_file_of_init_is_swept_to_a_champion_and_another_seed_competes_with_it(
    tmp_path: Path,
) -> None:
    call(tmp_path, "init", "mine.toml")
    assert call(tmp_path, "validate", "mine.toml", "--here")["faults"] == []
    changes = [part for pair in SMALL.items() for part in ("--set", "{}={}".format(*pair))]
    registry = ("--registry", "D/registry")
    sweep = ("sweep", "run", "mine.toml", "--runs", "D", *changes)
    first = call(tmp_path, *sweep, "--name", "a")
    assert [trial["state"] for trial in first["trials"]] == ["finished"] * 2
    versions = call(tmp_path, "registry", "list", *registry)
    (champion,) = (row["name"] for row in versions if row["alias"] == "champion")
    second = call(tmp_path, *sweep, "--name", "b", "--set", "seed=2")
    assert second["decision"]["winner"] in {trial["id"] for trial in second["trials"]}
    events = call(tmp_path, "registry", "log", *registry)
    gated = [event for event in events if event["kind"] == "gated"]
    assert len(gated) == 2 and gated[-1]["details"]["champion"] == champion
    summary = json.loads((tmp_path / "D" / "b" / "summary.json").read_text())
    assert summary["seed"] == 2 and summary["decision"]["numbers"]
    assert len(call(tmp_path, "registry", "list", *registry)) > len(versions)
