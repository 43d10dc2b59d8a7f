"""Trials at once before any Ray is started: what the experiment, a machine or a cluster says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deepicd import cli
from deepicd.cli.text import plan_lines
from deepicd.config import load_experiment, parse_experiment
from deepicd.errors import CapacityError
from deepicd.sweeps.planning.at_once import machines_with_place, trials_at_once
from deepicd.sweeps.planning.plan import plan_sweep
from deepicd.sweeps.planning.prices import find_machines, read_prices
from deepicd.sweeps.search.validation import check_cpus, fitting_trials


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture
def large(root):
    """32 trials of four GPUs each, `max_concurrent = 0`."""

    def load(*overrides):
        return load_experiment(root / "experiments" / "reward_weights_7b.toml", overrides)

    return load


@pytest.mark.parametrize(
    ("nodes", "gpus", "fitting"),
    [(1, [8, 8], 4), (1, [3, 3], 0), (1, [4, 11], 3), (2, [8, 8], 2), (2, [4, 4, 4], 1)],
)
def test_trials_fit_node_by_node(large, nodes, gpus, fitting):
    assert fitting_trials(large(f"training.num_nodes={nodes}"), gpus) == fitting


def test_a_cluster_with_too_few_cpus_is_refused_before_a_trial_waits_for_ever(large):
    # 12 for four GPUs, 1 for the queue's controller, 2 for its storage.
    assert plan_sweep(large()).resources["cpus"] == 15
    check_cpus(large(), 15)
    with pytest.raises(CapacityError, match=r"needs 15 CPUs for verl's processes.*has 14; add"):
        check_cpus(large(), 14)
    check_cpus(parse_experiment({"profile": "cpu"}, "here"), 1)


def test_a_machine_that_the_plan_is_for_holds_what_its_gpus_hold(large):
    machines = find_machines(read_prices(), "p4de.24xlarge")
    found = trials_at_once(large(), machines)
    assert (found.number, found.source) == (2, "1 x p4de.24xlarge (--gpu)")
    across = trials_at_once(large("training.num_nodes=2"), machines)
    assert (across.number, across.source) == (2, "2 x p4de.24xlarge (--gpu)")
    planned = plan_sweep(large(), step_s=60.0, machines=machines)
    assert planned.trials["at_once"] == 2 and planned.resources["gpus_at_once"] == 8
    one_by_one = plan_sweep(large("sweep.max_concurrent=1"), step_s=60.0, machines=machines)
    assert planned.hours["clock"] == pytest.approx(one_by_one.hours["clock"] / 2, rel=1e-3)
    assert planned.hours["gpu"] == one_by_one.hours["gpu"]
    assert "at_once_by" not in one_by_one.trials, "the experiment says it"


def test_a_machine_without_a_place_for_a_trial_is_not_priced(large):
    table = read_prices()
    eight = large("training.num_gpus=8")
    with pytest.raises(
        CapacityError, match=r"NC24ads_A100_v4 \(1\) has no place for a trial, .* 8 "
    ):
        plan_sweep(eight, step_s=60.0, machines=find_machines(table, "NC24ads_A100_v4"))
    across = large("training.num_gpus=4", "training.num_nodes=2")
    with pytest.raises(CapacityError, match=r"4 GPUs on each of its 2 node\(s\)"):
        plan_sweep(across, machines=find_machines(table, "a2-ultragpu-1g"))
    planned = plan_sweep(
        eight, step_s=60.0, machines=find_machines(table, "A100-80GB"), prices=table
    )
    assert [row["machine"] for row in planned.cost] == ["p4de.24xlarge"]
    assert "p4de.24xlarge" in planned.trials["at_once_by"]
    small = {row["place"]: row["rule"] for row in planned.unpriced}
    assert set(small) == {"a2-ultragpu-1g", "NC24ads_A100_v4"}
    assert all("no place for a trial, which takes 8 on one node" in rule for rule in small.values())
    assert [line for line in plan_lines(planned) if line.startswith("unpriced")]


@given(st.integers(1, 16), st.integers(1, 16))
def test_a_machine_holds_a_trial_exactly_where_its_gpus_are_enough(wanted, there):
    machine = read_prices().machines[0].model_copy(update={"num_gpus": there})
    sizes = dict.fromkeys(("train_batch_size", "ppo_mini_batch_size"), 720_720)
    training = {**sizes, "num_gpus": wanted, "ppo_micro_batch_size_per_gpu": 1}
    experiment = parse_experiment({"profile": "gpu", "training": training}, "here")
    if there >= wanted:
        assert machines_with_place(experiment, [machine]) == ([machine], [])
    else:
        with pytest.raises(CapacityError, match="no place"):
            machines_with_place(experiment, [machine])


def test_on_the_cpu_profile_every_machine_has_a_place(root):
    demo = load_experiment(root / "experiments" / "demo.toml", ["training.num_gpus=2"])
    machines = find_machines(read_prices(), "NC24ads_A100_v4")
    assert machines_with_place(demo, machines) == (machines, [])


def test_more_places_than_trials_hold_the_trials(large):
    machines = find_machines(read_prices(), "p4de.24xlarge")
    assert trials_at_once(large("sweep.num_trials=1"), machines).number == 1
    assert trials_at_once(large("sweep.num_trials=3", "sweep.max_concurrent=9")).number == 3


def test_where_nothing_has_room_one_trial_is_counted_and_it_is_said(large):
    found = trials_at_once(large())
    assert found.number == 1
    assert found.source.startswith("one trial: the GPUs of this machine (--gpu NAME plans for")


def test_on_the_cpu_profile_a_runs_own_cluster_holds_one_trial(root):
    demo = load_experiment(root / "experiments" / "demo.toml", ["sweep.max_concurrent=0"])
    found = trials_at_once(demo)
    assert (found.number, found.source) == (1, "the slots of a run's own cluster")


def test_a_cluster_that_does_not_answer_is_an_error_with_the_ways_out(large, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "no such address")
    with pytest.raises(CapacityError, match=r"RAY_ADDRESS = no such address does not answer .*;"):
        trials_at_once(large())
    assert trials_at_once(large("sweep.max_concurrent=3")).number == 3, "then nobody asks"


def test_the_plan_of_max_concurrent_0_tells_what_holds_its_trials(root):
    file = str(root / "experiments" / "demo.toml")
    words = ["sweep", "plan", file, "--set", "sweep.max_concurrent=0"]
    shown = CliRunner().invoke(cli.app, words)
    assert "at_once 1, at_once_by the slots of a run's own cluster" in shown.output
    values = json.loads(CliRunner().invoke(cli.app, [*words, "--json"]).output)
    assert values["trials"]["at_once_by"] == "the slots of a run's own cluster"
