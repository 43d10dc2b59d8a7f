"""What a record says about code, machine and data, and that it guesses nothing."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from deepicd import provenance
from deepicd.errors import MissingError
from deepicd.paths import RunPaths
from deepicd.sweeps.results.status import trial_facts


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of one file, which stands for ours."""
    package = tmp_path / "platform" / "deepicd"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(provenance, "_HERE", package)
    return package


def test_a_clean_checkout_has_a_commit_and_no_diff(checkout):
    code, diff = provenance.read_code()
    assert len(code["commit"]) == 40 and provenance.code_commit() == code["commit"][:12]
    assert (code["is_changed"], code["new_files"], diff) == (False, [], "")


def test_a_changed_checkout_says_what_was_changed_in_the_code_only(checkout):
    (checkout / "__init__.py").write_text("a = 2\n")
    (checkout / "new one.py").write_text("")
    (checkout.parents[1] / "notes.txt").write_text("no code")
    code, diff = provenance.read_code()
    assert code["is_changed"] and code["new_files"] == ["platform/deepicd/new one.py"]
    assert "-a = 1\n+a = 2\n" in diff and "notes" not in diff
    assert provenance.code_commit().endswith("-dirty")


def test_a_package_that_is_installed_below_a_checkout_has_no_commit(checkout, monkeypatch):
    installed = checkout / "venv"
    installed.mkdir()
    (installed / "__init__.py").write_text("")
    monkeypatch.setattr(provenance, "_HERE", installed)
    assert provenance.code_commit() == ""
    assert provenance.read_code()[0]["commit"] is None


def test_the_lock_is_the_profiles_or_else_the_list_of_installed_packages(
    root, tmp_path, monkeypatch
):
    content = (root / "requirements" / "gpu.lock").read_bytes()
    wanted = {"name": "requirements/gpu.lock", "sha256": hashlib.sha256(content).hexdigest()}
    assert provenance.read_lock("gpu") == wanted
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    installed = provenance.read_lock("gpu")
    assert installed["name"] == "installed packages" and installed == provenance.read_lock("cpu")


def test_gpus_are_what_nvidia_smi_says(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    table = "| NVIDIA-SMI 580.65  Driver Version: 580.65  CUDA Version: 13.0 |"
    row = "NVIDIA H100 80GB HBM3, 580.65, 81559 MiB"
    tool.write_text(f'#!/bin/sh\n[ $# -gt 0 ] && echo "{row}" || echo "{table}"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    names = {"name": "NVIDIA H100 80GB HBM3", "driver_version": "580.65"}
    gpus = [{**names, "memory.total": "81559 MiB"}]
    assert provenance.read_gpus() == {"gpus": gpus, "cuda": "13.0"}


def test_without_nvidia_smi_or_with_a_broken_one_there_are_no_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.read_gpus() == {"gpus": [], "cuda": None}
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho no driver\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert provenance.read_gpus() == {"gpus": [], "cuda": None}


def test_the_machine_is_described(monkeypatch):
    machine = provenance.read_machine()
    assert machine["cpu"] and machine["num_cpus"] and machine["os"].startswith("Linux")


def test_splits_without_a_report_and_a_model_without_a_manifest_have_no_identity(tmp_path):
    split = tmp_path / "validation.parquet"
    assert provenance.describe_data(split, split) is None
    assert provenance.describe_model(tmp_path) == {"path": str(tmp_path), "sha256": None}


def test_a_record_keeps_the_diff_beside_it_and_the_one_of_an_earlier_start(tmp_path):
    folder = tmp_path / "sweep" / "trials" / "t1"
    provenance.write_record(folder, {"trial": "t1", "seed": 1}, diff="+a\n")
    provenance.add_to_record(folder, verl={"sha256": "x"})
    record = json.loads((folder / "record.json").read_text())
    digest = hashlib.sha256((folder / "code.diff").read_bytes()).hexdigest()
    assert record == {"trial": "t1", "seed": 1, "diff_sha256": digest, "verl": {"sha256": "x"}}
    provenance.write_record(folder, {"trial": "t1", "seed": 2}, diff="")
    assert not (folder / "code.diff").exists()
    assert json.loads((folder / "record-000.json").read_text()) == record
    write_rows(tmp_path, [{"step": 0}, {"step": 1, "objective": float("nan")}])
    facts = trial_facts(RunPaths(tmp_path), "t1")
    assert facts["record"]["seed"] == 2 and facts["last"] == {"step": 1}


def write_rows(root: Path, rows: list[dict]) -> None:
    folder = root / "sweep" / "tune" / "t1"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_trial_without_a_record_is_refused_with_those_that_are_there(tmp_path):
    provenance.write_record(tmp_path / "sweep" / "trials" / "t1", {}, diff="")
    with pytest.raises(MissingError, match=r"no record of trial 't2' .* known: t1"):
        trial_facts(RunPaths(tmp_path), "t2")
