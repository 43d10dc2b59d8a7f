"""`scripts/find_python.sh` on a throw-away machine: PATH, pyenv and uv are fake programs."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FITS, ANOTHER_VERSION, SHIM_NOT_SELECTED = "exit 0", "exit 1", "echo 'not selected' >&2; exit 127"
TOOLS = ("ls", "sort", "tr")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine on which only the script's own tools are installed."""
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        write_program(tmp_path / "bin" / name, f'exec {found} "$@"')
    return tmp_path


def write_program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def find(root: Path, machine: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs the script there."""

    def run(*arguments: str, folders: tuple[str, ...] = ("bin",)):
        path = ":".join(str(machine / folder) for folder in folders)
        return subprocess.run(
            ["/bin/sh", root / "scripts" / "find_python.sh", *arguments],
            env={"PATH": path, "HOME": str(machine / "home")},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def assert_found(done: subprocess.CompletedProcess[str], wanted: Path) -> None:
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(wanted), "")


def test_a_shim_that_does_not_start_is_passed_over_for_the_next_on_path(find, machine):
    write_program(machine / "shims" / "python3.11", SHIM_NOT_SELECTED)
    second = write_program(machine / "system with blanks" / "python3.11", FITS)
    write_program(machine / "home/.pyenv/versions/3.11.9/bin/python3.11", FITS)
    assert_found(find(folders=("shims", "system with blanks", "bin")), second)


def test_the_newest_of_pyenvs_versions_is_taken_before_uvs(find, machine):
    for version in ("3.11.4", "3.11.11", "3.12.1"):
        newest = machine / "home/.pyenv/versions/3.11.11/bin/python3.11"
        write_program(machine / f"home/.pyenv/versions/{version}/bin/python3.11", FITS)
    write_program(machine / "bin" / "uv", f"echo {machine}/managed")
    write_program(machine / "managed", FITS)
    assert_found(find(), newest)


def test_uvs_interpreter_is_taken_before_a_python3_that_fits(find, machine):
    write_program(machine / "bin" / "uv", f"[ $1 $2 = 'python find' ] || echo {machine}/managed")
    managed = write_program(machine / "managed", FITS)
    write_program(machine / "bin" / "python3", FITS)
    assert_found(find(), managed)


def test_python3_is_taken_when_it_is_the_right_version(find, machine):
    write_program(machine / "bin" / "uv", "echo 'no interpreter' >&2; exit 2")
    found = write_program(machine / "bin" / "python3", FITS)
    assert_found(find(), found)


def test_where_none_fits_the_message_names_the_ways_out(find, machine):
    write_program(machine / "bin" / "python3.11", SHIM_NOT_SELECTED)
    write_program(machine / "bin" / "python3", ANOTHER_VERSION)
    done = find()
    assert (done.returncode, done.stdout) == (1, "")
    for way in ("uv python install 3.11", "pyenv install 3.11", "PYTHON=/path/to/python3.11"):
        assert way in done.stderr


def test_the_one_that_is_named_is_taken_or_refused_and_no_other(find, machine):
    mine = write_program(machine / "mine", FITS)
    write_program(machine / "bin" / "python3.11", FITS)
    old = write_program(machine / "old", ANOTHER_VERSION)
    assert_found(find(str(mine)), mine)
    refused = find(str(old))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"'{old}' is another one" in refused.stderr


def test_of_several_versions_the_first_that_is_there_is_taken(find, machine):
    twelve = write_program(machine / "bin" / "python3.12", FITS)
    assert find().returncode == 1, "3.12 was not asked for"
    assert_found(find("", "3.11 3.12"), twelve)
    eleven = write_program(machine / "bin" / "python3.11", FITS)
    assert_found(find("", "3.11 3.12"), eleven)
    write_program(machine / "bin" / "python3.11", ANOTHER_VERSION)
    write_program(machine / "bin" / "python3.12", ANOTHER_VERSION)
    assert "locked for Python 3.11 3.12 and none was found" in find("", "3.11 3.12").stderr


def test_a_real_interpreter_fits_its_own_version_alone(find):
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert find(sys.executable, own).returncode == 0
    assert find(sys.executable, "2.7 4.2").returncode == 1


@pytest.fixture
def claim(root: Path, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """A function that claims one environment for a profile."""
    (tmp_path / "venv").mkdir()
    command = ["/bin/sh", root / "scripts" / "claim_environment.sh", tmp_path / "venv"]
    return lambda profile: subprocess.run(
        [*command, profile], capture_output=True, text=True, check=False
    )


def test_an_environment_keeps_its_profile_and_refuses_the_other(claim):
    assert [claim("gpu").returncode for _ in range(2)] == [0, 0]
    refused = claim("cpu")
    assert refused.returncode == 1
    assert "holds the gpu profile" in refused.stderr and "VENV=.venv-cpu" in refused.stderr
    assert claim("gpu").returncode == 0, "a refusal changed whose it is"


def test_an_environment_from_before_the_profiles_is_the_cpus(claim, tmp_path):
    (tmp_path / "venv" / ".stamp").touch()
    assert claim("gpu").returncode == 1
    assert claim("cpu").returncode == 0


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--dry-run", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_each_profile_has_an_environment_and_a_lock_of_its_own(root, tmp_path):
    for name in ("Makefile", "pyproject.toml", "scripts", "requirements"):
        (tmp_path / name).symlink_to(root / name)
    for profile, environment in (("cpu", ".venv"), ("gpu", ".venv-gpu")):
        said = make(tmp_path, "setup", f"PROFILE={profile}").stdout
        assert f'claim_environment.sh "{environment}" "{profile}"' in said
        assert f"-r requirements/{profile}.lock" in said
        assert ("vllm-alias" in said) == (profile == "cpu"), "verl finds vllm itself on a GPU"
    assert "it is cpu or gpu" in make(tmp_path, "setup", "PROFILE=tpu").stderr


def test_make_asks_it_and_stops_with_its_words(root, tmp_path):
    for name in ("Makefile", "pyproject.toml", "scripts", "requirements"):
        (tmp_path / name).symlink_to(root / name)
    old = write_program(tmp_path / "old", ANOTHER_VERSION)
    done = subprocess.run(
        ["make", "setup", f"PYTHON={old}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0 and f"'{old}' is another one" in done.stderr
    assert not (tmp_path / ".venv").exists()
