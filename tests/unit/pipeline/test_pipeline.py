"""The run's folder, its summary and its report, from hand-made records."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepicd.checkpoints import verify
from deepicd.config import dump_experiment, parse_experiment
from deepicd.errors import CheckpointError, ConfigError, DataError, MissingError, SweepError
from deepicd.evaluation import evaluate
from deepicd.notes.split_files import leave_out_patients, read_split, write_split
from deepicd.paths import RunPaths
from deepicd.pipeline import candidates, stages, summary
from deepicd.pipeline.candidates import model_folder
from deepicd.pipeline.folder.command import Command, write_command
from deepicd.pipeline.folder.place import prepare_root
from deepicd.pipeline.loop import _has_ended, resume_run
from deepicd.pipeline.run import Run
from deepicd.pipeline.seal import Seal, hash_outputs, write_seal
from deepicd.pipeline.stage import STAGES
from deepicd.pipeline.stages import Scored, build_start_model, headline
from deepicd.pipeline.validation import check, check_folder
from deepicd.records import Checkpoint, Decision, Examination, Note, Prediction, Trial
from deepicd.scoring import score_predictions
from deepicd.sweeps.results.decision import Configuration, SweepDecision, SweepResult
from deepicd.traces import read_traces

GOLD = ["I2510", "J189", "N390", "I10"]


def scores_of(*answers: str | None) -> dict[str, float]:
    rows = [
        Prediction(f"n{i}", f"p{i}", gold, answer)
        for i, (gold, answer) in enumerate(zip(GOLD, answers, strict=True))
    ]
    return score_predictions(rows, num_bootstrap=100, seed=1)


def scored(*answers: str | None) -> Scored:
    return Scored(
        test=scores_of(*answers),
        majority=scores_of(*["I10"] * 4),
        promotion=Examination([]),
        calibration=None,
    )


def trial(**changes: object) -> Trial:
    values = {
        "id": "a1",
        "params": {"training.learning_rate": 1e-4, "training.temperature": 1.0},
        "status": "finished",
        "steps": 20,
        "validation": {"hierarchical_f1": 0.5},
        "checkpoint": Checkpoint("trials/a1/global_step_20", 20),
    }
    return Trial(**{**values, **changes})


def found(*, accepted: bool) -> summary.RunOutcome:
    failed = trial(
        id="b2", status="failed", steps=0, validation={}, checkpoint=None, error="TrainingError: x"
    )
    return summary.RunOutcome(
        trials=[trial(), failed],
        best=trial(),
        sft=scored("I2510", None, None, None),
        candidate=scored("I2510", "J189", "N390", None),
        promoted=summary.Promoted(
            Decision(accepted, ("met: <gain>",), {"difference": 0.2}),
            champion="v0002" if accepted else "v0001",
            run="tiny",
            stage="grpo" if accepted else "sft",
            trial="a1" if accepted else None,
            test=scores_of("I2510", "J189" if accepted else None, None, None),
        ),
        reply={"code": "I2510"},
        monitor={"labelled": 4, "hierarchical_f1": 0.5, "low": 0.4, "high": 0.6},
    )


def run_in(root: Path, table: dict) -> Run:
    """A run whose earlier stages are said to be whole."""
    seals = {name: Seal(name, {}, {}, 1.0) for name in STAGES}
    return Run(parse_experiment(table, "here"), RunPaths(root), seals=seals)


def write(tmp_path: Path, *, accepted: bool) -> tuple[dict, str]:
    history = tmp_path / "sweep" / "tune" / "a1"
    history.mkdir(parents=True)
    row = {
        "step": 5,
        "validation/hierarchical_f1": 0.5,
        "critic/score/mean": 0.3,
        "reward/reward_outcome/mean": 0.2,
    }
    (history / "result.json").write_text(json.dumps(row) + "\n")
    run = run_in(tmp_path, {})
    summary.write(run, found(accepted=accepted))
    return json.loads(run.paths.summary.read_text()), run.paths.report.read_text()


def test_the_summary_holds_what_is_promised(tmp_path):
    held, _ = write(tmp_path, accepted=True)
    assert [row["status"] for row in held["trials"]] == ["finished", "failed"]
    assert {"id", "params", "status", "steps", "validation"} <= set(held["trials"][0])
    assert held["champion"]["trial"] == "a1"
    for scores in (*held["baselines"].values(), held["champion"]["test"]):
        for key in ("macro_f1_chapter", "macro_f1_category", "macro_f1_full", "hierarchical_f1"):
            assert 0 <= scores[key] <= 1
    assert held["champion"]["test"]["hierarchical_f1"] > held["baselines"]["sft"]["hierarchical_f1"]
    assert held["reply"]["code"] == "I2510"
    assert held["monitor"]["labelled"] == 4 and held["monitor"]["hierarchical_f1"] == 0.5
    assert "report" in held["stages"] and held["versions"]["verl"] and held["seed"] == 1


def test_summary_and_report_say_where_the_winner_lies_among_others(
    tmp_path, write_run, answer_split
):
    paths, experiment = write_run(tmp_path / "run")
    answers = answer_split(paths.split("test"), 5)
    outcome = found(accepted=True)
    test = evaluate(answers, paths.evaluation / "trial-a1")
    outcome.candidate = replace(outcome.candidate, test=test)
    seals = {name: Seal(name, {}, {}, 1.0) for name in STAGES}
    held = summary.write(Run(experiment, paths, seals=seals), outcome)
    rows = {row["name"]: row for row in held["context"]["test"]}
    assert list(rows) == ["majority", "tfidf_linear", "zero_shot", "sft", "trial-a1", "ceiling"]
    assert rows["trial-a1"]["scores"] == test and rows["sft"]["paired"]["difference"] > 0
    assert rows["tfidf_linear"]["paired"]["verdict"].startswith("worse by 0.")
    html = paths.report.read_text()
    paired = rows["tfidf_linear"]["paired"]
    said = f"on the same 80 notes: {paired['hierarchical_f1']:.3f}, {paired['verdict']}"
    assert f"best trial against TF-IDF + linear model, {said}" in html
    assert "ceiling (Bayes-optimal)" in html and "not trained" in html


def test_a_summary_with_a_score_that_is_no_number_is_json_for_every_reader(tmp_path):
    outcome = found(accepted=True)
    lost = trial(id="c3", validation={"hierarchical_f1": math.nan, "macro_f1_full": math.inf})
    outcome.trials = [*outcome.trials, lost]
    run = run_in(tmp_path, {})
    run.paths.tune.mkdir(parents=True)
    summary.write(run, outcome)
    held = json.loads(run.paths.summary.read_text(), parse_constant=pytest.fail)
    assert held["trials"][-1]["validation"] == {"hierarchical_f1": None, "macro_f1_full": None}


def test_a_winner_that_is_rejected_leaves_the_sft_start_champion(tmp_path):
    held, html = write(tmp_path, accepted=False)
    assert held["champion"]["trial"] is None
    assert held["champion"]["test"] == held["baselines"]["sft"]
    assert "Not promoted" in html


def test_a_run_that_starts_no_endpoint_has_a_report_and_says_so(tmp_path):
    outcome = found(accepted=True)
    outcome.reply, outcome.monitor = {}, {}
    run = run_in(tmp_path, {})
    run.paths.tune.mkdir(parents=True)
    assert summary.write(run, outcome)["monitor"] == {}
    assert "No endpoint was started by this run." in run.paths.report.read_text()


def test_the_report_needs_no_network_and_escapes_what_it_shows(tmp_path):
    _, html = write(tmp_path, accepted=True)
    assert "<script src" not in html and "&lt;gain&gt;" in html
    assert html.count('class="plotly-graph-div"') == 7
    assert "Reward component: outcome" in html and "TrainingError: x" in html


def test_an_earlier_run_is_kept_beside_a_new_one(tmp_path, log_lines):
    first = prepare_root(tmp_path / "demo")
    (first / "summary.json").write_text("{}")
    again = prepare_root(tmp_path / "demo")
    assert again == first and not list(again.iterdir())
    assert (tmp_path / "demo.previous" / "summary.json").is_file()
    assert len(log_lines) == 1 and "started anew" in log_lines[0]
    (again / "trials.json").touch()
    with pytest.raises(ConfigError, match=r"would be deleted; give --yes"):
        prepare_root(tmp_path / "demo")
    assert (tmp_path / "demo.previous" / "summary.json").is_file()
    prepare_root(tmp_path / "demo", may_delete=True)
    assert (tmp_path / "demo.previous" / "trials.json").is_file()


def test_a_run_is_started_anew_in_its_own_folder_only(tmp_path):
    experiment, other = (
        parse_experiment({"training": {"total_steps": steps}}, "here") for steps in (4, 8)
    )
    root = tmp_path / "demo"
    check_folder(root, experiment)
    dump_experiment(experiment, RunPaths(root).experiment)
    check_folder(root, experiment)
    with pytest.raises(ConfigError, match=r"training\.total_steps is 4 there and 8 here; choose"):
        check_folder(root, other)
    RunPaths(root).experiment.write_text('{"nam": "x"}')
    with pytest.raises(ConfigError, match=r"no experiment of this version \(1 faults\)"):
        check_folder(root, experiment)
    for name in ("cache", "registry", "monitor"):
        with pytest.raises(ConfigError, match=f"cannot be named '{name}'"):
            check_folder(tmp_path / name, experiment)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(ConfigError, match=r"holds chapter\.tex and no run"):
        check_folder(tmp_path / "thesis", experiment)


def test_a_sweep_goes_on_with_the_experiment_it_was_started_with_only(tmp_path):
    paths = RunPaths(tmp_path)
    experiment = parse_experiment({"sweep": {"search": SEARCH}}, "here")
    dump_experiment(experiment, paths.sweep_experiment)
    dump_experiment(experiment.model_copy(update={"seed": 7}), paths.experiment)
    write_command(paths, Command())
    with pytest.raises(ConfigError, match="another experiment: seed is 1 there and 7 here; put"):
        resume_run(tmp_path)


def test_a_sweep_that_began_in_a_resumed_run_goes_on_when_it_was_interrupted(tmp_path):
    from deepicd.config import override
    from deepicd.pipeline.stage import PATIENCE

    experiment = parse_experiment({"sweep": {"search": SEARCH}}, "here")
    begun = override(experiment, ["training.ppo_micro_batch_size_per_gpu=1"], allowed=PATIENCE)
    paths = RunPaths(tmp_path)
    dump_experiment(begun, paths.sweep_experiment)
    dump_experiment(experiment, paths.experiment)
    write_command(paths, Command())
    for stage in STAGES:
        write_seal(paths.seal(stage), Seal(stage, {}, {}, 1.0))
    with pytest.raises(SweepError, match="has ended"):  # not refused before
        resume_run(tmp_path)


def test_a_run_that_ended_and_was_changed_since_then_is_refused_by_name(tmp_path):
    paths = RunPaths(tmp_path)
    dump_experiment(parse_experiment({}, "here"), paths.experiment)
    write_command(paths, Command())
    paths.summary.write_text("{}")
    for stage in STAGES:
        outputs = hash_outputs(tmp_path, ["summary.json"])
        write_seal(paths.seal(stage), Seal(stage, {}, outputs, 1.0))
    with pytest.raises(SweepError, match="has ended"):
        resume_run(tmp_path)
    paths.summary.write_text("{ }")
    with pytest.raises(DataError, match=r"summary\.json was changed after stage"):
        resume_run(tmp_path)
    paths.summary.unlink()
    assert not _has_ended(paths, Command())


def test_the_majority_code_is_scored_once_in_a_run(tmp_path, write_run, answer_split):
    paths, experiment = write_run(tmp_path / "run")
    run, asked = Run(experiment, paths), answer_split(paths.split("test"), 3)
    scores = stages._score_majority(run, asked)
    (file,) = (paths.evaluation / "majority").glob("scores.json")
    before = file.stat()
    assert stages._score_majority(run, asked) == scores
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_folder_of_a_trial_s_model():
    assert model_folder(trial()) == Path("trials/a1/global_step_20/actor/huggingface")


def test_the_headline_names_every_level():
    text = headline(scores_of("I2510", "J189", None, None))
    assert all(word in text for word in ("hierarchical", "chapter", "category", "full", "50.0%"))


def test_grpo_learns_from_patients_without_a_trace(tmp_path):
    rows = [{"note_id": f"n{i}", "patient_id": f"p{i % 3}", "text": "t"} for i in range(7)]
    split, out = tmp_path / "train.parquet", tmp_path / "train_grpo.parquet"
    pq.write_table(pa.Table.from_pylist(rows), split)
    assert leave_out_patients(split, {"p1"}, out) == 5
    assert pq.read_table(out)["note_id"].to_pylist() == ["n0", "n2", "n3", "n5", "n6"]
    with pytest.raises(DataError, match=r"lower sft\.num_traces"):
        leave_out_patients(split, {"p0", "p1", "p2"}, tmp_path / "none.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, split.name][::-1]


# Before anything starts

SEARCH = {"training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3}}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"serving": {"host": "0.0.0.0"}, "sweep": {"search": SEARCH}}, "DEEPICD_TOKEN"),
        (
            {"sweep": {"search": SEARCH, "grace_steps": 6}, "training": {"validate_every": 4}},
            r"multiple of training\.validate_every",
        ),
        (
            {"sweep": {"search": SEARCH}, "rewards": {"preset": "strickt"}},
            r"unknown reward preset 'strickt' \(nearest: strict\)",
        ),
        (
            {"sweep": {"search": SEARCH}, "rewards": {"weights": {"hierachy": 1.0}}},
            r"unknown reward 'hierachy' \(nearest: hierarchy\)",
        ),
    ],
)
def test_what_a_later_stage_would_refuse_is_refused_at_once(monkeypatch, table, words):
    monkeypatch.delenv("DEEPICD_TOKEN", raising=False)
    with pytest.raises(ConfigError, match=words):
        check(parse_experiment(table, "here"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"model": {"path": "no/model"}}, r"model\.path: there is no /.*/no/model/config\.json"),
        ({"sft": {"traces": "no/traces.parquet"}}, r"sft\.traces: there is no /.*/no/traces"),
        (
            {"data": {"source": "mimic", "root": "no/mimic"}, "sft": {"is_enabled": False}},
            r"data\.root: there is no /.*/no/mimic",
        ),
    ],
)
def test_a_path_that_is_not_there_is_refused_at_once(table, words):
    with pytest.raises(MissingError, match=words):
        check(parse_experiment({**table, "sweep": {"search": SEARCH}}, "here"))


def test_notes_of_ones_own_need_traces_of_ones_own(tmp_path):
    table = {"data": {"source": "mimic", "root": str(tmp_path)}, "sweep": {"search": SEARCH}}
    with pytest.raises(ConfigError, match=r"name a file of traces"):
        check(parse_experiment(table, "here"))
    without = parse_experiment({**table, "sft": {"is_enabled": False}}, "here")
    with pytest.raises(MissingError, match=r"no table note/discharge under .* \(3 more"):
        check(without)


def test_without_sft_grpo_starts_from_the_model_as_it_is(tmp_path):
    table = {"sft": {"is_enabled": False}, "model": {"hidden_size": 64, "num_heads": 2}}
    run = run_in(tmp_path / "run", table)
    run.paths.notes.mkdir(parents=True)
    text = "CHIEF COMPLAINT: chest pain"
    write_split([Note("n1", "p1", "a1", text, "I2510")], run.paths.split("train"))
    build_start_model(run)
    built, start = (folder / "model.safetensors" for folder in (run.paths.model, run.paths.sft))
    assert start.read_bytes() == built.read_bytes()
    assert read_split(run.paths.grpo_notes) == read_split(run.paths.split("train"))
    assert read_traces(run.paths.traces) == []


def test_the_checks_need_neither_ray_nor_torch():
    code = "import sys; from deepicd.pipeline.validation import check; "
    code += "from deepicd.config import parse_experiment; "
    code += f"check(parse_experiment({{'sweep': {{'search': {SEARCH}}}}}, 'here')); "
    code += "assert not {'ray', 'torch', 'verl', 'vllm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_damaged_winner_is_logged_and_the_next_is_taken(tmp_path, monkeypatch, log_lines):
    run = Run(parse_experiment({"name": "x"}, "x.toml"), RunPaths(tmp_path))
    ranks = [
        Configuration({"rate": n}, [name], [1], [0.9 - n / 10], 0.9 - n / 10)
        for n, name in enumerate(("a1", "b2"))
    ]
    decision = SweepDecision("hierarchical_f1", "a1", False, ranks, "why")
    damaged = {"a1"}

    def check(_: Run, one: Trial) -> None:
        if one.id in damaged:
            raise CheckpointError(f"{one.id} has no manifest")

    monkeypatch.setattr(candidates, "check_winner", check)
    swept = SweepResult([trial(), trial(id="b2")], decision)
    assert [each.id for each in candidates.find_usable(run, swept)] == ["b2"]
    assert "trial a1 is passed over" in log_lines[-1] and "a1 has no manifest" in log_lines[-1]
    damaged.clear()
    assert [each.id for each in candidates.find_usable(run, swept)] == ["a1"]
    both = parse_experiment({"promotion": {"num_candidates": 2}}, "here")
    best = candidates.find_usable(Run(both, run.paths), swept)
    assert [each.id for each in best] == ["a1", "b2"]
    monkeypatch.setattr(candidates, "check_winner", lambda _run, one: verify(model_folder(one)))
    with pytest.raises(MissingError, match="no model folder at"):  # all are gone, one after another
        candidates.find_usable(run, swept)
    assert "trial a1 is passed over: no model folder" in log_lines[-1]
    monkeypatch.setattr(candidates, "check_winner", check)
    damaged |= {"a1", "b2"}
    with pytest.raises(CheckpointError, match="b2 has no manifest"):
        candidates.find_usable(run, swept)
