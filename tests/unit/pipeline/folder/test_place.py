"""What a run's folder may be called, where it may lie, and how much disk it needs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deepicd import cli
from deepicd.config import parse_experiment
from deepicd.errors import CapacityError, ConfigError
from deepicd.pipeline.folder.place import check_space, folder_of, refuse_link
from deepicd.sweeps.planning.memory import bytes_of_checkpoint

EXPERIMENT = parse_experiment({"name": "mine"}, "here")


@pytest.mark.parametrize(
    "name",
    ["a/b", "..", ".", "", " ", "a b", "a\n", "x" * 300, "-a", ".a", "a.previous", "ä", "a/"],
)
def test_what_is_no_name_of_a_run_is_refused_with_rule_value_and_way_out(tmp_path, name):
    words = rf"1 to 64 letters, .*; got .* \({len(name)} characters\); choose another --name"
    with pytest.raises(ConfigError, match=words) as error:
        folder_of(tmp_path, name, EXPERIMENT)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("command", ["run", "train", "sweep run"])
@pytest.mark.parametrize("name", ["a/b", "..", "", "x" * 300])
def test_every_command_that_starts_a_run_refuses_it_and_makes_nothing(
    tmp_path, root, command, name
):
    file, runs = str(root / "experiments/tiny.toml"), tmp_path / "runs"
    words = [*command.split(), file, "--name", name, "--runs", str(runs)]
    result = CliRunner().invoke(cli.app, words)
    assert isinstance(result.exception, ConfigError) and not runs.exists()
    assert list(tmp_path.iterdir()) == []


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True))
def test_a_name_is_a_folder_below_the_runs(tmp_path_factory, name):
    runs = tmp_path_factory.getbasetemp()
    assert folder_of(runs, name, EXPERIMENT) == runs / name


def test_without_a_name_it_is_the_experiments(tmp_path):
    assert folder_of(tmp_path, None, EXPERIMENT) == tmp_path / "mine"


def test_a_link_for_a_run_is_refused_and_one_for_all_runs_is_not(tmp_path):
    (tmp_path / "disk" / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "disk" / "runs")
    assert folder_of(tmp_path / "runs", "a", EXPERIMENT) == tmp_path / "runs" / "a"
    (tmp_path / "b").symlink_to(tmp_path / "disk" / "runs" / "a")
    for check in (
        lambda: folder_of(tmp_path, "b", EXPERIMENT),
        lambda: refuse_link(tmp_path / "b"),
    ):
        with pytest.raises(ConfigError, match=r"is a link to .*runs/a, .*; give --runs .*/runs,"):
            check()


def test_a_disk_too_full_for_the_first_checkpoint_is_refused_before_anything_moves(tmp_path):
    needed = bytes_of_checkpoint(EXPERIMENT)
    assert needed > 64 << 20
    check_space(tmp_path / "not" / "there", 1)
    with pytest.raises(
        CapacityError, match=r"bytes free, and a run.s first checkpoint needs 1,000"
    ):
        check_space(tmp_path / "not", 10**18)
