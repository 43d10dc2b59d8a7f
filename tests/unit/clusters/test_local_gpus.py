"""GPUs are counted as a process may use them; a cluster that is named may have others."""

import pytest

from deepicd.clusters.local_gpus import count_gpus, find_missing
from deepicd.config import parse_experiment


@pytest.fixture
def driver(tmp_path):
    for number in range(4):
        (tmp_path / f"0000:0{number}:00.0").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("visible", "number"),
    [(None, 4), ("", 0), ("0", 1), ("0,2", 2), ("1,-1,2", 1), ("-1", 0), ("0,1,2,3,4,5", 4)],
)
def test_the_environment_hides_gpus(driver, visible, number):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert count_gpus(environment, driver) == number


def test_a_machine_without_the_driver_has_none(tmp_path):
    assert count_gpus({}, tmp_path / "none") == 0


@pytest.mark.parametrize(
    ("training", "is_enough"),
    [({"num_gpus": 4}, True), ({"num_gpus": 8}, False), ({"num_gpus": 2, "num_nodes": 2}, False)],
)
def test_what_a_trial_needs_and_the_machine_lacks_is_missing(driver, training, is_enough):
    experiment = parse_experiment({"profile": "gpu", "training": training}, "here")
    missing = list(find_missing(experiment, {}, driver))
    assert not missing if is_enough else missing[0].is_missing
    assert not list(find_missing(experiment, {"RAY_ADDRESS": "head:6379"}, driver))


def test_the_cpu_profile_needs_no_gpu(tmp_path):
    assert not list(find_missing(parse_experiment({}, "here"), {}, tmp_path / "none"))
