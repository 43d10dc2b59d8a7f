"""Attempts that did not end: what they took is counted, by Ctrl-C and by kill -9."""

import json
import subprocess
import sys
import time

import pytest

from deepicd.config import parse_experiment
from deepicd.paths import RunPaths
from deepicd.pipeline.folder.attempts import counted
from deepicd.pipeline.run import Run
from deepicd.pipeline.seal import Seal, write_seal
from deepicd.sweeps.results.spent import read_elsewhere, read_spent


def test_a_block_that_ends_leaves_nothing_and_one_that_is_interrupted_its_seconds(tmp_path):
    file = tmp_path / "stages" / "sft.interrupted.json"
    with counted(file, 2):
        assert json.loads(file.read_text()) == [{"seconds": 0.0, "gpus": 2}]
    assert not file.exists()

    def interrupt():
        with counted(file, 2):
            time.sleep(0.2)
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert [each["gpus"] for each in json.loads(file.read_text())] == [2, 2]
    assert all(0.2 <= each["seconds"] < 5 for each in json.loads(file.read_text()))
    with counted(file, 2):
        pass
    assert len(json.loads(file.read_text())) == 2


def test_kill_9_loses_a_beat_and_no_more(tmp_path):
    file = tmp_path / "evaluation.interrupted.json"
    code = "import os, sys, time; from pathlib import Path\n"
    code += "from deepicd.pipeline.folder.attempts import counted\n"
    code += "with counted(Path(sys.argv[1]), 1, beat_s=0.1):\n"
    code += "    time.sleep(1); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, str(file)], check=False)
    assert done.returncode == -9
    (attempt,) = json.loads(file.read_text())
    assert 0.5 <= attempt["seconds"] <= 2


def test_a_full_disk_does_not_end_what_is_counted(tmp_path):
    (tmp_path / "stages").write_text("no folder")
    with counted(tmp_path / "stages" / "sft.interrupted.json", 1):
        pass


@pytest.mark.parametrize("stage", ["sft", "evaluation", "promotion"])
def test_interrupted_attempts_of_a_stage_count_into_the_budget(tmp_path, stage):
    table = {"training": {"num_gpus": 2, "ppo_micro_batch_size_per_gpu": 8}}
    run = Run(parse_experiment(table, "here"), RunPaths(tmp_path))
    for name in ("notes", "traces", "model", "sft", "baselines", "sweep", "evaluation"):
        run.seals[name] = Seal(name, {}, {}, 1.0)

    def work():
        time.sleep(0.5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.do(stage, "something", work)
    gpus = 2 if stage == "sft" else 1
    (seconds,) = (hours * 3600 / gpus for hours in read_spent(run.paths, run.experiment).values())
    assert 0.4 < seconds < 10 and read_elsewhere(run.paths, run.experiment).keys() == {stage}
    write_seal(run.paths.seal(stage), Seal(stage, {}, {}, 1800.0))
    assert read_spent(run.paths, run.experiment)[stage] > gpus / 2


def test_a_stage_that_was_whole_and_is_done_again_is_paid_twice(tmp_path):
    run = Run(parse_experiment({}, "here"), RunPaths(tmp_path))
    for name in ("baselines", "evaluation"):
        run.seals[name] = Seal(name, {}, {}, 1.0)
    file = run.paths.seal("promotion")
    run.do("promotion", "something", lambda: None)
    sealed = json.loads(file.read_text())
    write_seal(
        file,
        Seal(
            "promotion",
            {**sealed["identity"], "inputs": {"baselines": "x", "evaluation": "y"}},
            {},
            3600.0,
        ),
    )
    run.do("promotion", "something", lambda: None)
    assert read_spent(run.paths, run.experiment)["promotion"] == pytest.approx(1.0, abs=0.01)
