"""The ten most asked troubles of verl on several nodes: each is found, on its node, with its cure.

The numbers are of the public issues in which users met them.
"""

import re
from dataclasses import replace

import pytest
from node_facts import GB, VERSIONS, failed, pair

from deepicd.doctor.facts import AllReduce, RayShare, Space

SLURM = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "16"}
PROXY = {"http_proxy": "http://proxy:3128", "no_proxy": "localhost,127.0.0.1"}


TROUBLES = {
    "verl 491, 242, 278: a worker never joined": (
        replace(pair(), dead=("third (10.0.0.3)",)),
        "nodes",
        "all",
        r"2 nodes with 16 GPUs .*gone: third",
        "ray start --address",
    ),
    "verl 491: Ray counts fewer cards than there are": (
        pair(ray=RayShare(6, 64, 200 * GB)),
        "gpus",
        "second",
        "8 NVIDIA H100; Ray counts 6",
        "--num-gpus=8",
    ),
    "verl 523: Ray counts more CPUs than Slurm gave": (
        pair(environment=SLURM),
        "cpus",
        "second",
        "Ray counts 64, Slurm gives 16",
        "--num-cpus=16",
    ),
    "verl 3350, 3445, 597: dead at the start of several cards": (
        replace(pair(), all_reduce=AllReduce("nccl", 16, fault="unhandled cuda error")),
        "all-reduce",
        "all",
        "unhandled cuda error",
        "NCCL_P2P_DISABLE=1",
    ),
    "verl 967: Gloo on the wrong interface": (
        pair(environment={"GLOO_SOCKET_IFNAME": "ib0"}),
        "gloo interface",
        "second",
        "GLOO_SOCKET_IFNAME=ib0",
        "export GLOO_SOCKET_IFNAME=eth0",
    ),
    "verl 2938: the data loader is killed for want of /dev/shm": (
        pair(shm=Space("/dev/shm", 64_000_000, 64_000_000)),
        "shm",
        "second",
        "0.1 GB",
        "--shm-size",
    ),
    "ray 52454: `ray job submit` hangs at a proxy": (
        pair(environment=PROXY),
        "proxy",
        "second",
        "http_proxy=http://proxy:3128",
        "no_proxy=localhost,127.0.0.1,10.0.0.1,10.0.0.2",
    ),
    "verl 3873, 2995: a hang in the second rollout, and no watchdog": (
        pair(environment={"TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}),
        "nccl watchdog",
        "second",
        "switched off by TORCH_NCCL_ASYNC_ERROR_HANDLING",
        "unset TORCH_NCCL_ASYNC_ERROR_HANDLING",
    ),
    "verl 7180, ray 42683, 49069: an actor is pending for ever": (
        replace(pair(), waiting=({"GPU": 16.0, "CPU": 4.0},)),
        "placement",
        "all",
        "4 CPU, 16 GPU fits on no node; the most on one are 64 CPU, 8 GPU",
        "lower training.num_gpus",
    ),
    "ray 44063, 49912: Python or a package differs": (
        pair(versions={**VERSIONS, "python": "3.12.1", "ray": "2.59.0"}),
        "versions",
        "second",
        "python 3.12.1, not 3.11.7; ray 2.59.0, not 2.60.0",
        "same lock",
    ),
    "ray 49173: the object store spills to a disk that is too small": (
        pair(ray_disk=Space("/tmp/ray", 3000 * GB, 160 * GB)),
        "ray disk",
        "second",
        "160.0 GB free, 95% used",
        "--temp-dir",
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_is_found_alone_and_on_its_node_with_its_cure(trouble):
    facts, name, node, value, cure = TROUBLES[trouble]
    found = failed(facts)
    assert list(found) == [name]
    assert found[name].node == node
    assert cure in found[name].advice
    assert re.search(value, found[name].value), found[name].value


def test_nodes_that_are_well_have_no_fault():
    facts = replace(pair(), all_reduce=AllReduce("nccl", 16, 40e9), command_versions=VERSIONS)
    assert not failed(facts, 2)
