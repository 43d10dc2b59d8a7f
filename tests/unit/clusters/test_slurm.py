"""Batch scripts and SkyPilot tasks: what they ask for, and that a shell reads them."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deepicd.clusters.description import parse_cluster, read_table
from deepicd.clusters.rendering import render
from deepicd.errors import ConfigError

FOLDER = Path(__file__).parents[3] / "cluster"


def rendered(name, **changes):
    return render(parse_cluster({**read_table(FOLDER / f"{name}.yaml"), **changes}, source="here"))


@pytest.mark.parametrize("job", ["sweep", "two-nodes", "serve"])
def test_a_batch_script_asks_for_equal_nodes_and_starts_ray_on_each(job):
    script = rendered("slurm")[f"{job}.sbatch"]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script, re.MULTILINE))
    assert (options["nodes"], options["ntasks-per-node"], options["gpus-per-node"]) == (
        ("4", "1", "8")
    )
    (start,) = re.findall(r"ray symmetric-run (.*?) -- ", script.replace("\\\n", " "))
    assert "--num-cpus=96" in start and '--min-nodes "$SLURM_JOB_NUM_NODES"' in start
    # What symmetric-run sets itself, and refuses.
    assert not re.search(r"--(head|port|node-ip-address|block)\b", start)
    assert "RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600" in script


def test_a_token_that_others_may_read_is_refused_by_the_script(tmp_path):
    token = tmp_path / "token"
    token.write_text("0" * 64)
    script = rendered("slurm", token={"file": str(token)})["sweep.sbatch"]
    (check,) = re.findall(r"^if \[.*?^fi$", script, re.MULTILINE | re.DOTALL)
    for mode, code in ((0o644, 4), (0o600, 0)):
        token.chmod(mode)
        assert subprocess.run(["bash", "-c", check], check=False).returncode == code


def test_nodes_of_slurm_are_equal():
    (worker,) = read_table(FOLDER / "slurm.yaml")["workers"]
    with pytest.raises(ConfigError, match="on Slurm it is one of equal nodes"):
        rendered("slurm", workers=[{**worker, "gpus": 4}])


@pytest.mark.parametrize("name", ["aws", "gcp", "azure"])
def test_a_skypilot_task_starts_ray_beside_skypilots_own_on_every_node(name):
    task = yaml.safe_load(rendered(name)["sky-sweep.yaml"])
    subprocess.run(["bash", "-n"], input=task["run"], text=True, check=True)
    assert task["num_nodes"] == 2 and task["resources"]["image_id"].startswith("docker:")
    assert "symmetric-run" not in task["run"] and "--port=6379" in task["run"]
    assert task["file_mounts"] == {task["envs"]["RAY_AUTH_TOKEN_PATH"]: "runs/cluster/token"}
