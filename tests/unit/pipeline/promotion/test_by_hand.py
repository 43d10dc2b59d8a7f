"""`deepicd promote` and `deepicd registry add`, as they are typed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registry_models import build_model
from typer.testing import CliRunner

from deepicd import cli
from deepicd.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingError,
    PromotionError,
    SweepError,
)
from deepicd.files import exclusive_lock
from deepicd.pipeline import candidates, promotion, stages
from deepicd.pipeline.folder.trials import write_swept
from deepicd.pipeline.run import Run
from deepicd.pipeline.seal import Seal, hash_outputs, write_seal
from deepicd.pipeline.values import write_value
from deepicd.promotion.registry import Registry
from deepicd.records import Examination, Trial
from deepicd.sweeps.results.decision import Configuration, SweepDecision, SweepResult

Made = Callable[..., Any]


def call(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, [*words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def seal(run: Run, stage: str, *outputs: str) -> None:
    """Say that a stage is whole."""
    hashes = hash_outputs(run.paths.root, outputs)
    write_seal(run.paths.seal(stage), Seal(stage, {}, hashes, 1.0))


@pytest.fixture
def run(
    make_run: Made, candidate: Made, scored: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Run:
    """A run whose trials a1 and a2 are evaluated; a2 won. The exports of such small models are not
    checked.
    """
    made: Run = make_run("a", "a1", "a2")
    brought = [candidate(made, "a1", 36), candidate(made, "a2", 30)]
    known = {f"trial-{each.trial.id}": each.scored for each in brought}
    with monkeypatch.context() as patch:
        patch.setattr(candidates, "score_model", lambda _, name, model: known[name])
        for each in brought:
            candidates.evaluate_trial(made, each.trial)
    write_value(made.paths.evaluation / "sft.json", scored(10), stages.Scored)
    seal(made, "baselines", "evaluation/sft.json")
    failed = Trial("a3", {}, "failed", 0, {})
    trials = [*(each.trial for each in brought), failed]
    rows = [Configuration({}, ["a2"], [1], [0.9], 0.9)]
    decision = SweepDecision("hierarchical_f1", "a2", False, rows, "why")

    write_swept(made.paths, SweepResult(trials, decision))
    seal(made, "sweep", "sweep/result.json")
    monkeypatch.setattr(candidates, "check_winner", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.mark.parametrize("target", ["a", "runs/a"])
def test_the_winner_of_a_run_is_promoted_into_the_registry_that_the_run_names(
    run: Run, target: str
) -> None:
    code, text = call("promote", target, "--json")
    shown = json.loads(text)
    assert (code, shown["accepted"], shown["champion"]) == (0, True, "v0002")
    registry = Registry(run.paths.registry)
    assert registry.get("champion").origin.trial == "a2"
    assert call("promote", target)[1].startswith("v0002 is champion now\n")
    assert len(registry.versions()) == 2


def test_a_trial_of_ones_choice_meets_the_champion_of_a_registry_of_ones_choice(
    run: Run, answers: dict[str, Examination], scored: Made, tmp_path: Path
) -> None:
    place = str(tmp_path / "other")
    call("promote", "a", "--registry", place)
    answers["v0002"] = scored(30).promotion
    shown = json.loads(call("promote", "a:a1", "--registry", place, "--json")[1])
    assert shown["version"] == "v0003" and shown["numbers"]["num_uses"] == 2
    assert Registry(place).get("v0003").origin.trial == "a1"
    assert not run.paths.registry.exists()


def test_a_start_model_that_nobody_scored_is_scored_once(
    run: Run, scored: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.paths.evaluation / "sft.json").unlink()
    asked = []

    def score(run: Run, name: str, model: Path) -> stages.Scored:
        asked.append(name)
        answered: stages.Scored = scored(10)
        return answered

    monkeypatch.setattr(stages, "score_model", score)
    assert json.loads(call("promote", "a", "--json")[1])["accepted"] and asked == ["sft"]


def test_scores_that_were_changed_by_hand_are_not_promoted(run: Run) -> None:
    file = run.paths.evaluation / "trial-a2.json"
    file.write_text(file.read_text().replace("I2510", "J189"))
    with pytest.raises(DataError, match=r"trial-a2\.json was changed after stage 'evaluation/tri"):
        call("promote", "a")
    assert not run.paths.registry.exists()


def test_a_run_that_was_moved_is_promoted_from_where_it_lies_now(run: Run, tmp_path: Path) -> None:
    assert str(run.paths.root) not in run.paths.swept.read_text()
    call("promote", "a")
    (tmp_path / "elsewhere").mkdir()
    moved = run.paths.root.rename(tmp_path / "elsewhere" / "a")
    registry = str(tmp_path / "runs" / "registry")
    code, text = call("promote", str(moved), "--registry", registry, "--json")
    assert code == 0 and json.loads(text)["champion"] == "v0002", "nothing is registered twice"
    assert len(Registry(registry).versions()) == 2
    assert call("promote", str(moved))[0] == 0  # beside its new place is another registry
    checkpoint = Registry(tmp_path / "elsewhere" / "registry").get("champion").origin.checkpoint
    assert checkpoint is not None and Path(checkpoint.path).is_relative_to(moved)


def test_a_trial_may_be_forced(run: Run) -> None:
    call("promote", "a")
    assert call("promote", "a:a1", "--force") == (0, "v0003 is champion (forced)\n")
    assert Registry(run.paths.registry).get("champion").origin.trial == "a1"


def test_a_rejected_trial_is_judged_again_where_another_one_is_champion_by_now(
    run: Run, answers: dict[str, Examination], scored: Made
) -> None:
    registry = Registry(run.paths.registry)
    call("promote", "a:a1")
    answers |= {"v0002": scored(36).promotion, "v0001": scored(10).promotion}
    assert not json.loads(call("promote", "a", "--json")[1])["accepted"]
    assert not json.loads(call("promote", "a", "--json")[1])["accepted"]
    split = registry.events()[-1].details["split"]
    assert registry.count_uses(split) == 2  # the second time it was on record
    registry.rollback(reason="slow")
    shown = json.loads(call("promote", "a", "--json")[1])
    assert shown["accepted"] and registry.count_uses(split) == 3


@pytest.mark.parametrize(
    ("target", "match"),
    [
        ("a:a3", r"has no trial a3 with a checkpoint.*known: a1, a2"),
        ("b:a1", r"no run at b or runs/b; RUN:TRIAL names a run's trial"),
        ("b", "no version 'b' in runs/registry"),
    ],
)
def test_what_is_not_there_is_named(run: Run, target: str, match: str) -> None:
    with pytest.raises(MissingError, match=match):
        call("promote", target)
    assert not run.paths.registry.exists()


def test_a_run_whose_sweep_has_not_ended_has_nothing_to_promote(run: Run) -> None:
    run.paths.swept.unlink()
    with pytest.raises(MissingError, match=r"has not ended, .* deepicd resume a goes on"):
        call("promote", "a")


def test_a_run_that_is_going_on_is_left_alone(run: Run) -> None:
    with exclusive_lock(run.paths.lock), pytest.raises(SweepError, match="is going on"):
        call("promote", "a")


def test_a_version_is_judged_by_the_limits_and_notes_of_its_own_run(
    run: Run, answers: dict[str, Examination], scored: Made, candidate: Made
) -> None:
    promotion.promote(run, [candidate(run, "a2", 30)], sft=scored(10))
    registry = Registry(run.paths.registry)
    folder = registry.get("v0002").path
    lineage = {**registry.get("v0002").lineage, "trial": "a9"}
    registry.register(folder, lineage=lineage, patients=registry.list_patients(["g0"]))
    answers |= {"v0002": scored(20).promotion, "v0003": scored(40).promotion}
    shown = json.loads(call("promote", "v0003", "--registry", str(registry.root), "--json")[1])
    assert shown["accepted"] and shown["champion"] == "v0003"
    (run.paths.split("promotion")).unlink()
    with pytest.raises(MissingError, match=r"no promotion split at .*--split"):
        call("promote", "v0001")


# A model of one's own


def test_a_folder_of_ones_own_is_added_without_a_list_of_patients(
    run: Run, tmp_path: Path, scored: Made, answers: dict[str, Examination], candidate: Made
) -> None:
    promotion.promote(run, [candidate(run, "a2", 30)], sft=scored(10))
    own = build_model(tmp_path / "own", 77)
    place = str(run.paths.registry)
    code, text = call("registry", "add", str(own), "--registry", place)
    assert (code, text) == (0, f"v0003 is {own}\n")
    version = Registry(place).verify("v0003")
    assert version.origin.stage == "by hand" and version.origin.limits is None
    answers |= {"v0002": scored(30).promotion, "v0003": scored(40).promotion}
    notes = str(run.paths.split("promotion"))
    shown = json.loads(call("promote", "v0003", "--registry", place, "--split", notes, "--json")[1])
    said = [reason for reason in shown["reasons"] if reason.startswith("unknown: ")]
    assert len(said) == 2 and "which patients v0003 was trained on" in said[0]


def test_a_real_model_is_added_loads_from_the_registry_and_can_be_served(
    tmp_path: Path,
) -> None:
    from deepicd import checkpoints
    from deepicd.config import parse_experiment
    from deepicd.training.start_model import build_model as build_real

    table = {"model": {"vocab_size": 400, "hidden_size": 64, "num_layers": 1, "num_heads": 2}}
    own, place = tmp_path / "own", str(tmp_path / "registry")
    texts = ["CHIEF COMPLAINT: chest pain on effort.", "PRESENT ILLNESS: two weeks of cough."]
    build_real(parse_experiment(table, "here").model, texts, own, seed=1)
    code, text = call("registry", "add", str(own), "--registry", place)
    assert (code, text) == (0, f"v0001 is {own}\n")
    version = Registry(place).get("v0001")
    assert version.path != own and checkpoints.verify_by_loading(version.path)["vocab_size"] > 0
    assert call("registry", "verify", "--registry", place) == (0, "verified: v0001\n")
    assert call("promote", "v0001", "--registry", place, "--force")[0] == 0
    (listed,) = json.loads(call("registry", "list", "--registry", place, "--json")[1])
    assert (listed["name"], listed["alias"]) == ("v0001", "champion")
    weights = version.path / "model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-4] + b"spoi")
    with pytest.raises(CheckpointError, match="v0001"):
        call("registry", "verify", "--registry", place)


def test_an_experiment_says_what_an_added_folder_was_trained_with(
    run: Run, tmp_path: Path, scored: Made, candidate: Made
) -> None:
    promotion.promote(run, [candidate(run, "a2", 30)], sft=scored(10))
    place, file = str(run.paths.registry), tmp_path / "own.toml"
    file.write_text("[data]\nmax_prompt_tokens = 64\n")
    own = build_model(tmp_path / "own", 77)
    words = ("registry", "add", str(own), "--registry", place, "--experiment", str(file), "--json")
    shown = json.loads(call(*words)[1])
    assert shown["lineage"]["limits"]["max_prompt_tokens"] == 64
    notes = str(run.paths.split("promotion"))
    with pytest.raises(PromotionError, match=r"cannot be compared .*data.max_prompt_tokens = 2048"):
        call("promote", shown["name"], "--registry", place, "--split", notes)


def test_what_is_no_model_or_could_run_code_is_refused_and_makes_no_registry(
    tmp_path: Path,
) -> None:
    place = tmp_path / "registry"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingError, match=r"has no config\.json"):
        call("registry", "add", str(empty), "--registry", str(place))
    own = build_model(tmp_path / "own", 77)
    (own / "optimiser.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is refused"):
        call("registry", "add", str(own), "--registry", str(place))
    (own / "optimiser.pt").unlink()
    file = tmp_path / "own.toml"
    file.write_text("[data]\nmax_promt_tokens = 64\n")
    with pytest.raises(ConfigError, match="max_promt_tokens"):
        call("registry", "add", str(own), "--registry", str(place), "--experiment", str(file))
    assert not place.exists()
