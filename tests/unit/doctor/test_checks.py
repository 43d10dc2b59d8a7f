"""Each check of a node and of a cluster fails for its own fault, and for no other."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_facts import CARD, GB, VERSIONS, cpu_node, failed, pair, well_node, with_network

from deepicd.doctor.facts import AllReduce, Check, ClusterFacts, RayShare, Space, Token
from deepicd.doctor.network_checks import is_spared, nccl_takes


def alone(facts):
    return failed(ClusterFacts((facts,)))


BROKEN = {
    "a card without a driver": ({"gpus": (), "cuda": "", "torch_cuda": ""}, {"driver"}),
    "two drivers": ({"gpus": (CARD,) * 7 + ({**CARD, "driver_version": "550"},)}, {"driver"}),
    "a driver older than torch": ({"cuda": "11.8"}, {"cuda"}),
    "torch for CPU beside cards": ({"torch_cuda": ""}, {"cuda"}),
    "shm below the object store": ({"shm": Space("/dev/shm", 100 * GB, 100 * GB)}, {"shm"}),
    "a full disk of Ray": ({"ray_disk": Space("/tmp/ray", 100_000 * GB, 500 * GB)}, {"ray disk"}),
    "a full disk of runs": ({"runs_disk": Space("/runs", 9 * GB, GB)}, {"runs disk"}),
    "no memory": ({"available_bytes": 2 * GB}, {"memory"}),
    "few open files": ({"open_files": 4096}, {"open files"}),
    "a kernel that does not load": (
        {"kernels": {"torch": "", "x": "ImportError"}},
        {"attention kernels"},
    ),
    "no kernel at all": ({"kernels": {}}, {"attention kernels"}),
    "a clock that is ahead": ({"clock_s": 3.0}, {"clock"}),
    "a clock that is behind": ({"clock_s": -3.0}, {"clock"}),
    "no token": ({"token": Token(is_asked=False)}, {"token"}),
    "a token that others read": ({"token": Token(True, "t", "others can read it")}, {"token"}),
    "a folder that is not shared": (
        {"unseen": ("does not see the file of x",)},
        {"shared storage"},
    ),
    "monitoring switched off": (
        {"environment": {"TORCH_NCCL_ENABLE_MONITORING": "0"}},
        {"nccl watchdog"},
    ),
    "NCCL without the route": ({"environment": {"NCCL_SOCKET_IFNAME": "^eth"}}, {"nccl interface"}),
    "a list for Gloo": ({"environment": {"GLOO_SOCKET_IFNAME": "eth0,ib0"}}, {"gloo interface"}),
    "HTTP_PROXY in capitals": ({"environment": {"HTTP_PROXY": "http://p:1"}}, {"proxy"}),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_of_a_node_fails_its_own_check_alone(fault):
    changes, names = BROKEN[fault]
    found = alone(well_node(**changes))
    assert set(found) == names
    assert all(check.advice and check.wanted and check.node == "first" for check in found.values())


SOUND = {
    "logical slots of the CPU profile": cpu_node(ray=RayShare(1, 10, GB)),
    "no Ray yet": cpu_node(),
    "no limit of open files": well_node(open_files=-1),
    "a container that was given two of eight cards": well_node(
        gpus=(CARD, CARD), ray=RayShare(2, 8, 200 * GB)
    ),
    "a clock that may be right": well_node(clock_s=4.0, clock_error_s=3.5),
    "Slurm's number was heeded": well_node(
        environment={"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "64"}
    ),
    "Slurm's variable outside of a job": well_node(environment={"SLURM_CPUS_ON_NODE": "2"}),
    "a proxy that is not for the cluster": well_node(
        environment={"http_proxy": "http://p:1", "no_proxy": "localhost,127.0.0.0/8,10.0.0.0/8"}
    ),
    "one name, of the route": well_node(
        environment={"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "^lo,docker,veth"}
    ),
    "a newer minor version of CUDA in torch": well_node(torch_cuda="12.9"),
}


@pytest.mark.parametrize("node", SOUND)
def test_what_is_unusual_and_works_is_no_fault(node):
    assert not alone(SOUND[node])


def test_a_host_name_of_loopback_is_a_fault_of_several_nodes_only():
    loopback = {"own_address": "127.0.1.1"}
    assert not alone(with_network(well_node(), **loopback))
    broken = with_network(well_node("second", 2), **loopback)
    found = failed(ClusterFacts((well_node(), broken)))
    assert (
        list(found) == ["gloo interface"]
        and "host name is 127.0.1.1" in found["gloo interface"].value
    )


def test_a_port_that_another_node_closes_is_named():
    broken = with_network(well_node(), ports={"raylet of x": "", "objects of x": "timed out"})
    assert alone(broken)["ports"].value == "objects of x: timed out"


def test_a_node_that_does_not_answer_is_a_fault():
    facts = replace(pair(), silent={"third": "No module named 'deepicd'"})
    found = failed(facts)
    assert found["answer"].node == "third" and "No module" in found["answer"].value


def test_the_command_itself_is_compared_too():
    facts = replace(pair(), command_versions={**VERSIONS, "ray": "2.59.0"})
    assert failed(facts)["versions"].node == "this command"


def test_a_package_that_one_node_lacks_is_named():
    versions = {name: value for name, value in VERSIONS.items() if name != "vllm"}
    facts = ClusterFacts((well_node(), well_node("b", 2), well_node("c", 3, versions=versions)))
    assert failed(facts)["versions"].value == "vllm none, not 0.24.0"


@pytest.mark.parametrize(("wanted", "is_well"), [(None, True), (2, True), (1, True), (3, False)])
def test_fewer_nodes_than_were_asked_for_are_a_fault(wanted, is_well):
    assert ("nodes" not in failed(pair(), wanted)) is is_well


def test_a_node_that_was_replaced_is_no_fault_where_the_number_is_right():
    assert not failed(replace(pair(), dead=("old",)), 2)


def test_a_bundle_that_waits_for_others_to_end_is_no_fault():
    assert not failed(replace(pair(), waiting=({"GPU": 8.0},)))


def test_gloo_that_fails_has_another_way_out_than_nccl():
    found = failed(replace(pair(), all_reduce=AllReduce("gloo", 2, fault="refused")))
    assert "GLOO_SOCKET_IFNAME" in found["all-reduce"].advice


def test_what_is_well_has_no_advice_and_stops_nothing():
    check = Check("a", "b", "c", "d", ok=True, advice="e", is_vital=True)
    assert (check.advice, check.is_vital) == ("", False)
    assert {field.name for field in fields(check)} >= {"name", "node", "value", "ok", "advice"}


@pytest.mark.parametrize(
    ("names", "interface", "is_taken"),
    [
        ("", "eth0", True),
        ("eth", "eth0", True),
        ("=eth", "eth0", False),
        ("=eth0,ib0", "ib0", True),
        ("^lo,docker", "docker0", False),
        ("^lo,docker", "eth0", True),
        ("^=eth0", "eth0", False),
        ("^=eth0", "eth01", True),
        ("ib", "eth0", False),
    ],
)
def test_nccl_reads_its_list_of_interfaces(names, interface, is_taken):
    assert nccl_takes(names, interface) is is_taken


@pytest.mark.parametrize(
    ("no_proxy", "host", "spared"),
    [
        ("", "10.0.0.1", False),
        ("*", "10.0.0.1", True),
        ("10.0.0.0/8", "10.9.8.7", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.1", "10.0.0.11", False),
        (".cluster.local", "head.cluster.local", True),
        ("cluster.local", "head.cluster.local", True),
        ("local", "notlocal", False),
        ("localhost, 127.0.0.1", "127.0.0.1", True),
        ("fd00::/8", "fd00::2", True),
    ],
)
def test_no_proxy_is_read_by_name_end_and_network(no_proxy, host, spared):
    assert is_spared(no_proxy, host) is spared


@given(st.lists(st.sampled_from(["eth", "lo", "ib0", "=x"]), min_size=1), st.sampled_from("ab"))
def test_what_nccl_is_told_to_leave_out_is_what_it_would_take(names, end):
    listed = ",".join(names)
    assert nccl_takes(f"^{listed}", f"eth{end}") is not nccl_takes(listed, f"eth{end}")
