"""`deepicd run` as a stranger runs it: the whole loop to its end, and Ctrl-C in the middle.

`experiments/tiny.toml` with the real verl, vLLM and Ray; one run serves all tests of its outcome.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from processes import wait_until_gone

from deepicd.notes.split_files import read_split
from deepicd.paths import SPLITS, RunPaths
from deepicd.pipeline.stage import STAGES
from deepicd.promotion.behaviour_tests import DIRECTION, INVARIANCES, MINIMUM
from deepicd.promotion.calibration_file import read_calibration
from deepicd.sweeps.results.trials import read_histories, read_history
from deepicd.training.checkpoints.retention import list_checkpoints, step_of
from deepicd.training.process.events import read_events

pytestmark = pytest.mark.timeout(1800)
SCORES = ("macro_f1_chapter", "macro_f1_category", "macro_f1_full", "hierarchical_f1")
SHORT = (
    *("--set=sweep.scheduler=none", "--set=sweep.num_trials=2"),
    "--set=training.validate_every=1",
)
SHOULD_HOLD_TEXT = ("tables", "notes", "traces.parquet", "grpo_notes")


@dataclass
class Demo:
    """What a finished run left."""

    output: str
    progress: str
    summary: dict[str, Any]
    paths: RunPaths
    survivors: list[psutil.Process]


def start(root: Path, runs: Path, noun: str, *options: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a shell starts it. It reacts to Ctrl-C,
    which what a shell runs in the background does not.
    """
    experiment = str(root / "experiments" / "tiny.toml")
    command = ["env", "--default-signal=INT", sys.executable, "-m", "deepicd", *noun.split()]
    return subprocess.Popen(
        [*command, experiment, "--runs", str(runs), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def demo(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    runs = tmp_path_factory.mktemp("runs")
    process = start(root, runs, "run", "--json")
    started: dict[int, psutil.Process] = {}
    output, progress = communicate(process, started)
    assert process.returncode == 0, progress[-4000:]
    survivors = wait_until_gone(started.values())
    paths = RunPaths(runs / "tiny")
    return Demo(output, progress, json.loads(paths.summary.read_text()), paths, survivors)


def communicate(
    process: subprocess.Popen[str], started: dict[int, psutil.Process]
) -> tuple[str, str]:
    """Wait for the end; every process seen on the way goes to `started`."""
    while True:
        try:
            return process.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            started.update({child.pid: child for child in descendants(process)})


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Every process that a command has started and that is there now."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_the_summary_holds_what_is_promised(demo: Demo) -> None:
    summary = demo.summary
    assert len(summary["trials"]) == 4
    for trial in summary["trials"]:
        assert {"id", "params", "status", "steps", "validation"} <= trial.keys()
        assert trial["status"] in {"finished", "stopped"}
    scored = [summary["baselines"]["majority"], summary["baselines"]["sft"]]
    for scores in (*scored, summary["champion"]["test"], summary["best"]["test"]):
        assert all(0 <= scores[name] <= 1 for name in SCORES)
    assert "code" in summary["reply"] and summary["reply"]["model_version"] == summary["version"]
    assert summary["monitor"]["labelled"] == 24
    assert 0 <= summary["monitor"]["hierarchical_f1"] <= 1
    assert tuple(summary["stages"]) and set(summary["stages"]) == set(STAGES)
    assert summary["versions"]["verl"] and summary["seed"] == 1


def test_the_winner_is_the_one_that_the_decision_names_with_its_interval(demo: Demo) -> None:
    decision = json.loads(demo.paths.decision.read_text())
    assert demo.summary["best"]["trial"] == decision["winner"]
    assert len(decision["configurations"]) == 4
    for row in decision["configurations"]:
        assert row["low"] <= row["mean"] <= row["high"]
    assert sum(row["p_best"] for row in decision["configurations"]) == pytest.approx(1)
    assert decision["why"] in " ".join(demo.progress.split())


def test_the_winner_stands_among_what_else_answered_the_same_notes(demo: Demo) -> None:
    best = f"trial-{demo.summary['best']['trial']}"
    others = ["majority", "tfidf_linear", "zero_shot", "sft"]
    html = demo.paths.report.read_text()
    for split in ("test", "validation"):
        rows = {row["name"]: row for row in demo.summary["context"][split]}
        trials = [name for name in rows if name.startswith("trial-")]
        assert list(rows) == [*others, *trials, "ceiling"] and trials[-1] == best
        assert len(trials) == (1 if split == "test" else 4)
        assert rows[best]["is_model"] and rows[best]["paired"] is None
        for name in (*others, *trials[:-1], "ceiling"):
            paired = rows[name]["paired"]
            assert paired["low"] <= paired["difference"] <= paired["high"]
            assert f"{paired['hierarchical_f1']:.3f}, {paired['verdict']}" in html
        scores = {name: row["scores"]["hierarchical_f1"] for name, row in rows.items()}
        assert scores["zero_shot"] < scores["majority"] < scores["tfidf_linear"]
        # Expected of the ceiling, not promised on so few notes.
        assert scores["tfidf_linear"] - 0.05 < scores["ceiling"] <= 1
        assert "not trained" in rows["zero_shot"]["what"]
    test = {row["name"]: row["scores"] for row in demo.summary["context"]["test"]}
    assert test[best] == demo.summary["best"]["test"]
    for name, scores in demo.summary["baselines"].items():
        assert test[name].items() <= scores.items()


def test_status_and_sweep_report_set_the_best_trial_beside_the_same(demo: Demo) -> None:
    status = ask(demo.paths.root.parent, "status", "tiny")
    assert status["context"] == demo.summary["context"]["validation"]
    command = [sys.executable, "-m", "deepicd", "sweep", "status", "tiny", "--runs"]
    shown = subprocess.run(
        [*command, str(demo.paths.root.parent)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "160"},
    )
    assert "TF-IDF + linear model" in shown.stdout and "on the same notes" in shown.stdout
    report = ask(demo.paths.root.parent, "report", "tiny")
    (section,) = [each for each in report["sections"] if each["title"] == "Context"]
    verdicts = [row["paired"]["verdict"] for row in status["context"] if row["paired"]]
    assert len(verdicts) == len(section["text"]) == 8
    assert all(verdict in text for verdict, text in zip(verdicts, section["text"], strict=True))


def test_the_card_of_each_version_is_whole_and_its_snippet_runs_as_it_stands(demo: Demo) -> None:
    for name in ("v0001", "v0002"):
        folder = demo.paths.registry / "versions" / name
        card = (folder / "README.md").read_text()
        assert "| TF-IDF + linear model |" in card and "base model, zero-shot" in card
        for fact in ("| sex | F |", "| race | WHITE |", "| age_band |", "| insurance |"):
            assert fact in card
        for fact in ("table up to release FY", "never clinical decisions", "## Ethics"):
            assert fact in card
        (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        done = subprocess.run(
            [sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.strip()


def test_each_trial_is_rewarded_by_its_own_weights(demo: Demo) -> None:
    histories = read_histories(demo.paths.tune)
    weights = {
        trial["id"]: trial["params"]["rewards.weights.hierarchy"]
        for trial in demo.summary["trials"]
    }
    assert len(set(weights.values())) == 4
    for name, weight in weights.items():
        for row in histories[name][1:]:
            part = row["reward/reward_hierarchy/mean"]
            assert part > 0
            assert row["reward/weighted_hierarchy/mean"] == pytest.approx(weight * part, rel=1e-5)


def test_trials_after_the_first_reuse_its_engine(demo: Demo) -> None:
    histories = read_histories(demo.paths.tune)
    starts = [histories[trial["id"]][-1] for trial in demo.summary["trials"]]
    assert [row["start/reused_engine"] for row in starts] == [0.0, 1.0, 1.0, 1.0]


def test_standard_output_is_the_summary_and_nothing_else(demo: Demo) -> None:
    assert json.loads(demo.output) == demo.summary


def test_the_screen_shows_stages_trials_and_the_time_left_as_log_lines(demo: Demo) -> None:
    lines = demo.progress.splitlines()
    for position, stage in enumerate(STAGES, start=1):
        assert any(f"[{position}/{len(STAGES)}] {stage}:" in line for line in lines)
    assert any("left: trial" in line for line in lines)
    strange = [line for line in lines if not line[:6].strip().replace(":", "").isdigit()]
    assert not strange


def test_an_sft_start_answers_in_the_asked_form(demo: Demo) -> None:
    assert demo.summary["baselines"]["sft"]["share_unparsable"] < 0.7


def test_the_champion_is_the_winner_only_if_the_gate_let_it_pass(demo: Demo) -> None:
    summary = demo.summary
    accepted = summary["decision"]["accepted"]
    assert (summary["champion"]["trial"] is not None) == accepted
    assert summary["version"] == ("v0002" if accepted else "v0001")


def test_versions_are_calibrated_and_the_gate_saw_how_the_winner_behaves(demo: Demo) -> None:
    versions = [demo.paths.registry / "versions" / name for name in ("v0001", "v0002")]
    for version in versions:
        known = read_calibration(version)
        assert known is not None and known.num_samples == 8
        assert "Calibrated on the validation split" in (version / "README.md").read_text()
        for level in ("code", "category", "chapter"):
            is_better = known.errors[level] <= known.errors[f"{level}_raw"]
            assert (level in known.curves) == is_better
    reply, numbers = demo.summary["reply"], demo.summary["decision"]["numbers"]
    served = read_calibration(demo.paths.registry / "versions" / demo.summary["version"])
    assert served is not None
    has_code = reply["code"] is not None
    assert reply["is_calibrated"] == (has_code and "code" in served.curves)
    assert reply["is_chapter_calibrated"] == (has_code and "chapter" in served.curves)
    for test in (*INVARIANCES, DIRECTION, MINIMUM):
        assert 0 <= numbers[f"candidate_{test}"] <= 1 and f"champion_{test}" in numbers
    assert numbers["candidate_seconds"] > 0 and numbers["candidate_mean_tokens"] > 1
    window = demo.summary["monitor"]
    assert (window["estimated_accuracy"] is not None) == ("chapter" in served.curves)
    if window["estimated_accuracy"] is not None:
        assert window["estimated_low"] <= window["estimated_accuracy"] <= window["estimated_high"]


def test_the_report_opens_without_a_network(
    demo: Demo, find_links: Callable[[str], list[str]]
) -> None:
    html = demo.paths.report.read_text()
    assert len(re.findall(r"<[a-z]", html)) > 50 and find_links(html) == []


def test_no_process_outlives_the_command(demo: Demo) -> None:
    assert [(process.pid, process.name()) for process in demo.survivors] == []


def test_no_note_is_anywhere_but_in_the_data(demo: Demo) -> None:
    notes = [note for name in SPLITS for note in read_split(demo.paths.split(name))]
    findings = {max(note.text.splitlines(), key=len)[:80].encode() for note in notes}
    allowed = [demo.paths.root / name for name in SHOULD_HOLD_TEXT]
    files = [
        file
        for file in demo.paths.root.rglob("*")
        if file.is_file() and not any(file.is_relative_to(place) for place in allowed)
    ]
    assert len(findings) > 500 and len(files) > 20
    found = {file for file in files for text in findings if text in file.read_bytes()}
    assert not found


def test_a_sweep_that_ctrl_c_ended_leaves_nothing_and_is_resumed_from_a_whole_checkpoint(
    root: Path, demo: Demo, tmp_path: Path
) -> None:
    fitted = ["--set=sft.is_enabled=false", f"--set=model.path={demo.paths.sft}"]
    process = start(root, tmp_path, "sweep run", "--no-promote", *SHORT, *fitted)
    try:
        wait_for_checkpoints(process, tmp_path, 2)
        started = descendants(process)
        assert len(started) > 10
        os.killpg(process.pid, signal.SIGINT)
        _, progress = process.communicate(timeout=120)
        assert process.returncode == 130, progress[-2000:]
        assert "Traceback" not in progress
        alive = wait_until_gone(started)
        assert [(survivor.pid, survivor.name()) for survivor in alive] == []
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    (interrupted,) = ask(tmp_path, "status", "tiny")["trials"]
    assert interrupted["state"] == "pending" and interrupted["steps"] >= 2
    trial = tmp_path / "tiny/sweep/trials" / interrupted["id"]
    *_, before, newest = list_checkpoints(trial)
    damage(newest / "actor" / "model_world_size_1_rank_0.pt")
    (trial / "global_step_99").mkdir()
    resumed = ask(tmp_path, "resume", "tiny")
    assert resumed["trials"][0]["id"] == interrupted["id"]
    assert [trial["state"] for trial in resumed["trials"]] == ["finished", "finished"]
    assert resumed["budget"]["num_steps"] == resumed["budget"]["max_steps"] == 8
    steps = [row["step"] for row in read_history(tmp_path / "tiny/sweep/tune" / interrupted["id"])]
    assert steps == [0, 1, 2, 3, 4]
    # Ctrl-C may have come while a further checkpoint was being written: that one is removed too.
    said = [
        line
        for line in read_events(trial)[0]
        if "global_step_99" in line or not line.startswith("removes ")
    ]
    assert said[0].startswith("removes global_step_99") and newest.name in said[1]
    assert said[2] == f"goes on from {before.name}, the one before"
    assert all(f"trial {interrupted['id']} {line}" in resumed["progress"] for line in said)
    after = (trial / "verl.log").read_text(errors="replace").split(said[2])[-1]
    again = {int(step) for step in re.findall(r"step:(\d+) ", after)}
    assert again == set(range(step_of(before) + 1, 5))


def damage(file: Path) -> None:
    """Flip one bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def ask(runs: Path, *words: str) -> dict[str, Any]:
    """JSON answer of `deepicd sweep`; nothing that it started is alive afterwards."""
    command = [sys.executable, "-m", "deepicd", "sweep", *words, "--runs", str(runs), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started: dict[int, psutil.Process] = {}
    output, progress = communicate(process, started)
    assert process.returncode == 0, progress[-4000:]
    assert not wait_until_gone(started.values())
    answer: dict[str, Any] = json.loads(output)
    return answer | {"progress": progress}


def wait_for_checkpoints(process: subprocess.Popen[str], runs: Path, number: int) -> None:
    """Until the first trial has reported so many checkpoints."""
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline and process.poll() is None:
        reports = runs.glob("tiny/sweep/tune/*/result.json")
        if any(report.read_text().count("checkpoint_path") >= number for report in reports):
            return
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError(f"no checkpoint: {process.communicate()[1][-3000:]}")
