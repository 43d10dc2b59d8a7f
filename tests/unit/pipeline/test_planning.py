"""A plan, drawn trials, and early stopping replayed, as the commands ask for them."""

from pathlib import Path

import pytest

from deepicd.config import dump_experiment, load_experiment, parse_experiment
from deepicd.errors import ConfigError, MissingError
from deepicd.paths import RunPaths
from deepicd.pipeline.planning import plan_experiment, replay_run

SEARCH = {"training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3}}


@pytest.fixture
def experiment():
    return parse_experiment({"sweep": {"num_trials": 3, "search": SEARCH}}, "here")


def test_a_plan_without_measurements_has_neither_hours_nor_cost(experiment):
    plan = plan_experiment(experiment, step_s=0.0, gpu="", prices=None)
    assert plan.trials["number"] == 3 and not plan.hours and not plan.cost
    assert all(set(row) == set(SEARCH) for row in plan.samples)


def test_measured_steps_give_hours_and_a_machine_gives_the_cost(experiment):
    plan = plan_experiment(experiment, step_s=36.0, gpu="H100-80GB", prices=None)
    steps = 3 * experiment.training.total_steps
    assert plan.hours["slot"] == pytest.approx(36.0 * steps / 3600 * experiment.training.num_gpus)
    assert plan.cost and all(row["usd"] > 0 for row in plan.cost if "usd" in row)


def test_a_machine_that_no_table_knows_is_refused_with_the_nearest(experiment):
    with pytest.raises(ConfigError, match="H100-80GB"):
        plan_experiment(experiment, step_s=1.0, gpu="H100-80G", prices=None)


def test_a_price_table_that_is_not_there_is_missed(experiment, tmp_path):
    with pytest.raises(MissingError, match=r"none\.toml"):
        plan_experiment(experiment, step_s=1.0, gpu="", prices=tmp_path / "none.toml")


def test_nothing_is_replayed_where_no_run_lies(tmp_path, experiment):
    with pytest.raises(MissingError, match="no run in"):
        replay_run(tmp_path / "nothing", scheduler="asha", grace_steps=0, factor=0)
    dump_experiment(experiment, RunPaths(tmp_path / "run").experiment)
    with pytest.raises((MissingError, ConfigError), match=r"curves|trial|sweep"):
        replay_run(tmp_path / "run", scheduler="asha", grace_steps=0, factor=0)


SEVEN_B = sorted(Path(__file__).parents[3].glob("experiments/*7b.toml"))


@pytest.mark.parametrize("file", SEVEN_B, ids=lambda file: file.name)
def test_the_large_runs_are_planned_where_neither_data_nor_gpus_are(file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # no data/, no models/
    # verl's own say about their keys takes seconds; tests/ray/test_verl_config.py asks for it.
    experiment = load_experiment(file).model_copy(update={"verl": {}})
    plan = plan_experiment(experiment, step_s=60.0, gpu="A100-80GB", prices=None)
    assert plan.resources["gpus"] == 4 and plan.hours["gpu"] > 0 and not plan.memory_gb
    assert {row["place"] for row in plan.missing} == {"data.root", "model.path", "sft.traces"}
    is_single = file.name == "deepicd_r1_7b.toml"
    assert (plan.trials["number"] == 1) is is_single
    assert all((row == {}) is is_single for row in plan.samples)


def test_on_the_cpu_profile_a_plan_counts_slots():
    plan = plan_experiment(parse_experiment({}, "here"), step_s=0.0, gpu="", prices=None)
    assert plan.resources == {"slots_per_node": 1, "nodes": 1, "slots": 1, "slots_at_once": 1}
