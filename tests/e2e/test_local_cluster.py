"""`ray up cluster/local/ray-up.yaml` on a private machine: a job, the token, down."""

import os
import shutil
import subprocess

import pytest

from deepicd.clusters.ray_session import write_token

NEEDED = ("unshare", "sshd", "ssh", "ssh-keygen", "rsync", "ip", "curl", "make")
OURS = ("RAY_", "TMPDIR")  # the private machine has its own
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def test_a_cluster_of_this_machine_comes_up_takes_a_job_and_leaves_nothing(root, tmp_path):
    missing = [name for name in NEEDED if not shutil.which(name, path=PATH)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"a private machine needs root and {', '.join(missing) or 'no more'}")
    home = tmp_path / "home"
    token = write_token(home / "token" / "token")
    description = tmp_path / "local.yaml"
    text = (root / "cluster" / "local" / "ray-up.yaml").read_text()
    assert "secrets: runs/cluster" in text
    description.write_text(text.replace("secrets: runs/cluster", f"secrets: {token.parent}"))

    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(OURS)},
        "PATH": PATH,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    spaces = ["unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
    folder = root / "tests" / "e2e"
    job = os.environ.get("DEEPICD_CLUSTER_JOB", "")
    machine = ["bash", folder / "private_machine.sh", home, root]
    launch = ["bash", folder / "local_cluster.sh", description, *([job] if job else [])]
    done = subprocess.run(
        [*spaces, *machine, *launch],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    said = done.stdout + done.stderr
    print(said)
    assert done.returncode == 0, said[-4000:]
    if not job:
        assert 'job found {"CPU": 10.0, "GPU": 1.0} a task ran' in said
    assert "status with the token: 200" in said
    assert "status without it: 401" in said
    assert "raylets left: 0" in said
