"""Commands of public tools: which are run, for what, and what asks first."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepicd.cli.cluster import app
from deepicd.errors import ConfigError, MissingError
from deepicd.pipeline.cluster.launch import Step, read_launch, run_steps

FOLDER = Path(__file__).parents[4] / "cluster"


def lines(steps):
    return [str(step) for step in steps]


@pytest.mark.parametrize(
    ("name", "up", "down", "status"),
    [
        ("aws", "ray up --yes", "ray down --yes", "ray exec"),
        ("kubernetes", "kubectl --namespace deepicd get secret", "kubectl", "kubectl"),
        ("slurm", "", "scancel --me --name=deepicd-slurm-sweep", "squeue --me"),
    ],
)
def test_each_place_has_its_tool(name, up, down, status):
    launch = read_launch(FOLDER / f"{name}.yaml")
    if up:
        assert lines(launch.up())[0].startswith(up)
    assert lines(launch.down())[0].startswith(down)
    assert lines(launch.status())[0].startswith(status)


def test_a_job_on_kubernetes_asks_for_the_secret_before_it_is_applied_and_follows_its_log():
    launch = read_launch(FOLDER / "kubernetes.yaml")
    secret, apply, wait, log = launch.submit("sweep", is_detached=False)
    assert str(secret).endswith("get secret deepicd-token") and "create secret" in secret.advice
    assert str(apply).endswith("cluster/kubernetes/overlays/sweep")
    assert "--for=create job/deepicd-sweep --timeout=30m" in str(wait)
    assert str(log).endswith("logs --follow job/deepicd-sweep")
    assert len(launch.submit("sweep", is_detached=True)) == 2
    assert len(launch.submit("serve", is_detached=False)) == 2


def test_down_on_kubernetes_leaves_the_claim():
    (step,) = read_launch(FOLDER / "kubernetes.yaml").down()
    assert not [word for word in step.words if "base" in word or "kustom" in word or word == "-k"]


def test_an_unknown_job_names_the_nearest():
    with pytest.raises(ConfigError, match=r"no job 'swep' .*nearest: sweep"):
        read_launch(FOLDER / "slurm.yaml").submit("swep", is_detached=True)


def test_a_folder_that_says_something_else_is_not_launched(tmp_path):
    shutil.copy(FOLDER / "aws.yaml", tmp_path / "aws.yaml")
    shutil.copytree(FOLDER / "aws", tmp_path / "aws")
    read_launch(tmp_path / "aws.yaml")
    with (tmp_path / "aws" / "ray-up.yaml").open("a") as file:
        file.write("# mine\n")
    with pytest.raises(ConfigError, match=r"is not what .* renders to"):
        read_launch(tmp_path / "aws.yaml")


def test_a_command_that_fails_gives_its_own_code_or_its_advice_and_ends_the_rest(tmp_path):
    left = tmp_path / "left"
    rest = Step(("touch", str(left)))
    assert run_steps([Step(("true",))]) == 0
    assert run_steps([Step(("sh", "-c", "exit 7")), rest]) == 7
    with pytest.raises(MissingError, match="make the Secret"):
        run_steps([Step(("false",), "make the Secret"), rest])
    with pytest.raises(MissingError, match="no-such-tool is not on PATH"):
        run_steps([Step(("no-such-tool",)), rest])
    assert not left.exists()


@pytest.mark.parametrize("command", ["up", "down"])
def test_what_ends_jobs_asks_and_a_dry_run_runs_nothing(command):
    path = str(FOLDER / "aws.yaml")
    refused = CliRunner().invoke(app, [command, path])
    assert isinstance(refused.exception, ConfigError)
    assert "every job that runs on deepicd-aws would end" in str(refused.exception)
    shown = CliRunner().invoke(app, [command, path, "--dry-run"])
    assert shown.exit_code == 0 and shown.output.startswith(f"ray {command} --yes ")


def test_slurm_has_nothing_to_bring_up():
    with pytest.raises(ConfigError, match="a job on Slurm brings its own cluster"):
        read_launch(FOLDER / "slurm.yaml").up()
