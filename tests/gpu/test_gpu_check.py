"""The first ten minutes on a GPU: what has to work before a large run is worth starting.

Random weights, no download, one GPU. Each check adds its figures to the table at the end.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from engine_runs import run_engine
from invented_model import rows, write_untied_model
from processes import wait_until_gone
from smallest_run import EXPERIMENT, MODEL

from deepicd.inference.offline import OfflineEngine, load_model
from deepicd.records import Limits, Note

SEQUENCE = 3072
STEPS = 3
PEARSON = "training/rollout_actor_probs_pearson_corr"
LIMITS = Limits(192, 24, "truncate")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of the published size, whose logits are what fills a GPU."""
    folder = tmp_path_factory.mktemp("large")
    return write_untied_model(folder, hidden_size=1024, num_layers=8, vocab_size=152_064)


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 8, 16])
def test_memory_by_micro_batch(large, row, micro_batch):
    values = {"training.ppo_micro_batch_size_per_gpu": micro_batch}
    lengths = [SEQUENCE] * micro_batch
    found = run_engine(large, device="cuda", lengths=lengths, values=values)
    row(
        f"micro-batch {micro_batch} x {SEQUENCE} tokens, vocabulary 152,064",
        f"{found['peak_gb']} GB, {found['attention']}, {found['seconds']} s",
    )
    assert found["dtype"] == "torch.float32" and found["correlation"] > 0.99


def write_experiment(folder: Path, model: Path, profile: str) -> Path:
    text = EXPERIMENT.replace(MODEL, f'[model]\npath = "{model}"')
    text = text.replace('name = "kills"', f'name = "check"\nprofile = "{profile}"')
    text = text.replace("total_steps = 2", f"total_steps = {STEPS}")
    text = text.replace("num_traces = 120", "num_traces = 16").replace("port = 8137", "port = 8139")
    file = folder / "check.toml"
    file.write_text(text)
    return file


def start(file: Path, command: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "deepicd", command, str(file), "--runs", str(file.parent)]
    with (file.parent / f"{command}.log").open("wb") as log:
        return subprocess.Popen([*words, "--json"], stdout=log, stderr=log, start_new_session=True)


def read_reports(root: Path) -> list[dict[str, Any]]:
    (file,) = root.glob("sweep/tune/*/result.json")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_whole_loop_trains_agrees_evaluates_and_serves(tmp_path, model, profile, row):
    began = time.monotonic()
    process = start(write_experiment(tmp_path, model, profile), "run")
    code = process.wait(timeout=900)
    assert code == 0, (tmp_path / "run.log").read_text()[-3000:]
    root = tmp_path / "check"
    by_step = {report["step"]: report for report in read_reports(root) if PEARSON in report}
    for step, report in sorted(by_step.items()):
        row(f"GRPO step {step}: actor and rollout correlate", f"{report[PEARSON]:.5f}")
    assert sorted(by_step) == [1, 2, 3]
    (record,) = root.glob("sweep/trials/*/record.json")
    row("kernels", json.loads(record.read_text())["kernels"])
    row("SFT, GRPO, evaluation, serving: seconds", round(time.monotonic() - began))


def test_weights_are_swapped_in_an_engine_that_runs(tmp_path, model, profile, row):
    width = 64 if profile == "cpu" else 256
    other = write_untied_model(tmp_path / "other", hidden_size=width, seed=1)
    notes = [
        Note(r["note_id"], r["patient_id"], r["note_id"], r["text"], r["code"]) for r in rows(6)
    ]
    engine = OfflineEngine.for_profile(profile)
    with load_model(other, limits=LIMITS, engine=engine) as fresh:
        wanted = fresh.answer_notes(notes)
    with load_model(model, limits=LIMITS, engine=engine) as loaded:
        before = loaded.answer_notes(notes)
        loaded.swap(other)
        after = loaded.answer_notes(notes)
    row("weight swap in place", f"{'compiled' if not engine.enforce_eager else 'eager'}, equal")
    assert after == wanted != before


def gpu_megabytes() -> int:
    """Memory in use on the first GPU; 0 where there is none."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout)
    except FileNotFoundError:
        return 0


def wait_for_rollouts(root: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert process.poll() is None, "the training ended before it was killed"
        stages = [json.loads(file.read_text()) for file in root.glob("sweep/trials/*/stage.json")]
        if any(stage["step"] >= 1 for stage in stages):
            return
        time.sleep(0.2)
    raise AssertionError("no step was done within ten minutes")


def test_memory_is_free_again_after_kill_9(tmp_path, model, profile, row):
    before = gpu_megabytes()
    process = start(write_experiment(tmp_path, model, profile), "train")
    wait_for_rollouts(tmp_path / "check", process)
    held, family = gpu_megabytes(), psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    left = wait_until_gone(family, timeout_s=120)
    seconds = time.monotonic() - began
    row("kill -9: GPU memory before, held, after (MB)", f"{before}, {held}, {gpu_megabytes()}")
    row("kill -9: all processes gone after", f"{seconds:.0f} s")
    assert not left and gpu_megabytes() <= before + 64
    assert profile == "cpu" or held > before + 500
