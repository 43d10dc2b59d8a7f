"""Lineages of a run's models, from its files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registry_models import build_model

from deepicd import checkpoints
from deepicd.config import parse_experiment
from deepicd.pipeline import promotion
from deepicd.pipeline.promotion.contestant import Contestant
from deepicd.pipeline.promotion.lineage import (
    digest_model,
    find_version,
    lineage_by_hand,
    lineage_of_start,
    lineage_of_trial,
    trained_patients,
)
from deepicd.promotion.lineage import ModelFiles, read_lineage
from deepicd.promotion.registry import Registry
from deepicd.records import Limits

Made = Callable[..., Any]


def test_a_trial_is_told_from_its_record_down_to_its_machine(
    make_run: Made, candidate: Made
) -> None:
    run = make_run("a", "a1", seed=3)
    found = lineage_of_trial(run, candidate(run, "a1", 30).trial)
    folder = run.paths.sweep / "trials" / "a1" / "global_step_4"
    digest = checkpoints.content_digest(checkpoints.read_manifest(folder))
    assert found.checkpoint == ModelFiles(str(folder), digest, 4)
    assert found.start_model == ModelFiles(str(run.paths.sft), digest_model(run.paths.sft))
    assert found.base_model is not None and found.base_model.sha256 == digest_model(run.paths.model)
    assert (found.run, found.trial, found.seed, found.stage) == ("a", "a1", 301, "grpo")
    assert found.code == {
        "commit": "bcc8ecba1c86", "is_changed": False, "diff_sha256": None, "release": "0.1.0",
    }  # fmt: skip
    assert found.environment["versions"] == {"ray": "2.60.0"}
    assert found.environment["machines"][0]["cpu"] == "Xeon"
    assert found.data["train"] == "7" * 64 and found.code_table == "FY2026 (21)"
    assert found.limits == Limits(2048, 1024) and found.source == "embedded"
    kept = json.loads(json.dumps(found.as_dict()))
    assert read_lineage(kept).as_dict() == kept


def test_a_start_model_is_told_by_this_process_and_its_traces(make_run: Made) -> None:
    run = make_run("a")
    found = lineage_of_start(run)
    assert (found.stage, found.trial, found.start_model) == ("sft", "", None)
    assert found.checkpoint == ModelFiles(str(run.paths.sft), digest_model(run.paths.sft))
    assert set(found.environment["versions"]) >= {"ray", "vllm"}
    assert found.environment["machines"][0]["num_cpus"] > 0
    assert trained_patients(run, is_trial=False) == {"t0", "t1"}
    assert trained_patients(run, is_trial=True) == {"t0", "t1", "g0", "g1", "g2", "g3", "g4"}
    off = make_run("b", sft={"is_enabled": False}, model={"path": str(run.paths.model)})
    assert lineage_of_start(off).stage == "base"
    assert lineage_of_start(off).base_model == ModelFiles(
        str(run.paths.model), digest_model(run.paths.model)
    )


def test_a_model_of_no_run_is_told_as_far_as_an_experiment_says(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "own", 5)
    bare = lineage_by_hand(folder, None)
    assert (bare.stage, bare.limits, bare.data) == ("by hand", None, {})
    told = lineage_by_hand(folder, parse_experiment({"data": {"max_prompt_tokens": 64}}, "here"))
    assert told.limits == Limits(64, 1024) and told.source == "embedded"
    assert told.code_table.startswith("FY") and "splits" not in told.data


def test_a_model_folder_has_one_digest_with_and_without_a_manifest(tmp_path: Path) -> None:
    folder = build_model(tmp_path / "own", 5)
    before = digest_model(folder)
    checkpoints.write_manifest(folder)
    assert digest_model(folder) == before


def test_patients_of_the_version_that_training_went_on_from_count_too(
    make_run: Made, candidate: Made, scored: Made
) -> None:
    first = make_run("a", "a1")
    promotion.promote(first, [candidate(first, "a1", 30)], sft=scored(10))
    registry = Registry(first.paths.registry)
    base = registry.get("v0002").path
    assert find_version(registry, base) == "v0002"
    second = make_run("b", "b1", seed=2, model={"path": str(base)})
    winner = Contestant.of_trial(second, candidate(second, "b1", 40)).register(registry)
    listed, inherited = registry.patients_of(winner.name), registry.patients_of("v0002")
    assert listed is not None and inherited is not None
    assert inherited.digests <= listed.digests


@pytest.mark.parametrize("is_registered", [True, False])
def test_a_base_model_whose_patients_nobody_recorded_makes_its_children_unknown_too(
    make_run: Made, candidate: Made, is_registered: bool, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "registry")
    fitted = make_run("a").paths.sft
    if is_registered:
        fitted = registry.register(fitted, lineage={"by": "hand"}).path
    run = make_run("b", "b1", seed=2, model={"path": str(fitted)})
    winner = Contestant.of_trial(run, candidate(run, "b1", 40)).register(registry)
    assert registry.patients_of(winner.name) is None


def test_the_patients_of_a_base_model_that_is_gone_are_not_taken_for_none(
    make_run: Made, candidate: Made, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "registry")
    base = shutil.copytree(make_run("a").paths.model, tmp_path / "base")
    run = make_run("b", "b1", seed=2, model={"path": str(base)})
    shutil.rmtree(base)
    assert lineage_of_start(run).base_model == ModelFiles(str(base))
    winner = Contestant.of_trial(run, candidate(run, "b1", 40)).register(registry)
    assert registry.patients_of(winner.name) is None
