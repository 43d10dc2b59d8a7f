"""Does an experiment fit a cluster: each question can be answered with no."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepicd.cli.cluster import app
from deepicd.clusters.description import parse_cluster, read_table
from deepicd.config import load_experiment
from deepicd.pipeline.cluster.fit import fit
from deepicd.sweeps.planning.prices import read_prices

ROOT = Path(__file__).parents[4]


def rows(name, experiment, *overrides, **changes):
    table = {**read_table(ROOT / "cluster" / f"{name}.yaml"), **changes}
    loaded = load_experiment(ROOT / "experiments" / f"{experiment}.toml", overrides)
    return {row.name: row for row in fit(parse_cluster(table, source="x"), loaded, read_prices())}


def test_the_shipped_experiments_fit_the_shipped_clusters():
    for name, experiment in (("kubernetes", "hierarchy_vs_strict_7b"), ("kubernetes-cpu", "demo")):
        assert [row for row in rows(name, experiment).values() if not row.is_ok] == []


def worker(name, **changes):
    (group,) = read_table(ROOT / "cluster" / f"{name}.yaml")["workers"]
    return [{**group, **changes}]


@pytest.mark.parametrize(
    ("name", "overrides", "changes"),
    [
        ("gpus", ("training.num_gpus=16",), {}),
        ("gpus", ("training.num_nodes=8", "training.num_gpus=4"), {}),
        ("gpus", ("sweep.max_concurrent=5",), {}),
        ("cpus_of_a_gpu", (), {"workers": worker("kubernetes", cpus=23)}),
        ("cpus", (), {"workers": worker("kubernetes", cpus=13)}),
        ("profile", ("profile=cpu",), {}),
    ],
)
def test_what_does_not_fit_is_said_by_name(name, overrides, changes):
    row = rows("kubernetes", "hierarchy_vs_strict_7b", *overrides, **changes)[name]
    assert not row.is_ok and row.advice


def test_memory_and_disk_are_judged_where_the_model_is_known():
    large = ("profile=gpu", "model.hidden_size=8192", "model.num_heads=64", "model.num_layers=80")
    found = rows("kubernetes", "demo", *large, storage={**storage(), "size_gib": 100})
    assert not found["gpu_memory"].is_ok and not found["checkpoint_disk"].is_ok
    unknown = rows("kubernetes", "hierarchy_vs_strict_7b")
    assert "not known" in unknown["gpu_memory"].wanted


def storage():
    return read_table(ROOT / "cluster" / "kubernetes.yaml")["storage"]


def test_an_hour_costs_what_the_table_says_and_own_machines_nothing():
    assert rows("aws", "hierarchy_vs_strict_7b")["cost"].value.startswith("110.08 USD an hour")
    assert rows("slurm", "hierarchy_vs_strict_7b")["cost"].value.startswith("0.00 USD an hour")


def test_the_command_says_it_as_json_with_exit_code_5_where_it_does_not_fit():
    experiment = ["--experiment", str(ROOT / "experiments" / "hierarchy_vs_strict_7b.toml")]
    for name, code in (("kubernetes", 0), ("onprem", 5)):
        path = str(ROOT / "cluster" / f"{name}.yaml")
        done = CliRunner().invoke(app, ["check", path, *experiment, "--json"])
        said = json.loads(done.output)
        assert done.exit_code == code and said["fits"] is (code == 0)
        assert {"name", "value", "wanted", "is_ok", "advice"} == said["checks"][0].keys()
