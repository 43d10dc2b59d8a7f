"""What a sweep's report computes and claims, from hand-made records."""

import json
from pathlib import Path

import pytest

from deepicd.config import parse_experiment, single_training
from deepicd.errors import MissingError
from deepicd.paths import RunPaths
from deepicd.pipeline.sweep_report import find_pareto_fronts, write_sweep_report
from deepicd.records import Trial
from deepicd.report.pareto import pareto_section
from deepicd.report.sweep import recorded_rows
from deepicd.sweeps.results.status import read_sweep_status

SEARCH = {
    "rewards.preset": {"type": "choice", "values": ["strict", "default"]},
    "rewards.weights.hierarchy": {"type": "uniform", "low": 0.0, "high": 1.0},
    "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
}
EXPERIMENT = parse_experiment(
    {
        "name": "credit",
        "question": "Does <hierarchical> credit beat strict?",
        "training": {"total_steps": 4, "validate_every": 2},
        "sweep": {"num_trials": 4, "grace_steps": 2, "search": SEARCH},
    },
    "here",
)
DOMAINS = EXPERIMENT.sweep.search
KEY = "validation/hierarchical_f1"


def test_fronts_are_of_what_is_pursued_or_else_of_everything_known():
    objectives = {"hierarchical_f1": 0.5, "response_length": 30.0}
    trials = [
        Trial("a", {}, "finished", 4, {}, objectives=objectives),
        Trial("b", {}, "finished", 4, {}, objectives={**objectives, "hierarchical_f1": 0.4}),
    ]
    both = ("hierarchical_f1", "response_length")
    assert find_pareto_fronts(trials, EXPERIMENT) == {both: {"a"}}
    assert find_pareto_fronts([], EXPERIMENT) == {}
    section = pareto_section(trials, find_pareto_fronts(trials, EXPERIMENT))
    assert section.text[0].startswith("1 of 2 trials") and len(section.figures) == 1
    assert section.tables[0].rows == [{"trial": "a", "hierarchical F1": 0.5, "response length": 30}]


def test_what_trials_recorded_differently_is_counted():
    records = [
        {"trial": name, "code": {"commit": commit}, "machines": [{"cpu": "x"}]}
        for name, commit in (("a", "1"), ("b", "2"), ("c", "1"))
    ]
    assert recorded_rows(records) == [
        {"what": "code.commit", "value": "1 (2 trials); 2 (1 trials)"},
        {"what": "machines.0.cpu", "value": "x"},
    ]


def write_run(root: Path, trials: dict[str, tuple[dict, list[dict]]]) -> Path:
    root.mkdir()
    (root / "experiment.json").write_text(EXPERIMENT.model_dump_json())
    for name, (params, rows) in trials.items():
        folder = root / "sweep" / "tune" / name
        folder.mkdir(parents=True)
        (folder / "params.json").write_text(json.dumps(params))
        (folder / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def rows_of(*scores: float) -> list[dict]:
    return [
        {"step": 2 * i, KEY: score, "checkpoint_path": "a/b", "reward/reward_hierarchy/mean": 0.1}
        for i, score in enumerate(scores, start=1)
    ]


def test_a_report_is_written_while_a_sweep_goes_on(tmp_path):
    given = {"rewards.preset": "default", "training.learning_rate": 1e-4}
    strict = {"rewards.preset": "strict", "training.learning_rate": 2e-4}
    trials = {
        "a": (given, rows_of(0.5, 0.6)),
        "b": (strict, rows_of(0.4, 0.3)),
        "c": (given, [{"step": 0, KEY: None}]),
    }
    written = write_sweep_report(write_run(tmp_path / "credit", trials))
    html = Path(written["report"]).read_text()
    assert Path(written["report"]) == tmp_path / "credit" / "sweep.html"
    assert "Does &lt;hierarchical&gt; credit" in html and "<script src" not in html
    answer = written["sections"][0]
    assert "Best so far: trial a, hierarchical F1 0.600" in answer["text"][0]
    assert "hierarchical credit: given against not given (strict)" in answer["text"][-1]
    assert "too few to know their spread" in answer["text"][-1]
    json.dumps(written, allow_nan=False)


def test_a_sweep_without_a_score_is_reported_as_such(tmp_path):
    root = write_run(tmp_path / "early", {"a": ({"rewards.preset": "strict"}, [{"step": 0}])})
    text = json.dumps(write_sweep_report(root, tmp_path / "out" / "early.html"))
    assert "No trial has a score yet" in text and (tmp_path / "out" / "early.html").is_file()


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(MissingError, match="no run in"):
        write_sweep_report(tmp_path / "nothing")


def test_a_single_training_is_reported_though_nothing_was_searched(tmp_path):
    single = single_training(parse_experiment({"training": {"total_steps": 4}}, "here"))
    root = write_run(tmp_path / "once", {"a": ({}, rows_of(0.5, 0.6))})
    (root / "experiment.json").write_text(single.model_dump_json())
    written = write_sweep_report(root)
    assert "trial a, hierarchical F1 0.600" in written["sections"][0]["text"][0]
    assert Path(written["report"]).is_file()
    status = read_sweep_status(RunPaths(root), single, is_alive=False)
    assert [trial.status for trial in status.trials] == ["finished"]
    assert status.budget["num_trials"] == 1
