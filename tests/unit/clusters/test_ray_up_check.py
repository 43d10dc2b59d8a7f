"""Files for `ray up`: each one in cluster/ passes, and each rule can fail."""

import copy
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deepicd.clusters.description import read_table
from deepicd.clusters.ray_session import has_token, logical_slots, write_token
from deepicd.clusters.ray_up_check import ray_up_faults
from deepicd.config import Experiment

DESCRIPTIONS = sorted((Path(__file__).parents[3] / "cluster").glob("*/ray-up.yaml"))


@pytest.fixture
def local(root):
    return read_table(root / "cluster" / "local" / "ray-up.yaml")


def changed(table, address, value):
    """A deep copy with one dotted address set; None removes it."""
    table = copy.deepcopy(table)
    *parents, last = address.split(".")
    part = table
    for parent in parents:
        part = part[parent]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return table


def test_every_place_of_ray_up_has_a_file():
    assert {path.parent.name for path in DESCRIPTIONS} == {"local", "onprem", "aws", "gcp", "azure"}


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.parent.name)
def test_every_file_in_the_repository_can_be_launched(path):
    assert not ray_up_faults(read_table(path))


def test_the_schema_is_read_without_importing_ray():
    code = (
        "import sys; from deepicd.clusters.ray_up_check import schema_path; "
        "print(schema_path().is_file(), 'ray.autoscaler' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize(
    ("address", "value", "words"),
    [
        ("cluster_nam", "x", r"'cluster_nam' was unexpected"),
        ("cluster_name", None, "'cluster_name' is a required property"),
        ("max_workers", -1, r"max_workers: -1 is less than the minimum"),
        ("auth.ssh_usr", "x", r"auth: .*'ssh_usr' was unexpected"),
        ("provider.type", None, "'type' is a required property"),
        ("setup_commands", "make", r"setup_commands: 'make' is not of type 'array'"),
        ("auth.ssh_user", "", r"auth\.ssh_user: Ray logs in over ssh"),
        ("provider.head_ip", None, r"provider\.head_ip: a local provider lists its machines"),
        ("provider.worker_ips", ["10.0.0.2"], "workers cannot reach a loopback address"),
        ("head_start_ray_commands", ["ray stop"], "no command runs `ray start`"),
        ("worker_start_ray_commands", None, "worker_start_ray_commands: no command runs"),
        (
            "head_start_ray_commands",
            ["RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=t ray start --head"],
            "set RAY_enable_autoscaler_v2=0",
        ),
        (
            "worker_start_ray_commands",
            ["RAY_AUTH_MODE=token ray start --address=$RAY_HEAD_IP:6379"],
            "`ray start` without RAY_AUTH_TOKEN_PATH=",
        ),
    ],
)
def test_a_file_that_cannot_work_is_refused_with_the_place(local, address, value, words):
    assert re.search(words, "\n".join(ray_up_faults(changed(local, address, value))))


def test_the_local_cluster_has_the_slots_of_the_embedded_one(local):
    (start,) = [line for line in local["head_start_ray_commands"] if "ray start" in line]
    slots = [re.search(rf"--num-{kind}=(\d+)", start).group(1) for kind in ("cpus", "gpus")]
    assert tuple(map(int, slots)) == logical_slots(Experiment())


def test_a_token_is_private_long_and_kept(tmp_path):
    path = write_token(tmp_path / "deep" / "token")
    first = path.read_text()
    assert len(first) == 64 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert write_token(path).read_text() == first
    assert write_token(tmp_path / "other").read_text() != first


@pytest.mark.parametrize(
    ("env", "is_named"),
    [
        ({}, False),
        ({"RAY_AUTH_TOKEN": ""}, False),
        ({"RAY_AUTH_TOKEN": "x"}, True),
        ({"RAY_AUTH_TOKEN_PATH": "secrets/token"}, True),
    ],
)
def test_a_token_that_the_environment_names_is_kept(env, is_named):
    assert has_token(env) is is_named
