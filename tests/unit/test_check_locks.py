"""The offline check of the locks says what a lock lacks, and nothing where it lacks nothing."""

import runpy
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.version import Version


@pytest.fixture(scope="module")
def locks(root):
    return runpy.run_path(str(root / "scripts" / "check_locks.py"))


def test_a_package_that_is_not_pinned_is_named_with_who_asks_for_it(locks):
    gaps = locks["find_gaps"]([Requirement("nowhere>=1")], {})
    assert gaps == ["nowhere>=1 is wanted by pyproject.toml; no pin"]


def test_a_pin_outside_the_range_is_named_with_its_version(locks):
    gaps = locks["find_gaps"](
        [Requirement("Nowhere_At.all>=2")], {"nowhere-at-all": Version("1.5")}
    )
    assert gaps == ["Nowhere_At.all>=2 is wanted by pyproject.toml; 1.5 is pinned"]


def test_a_local_version_is_held_by_the_pin_of_that_build(locks):
    pins = {"torch": Version("0.1+cpu")}
    assert locks["find_gaps"]([Requirement("torch==0.1+cpu")], pins) == []
    assert locks["find_gaps"]([Requirement("torch==0.1+cu129")], pins) != []


def test_what_an_installed_package_requires_is_looked_up_too(locks):
    pins = {"pytest": Version(version("pytest"))}
    gaps = locks["find_gaps"]([Requirement("pytest")], pins)
    assert any(gap.startswith("pluggy") and f"pytest {pins['pytest']}" in gap for gap in gaps)


def test_an_extra_is_looked_up_only_where_it_is_asked_for(locks, root):
    pins = locks["read_pins"](root / "requirements" / "cpu.lock")
    without = {name: pin for name, pin in pins.items() if name != "tensorboardx"}
    assert locks["find_gaps"]([Requirement("ray")], without) == []
    (gap,) = locks["find_gaps"]([Requirement("ray[tune]")], without)
    assert gap.startswith("tensorboardX")


def test_an_override_takes_a_package_out_of_the_check(locks):
    assert locks["find_gaps"]([Requirement("nowhere")], {}, frozenset({"nowhere"})) == []


def test_an_empty_lock_lacks_every_package_that_the_project_asks_for(locks, root):
    wanted = locks["read_requirements"](root, locks["PROFILES"]["cpu"])
    gaps = locks["find_gaps"](wanted, {}, frozenset())
    assert len(gaps) == len({str(requirement) for requirement in wanted}) > 40


def test_a_gap_fails_the_command_and_names_the_lock_and_the_way_out(locks, root, tmp_path, capsys):
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    for profile in locks["PROFILES"]:
        (requirements / f"{profile}.lock").write_text("here==1.0\n")
    extras = "cpu = []\ndev = []\ngpu = ['gone>=3']\n"
    (tmp_path / "pyproject.toml").write_text(
        "[project]\ndependencies = ['here']\n[project.optional-dependencies]\n" + extras
    )
    assert locks["main"](tmp_path) == 1
    assert capsys.readouterr().out == (
        "requirements/gpu.lock: gone>=3 is wanted by pyproject.toml; no pin. Run `make lock`.\n"
    )
