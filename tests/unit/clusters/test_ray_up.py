"""Files for `ray up`: what each of them holds."""

from pathlib import Path

import yaml

from deepicd.clusters.description import parse_cluster, read_table
from deepicd.clusters.rendering import render

FOLDER = Path(__file__).parents[3] / "cluster"


def rendered(name, **changes):
    return render(parse_cluster({**read_table(FOLDER / f"{name}.yaml"), **changes}, source="here"))


def ray_up(name, **changes):
    return yaml.safe_load(rendered(name, **changes)["ray-up.yaml"])


def test_no_trial_goes_to_a_head_without_gpus_and_each_worker_offers_its_own():
    types = ray_up("aws")["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert types["h100"]["resources"] == {"CPU": 192, "GPU": 8}


def test_spot_machines_are_asked_for_in_the_words_of_each_cloud():
    for name, keys, value in (
        ("aws", ("InstanceMarketOptions", "MarketType"), "spot"),
        ("gcp", ("scheduling", "provisioningModel"), "SPOT"),
        ("azure", ("azure_arm_parameters", "priority"), "Spot"),
    ):
        worker = read_table(FOLDER / f"{name}.yaml")["workers"][0]
        for is_spot in (True, False):
            table = ray_up(name, workers=[{**worker, "is_spot": is_spot}])
            config = table["available_node_types"]["h100"]["node_config"]
            found = config.get(keys[0], {}).get(keys[1])
            assert (found == value) is is_spot


def test_gloo_gets_one_interface_and_the_token_is_a_file():
    for name in ("local", "onprem", "aws", "gcp", "azure"):
        table = ray_up(name)
        interface = read_table(FOLDER / f"{name}.yaml")["network_interface"]
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            start = table[key][-1]
            assert f"GLOO_SOCKET_IFNAME={interface} " in start
            assert "RAY_AUTH_TOKEN_PATH=~/deepicd-cluster/secrets/token " in start
        assert table["file_mounts"]["~/deepicd-cluster/secrets"] == "runs/cluster"


def test_shared_memory_of_a_container_is_that_of_the_machine():
    docker = ray_up("aws")["docker"]
    assert docker["head_run_options"] == ["--shm-size=20g"]
    assert docker["worker_run_options"] == ["--shm-size=200g"]
