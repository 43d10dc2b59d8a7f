"""What stands beside a model's scores: scored on the same notes, paired, and only what is known."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from deepicd import scoring
from deepicd.paths import trial_folder, validation_file
from deepicd.pipeline import context
from deepicd.records import Trial
from deepicd.sweeps.results.status import SweepStatus

MODEL = {"name": "trial-a1", "title": "best trial", "what": "The winner."}
NAMES = ["majority", "tfidf_linear", "zero_shot", "sft", "ceiling"]


def by_name(rows):
    return {row["name"]: row for row in rows}


def test_everything_that_is_known_is_scored_on_the_notes_that_the_start_answered(
    tmp_path, write_run, answer_split
):
    paths, _ = write_run(tmp_path / "run")
    entries = context.read_context(paths, "test")
    assert [entry["name"] for entry in entries] == NAMES
    found = by_name(entries)
    assert {name: entry["num_notes"] for name, entry in found.items()} == {
        **dict.fromkeys(NAMES, 80), "zero_shot": 10,
    }  # fmt: skip
    start = answer_split(paths.split("test"), 3)
    expected = scoring.score_predictions(start, num_bootstrap=1000, seed=1)
    assert found["sft"]["scores"] == expected
    assert found["tfidf_linear"]["scores"]["hierarchical_f1"] == 1
    assert found["zero_shot"]["scores"]["hierarchical_f1"] < 0.1
    assert found["ceiling"]["scores"]["accuracy_full"] == pytest.approx(79 / 80)
    for entry in entries:
        scores = entry["scores"]
        assert scores["hierarchical_f1_low"] <= scores["hierarchical_f1"]
        assert scores["hierarchical_f1"] <= scores["hierarchical_f1_high"]
    assert "I25.10, the most common code" in found["majority"]["what"]
    assert "60 training notes, knows 3 codes" in found["tfidf_linear"]["what"]
    assert "not trained" in found["zero_shot"]["what"]


def test_the_validation_split_has_the_notes_that_trials_are_validated_on(tmp_path, write_run):
    paths, _ = write_run(tmp_path / "run", data={"num_validation": 25})
    counts = {row["name"]: row["num_notes"] for row in context.read_context(paths, "validation")}
    assert counts == {**dict.fromkeys(NAMES, 25), "zero_shot": 10, "sft": 10}
    few, _ = write_run(tmp_path / "few", data={"num_validation": 6})
    counts = {row["name"]: row["num_notes"] for row in context.read_context(few, "validation")}
    assert counts == dict.fromkeys(NAMES, 6)


def test_the_file_holds_scores_and_no_text(tmp_path, write_run):
    paths, _ = write_run(tmp_path / "run")
    text = paths.context.read_text()
    assert json.loads(text)["format"] == 1 and "CHIEF" not in text and "testp1" not in text
    assert "CHIEF" not in (paths.evaluation / "context" / "test" / "sft.jsonl").read_text()


def test_a_model_is_paired_with_each_on_the_notes_that_both_answered(
    tmp_path, write_run, answer_split
):
    paths, _ = write_run(tmp_path / "run")
    answers = answer_split(paths.split("test"), 5)
    scores = scoring.score_predictions(answers, num_bootstrap=100)
    model = {**MODEL, "scores": scores}
    rows = context.set_beside(paths, context.Model(model, answers), split="test", seed=1)
    assert [row["name"] for row in rows] == [*NAMES[:-1], "trial-a1", "ceiling"]
    assert [row["is_model"] for row in rows] == [False] * 4 + [True, False]
    found = by_name(rows)
    start = answer_split(paths.split("test"), 3)
    expected = scoring.paired_bootstrap(answers, start, num_bootstrap=1000, seed=1)
    assert expected.items() <= found["sft"]["paired"].items()
    assert found["sft"]["paired"]["verdict"].startswith("better by 0.")
    assert found["tfidf_linear"]["paired"]["verdict"].startswith("worse by 0.")
    zero_shot = found["zero_shot"]["paired"]
    assert zero_shot["num_notes"] == 10
    assert zero_shot["hierarchical_f1"] == pytest.approx(scoring.hierarchical_f1(answers[:10]))
    assert found["trial-a1"]["paired"] is None


def test_equal_models_have_no_difference_and_the_start_is_not_beside_itself(
    tmp_path, write_run, answer_split
):
    paths, _ = write_run(tmp_path / "run")
    start = answer_split(paths.split("test"), 3)
    twin = {**MODEL, "scores": scoring.score_predictions(start)}
    row = by_name(context.set_beside(paths, context.Model(twin, start), split="test", seed=1))[
        "sft"
    ]
    assert row["paired"]["verdict"] == "no difference is seen: +0.000 [+0.000, +0.000]"
    model = context.Model({**twin, "name": "sft"}, start)
    rows = context.set_beside(paths, model, split="test", seed=1)
    assert [row["name"] for row in rows] == NAMES and rows[3]["is_model"]


def test_answers_that_are_gone_leave_the_scores_without_a_difference(tmp_path, write_run):
    paths, _ = write_run(tmp_path / "run")
    model = {**MODEL, "scores": {"hierarchical_f1": 0.5, "num_notes": 80.0}}
    rows = context.rows_of_test(paths, model, seed=1)
    assert by_name(rows)["trial-a1"]["num_notes"] == 80
    assert all(row["paired"] is None for row in rows)


def test_what_is_not_known_is_left_out(tmp_path, write_run, answer_split):
    paths, experiment = write_run(tmp_path / "run", evaluation={"num_rival_notes": 20})
    (paths.notes / "ceiling_answers.json").unlink()
    for file in (paths.evaluation / "context").rglob("*.jsonl"):
        file.unlink()
    start = answer_split(paths.split("test"), 3)
    context.write_context(paths, experiment, test=start, validation=[])
    entries = by_name(context.read_context(paths, "test"))
    assert list(entries) == ["majority", "tfidf_linear", "sft"]
    others = by_name(context.read_context(paths, "validation"))
    assert list(others) == ["majority", "tfidf_linear"]
    assert "learnt from 20 training notes" in entries["tfidf_linear"]["what"]


def test_without_sft_the_start_is_the_base_model(tmp_path, write_run):
    paths, _ = write_run(tmp_path / "run", sft={"is_enabled": False})
    entries = by_name(context.read_context(paths, "test"))
    assert entries["zero_shot"]["scores"] == entries["sft"]["scores"]
    assert "SFT is switched off" in entries["sft"]["what"]


def test_a_base_model_of_ones_own_is_named(tmp_path, write_run):
    paths, _ = write_run(tmp_path / "run", model={"path": "models/Qwen2.5-7B-Instruct"})
    entry = by_name(context.read_context(paths, "test"))["zero_shot"]
    assert entry["what"].startswith("Qwen2.5-7B-Instruct before any training")


@pytest.fixture
def swept(tmp_path, write_run, answer_split):
    """Two trials, the second better, with reports and answers on disk."""
    paths, experiment = write_run(tmp_path / "run")
    trials = []
    for number, every in enumerate((4, 9)):
        answers = answer_split(paths.split("validation"), every)
        scores = scoring.score_predictions(answers)
        trials.append(Trial(f"t{number}", {}, "finished", 5, {**scores, "num_notes": 40.0}))
        report = {f"validation/{name}": value for name, value in scores.items()}
        report |= {"step": 5, "checkpoint_path": "gone"}
        (paths.tune / f"t{number}").mkdir(parents=True)
        (paths.tune / f"t{number}" / "result.json").write_text(json.dumps(report) + "\n")
        file = validation_file(trial_folder(paths.sweep, f"t{number}"), 5)
        file.parent.mkdir(parents=True)
        file.write_text(scoring.format_predictions(answers))
    return paths, experiment, trials


def test_the_best_trial_is_set_beside_the_others_on_the_validation_split(swept):
    paths, experiment, trials = swept
    rows = by_name(context.rows_of_trials(paths, experiment, trials, winner=None))
    best = rows["trial-t1"]
    assert best["is_model"] and best["what"].startswith("The best trial so far")
    assert [*rows] == [*NAMES[:-1], "trial-t0", "trial-t1", "ceiling"]
    assert rows["trial-t0"]["paired"]["verdict"].startswith(("better by", "no difference"))
    assert rows["tfidf_linear"]["paired"]["num_notes"] == 40
    assert rows["sft"]["paired"]["num_notes"] == rows["zero_shot"]["paired"]["num_notes"] == 10
    assert rows["tfidf_linear"]["paired"]["verdict"].startswith("worse by")
    named = context.rows_of_trials(paths, experiment, trials, winner="t0")
    assert by_name(named)["trial-t0"]["what"].startswith("The sweep's winner")
    status = SweepStatus(experiment, trials, budget={}, decision=None)
    assert context.with_context(paths, status).context == [*rows.values()]


def test_a_sweep_without_a_validation_or_without_a_context_has_no_rows(swept):
    paths, experiment, trials = swept
    untried = [replace(trial, validation={}) for trial in trials]
    assert context.rows_of_trials(paths, experiment, untried, winner=None) == []
    paths.context.unlink()
    assert context.rows_of_trials(paths, experiment, trials, winner=None) == []


def test_the_status_of_a_sweep_needs_no_framework():
    code = "import sys, deepicd.pipeline.context; "
    code += "assert not {'ray', 'torch', 'verl', 'vllm', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
