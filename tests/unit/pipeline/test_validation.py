"""Every command that runs or plans a sweep refuses the same experiments, in the same words."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deepicd.config import dump_experiment, load_experiment, parse_experiment
from deepicd.errors import ConfigError, MissingError, ServingError
from deepicd.paths import RunPaths
from deepicd.pipeline.loop import resume_run, run_pipeline
from deepicd.pipeline.run import Command, write_command
from deepicd.pipeline.validation import check, check_endpoint, check_same, prepare

SEARCH = {"training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3}}
SOUND = {"sweep": {"search": SEARCH}}
FAULTS = [
    ({}, ConfigError, "empty \\[sweep.search\\]"),
    ({**SOUND, "serving": {"host": "0.0.0.0"}}, ConfigError, "DEEPICD_TOKEN is not set"),
    ({**SOUND, "model": {"path": "nowhere"}}, MissingError, "there is no nowhere/config.json"),
    (
        {"sweep": {"search": SEARCH, "grace_steps": 4}, "training": {"validate_every": 3}},
        ConfigError,
        "must be a multiple of training.validate_every",
    ),
]


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    monkeypatch.delenv("DEEPICD_TOKEN", raising=False)


def resume(experiment, root):
    dump_experiment(experiment, RunPaths(root).experiment)
    write_command(RunPaths(root), Command())
    resume_run(root)


def run(experiment, root):
    run_pipeline(experiment, root, command=Command())


def sweep(experiment, root):
    run_pipeline(experiment, root, command=Command(is_deployed=False))


ROADS = {
    "plan": lambda experiment, root: prepare(experiment),
    "sweep": sweep,
    "resume": resume,
    "run": run,
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize(("table", "kind", "words"), FAULTS)
def test_every_road_refuses_it_before_anything_starts(tmp_path, road, table, kind, words):
    root = tmp_path / "run"
    with pytest.raises(kind, match=words):
        ROADS[road](parse_experiment(table, "here"), root)
    assert not (root / "notes").exists()


def test_the_command_that_plans_takes_the_same_road(tmp_path):
    file = tmp_path / "open.toml"
    file.write_text(
        '[serving]\nhost = "0.0.0.0"\n[sweep.search]\n'
        '"training.learning_rate" = { type = "loguniform", low = 1e-5, high = 1e-3 }\n'
    )
    command = [sys.executable, "-m", "deepicd", "sweep", "plan", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == ConfigError.exit_code and done.stdout == ""
    assert done.stderr.startswith("deepicd: ") and "DEEPICD_TOKEN is not set" in done.stderr


def test_a_sound_experiment_passes_and_an_earlier_sweep_is_not_needed():
    experiment = parse_experiment(SOUND, "here")
    check(experiment)
    assert prepare(experiment) == experiment


@pytest.mark.parametrize("name", ["demo", "tiny"])
def test_experiments_of_the_repository_pass(root, name):
    check(load_experiment(root / "experiments" / f"{name}.toml"))


def test_a_port_that_is_taken_is_refused_by_a_run_before_it_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        table = {**SOUND, "serving": {"port": taken.getsockname()[1]}}
        experiment = parse_experiment(table, "here")
        check(experiment)  # a plan does not need the port
        for refused in (check_endpoint, lambda each: run(each, tmp_path / "run")):
            with pytest.raises((ConfigError, ServingError), match=str(taken.getsockname()[1])):
                refused(experiment)
    assert not (tmp_path / "run").exists()


def test_differences_between_experiments_are_named_three_at_most(tmp_path: Path):
    file = tmp_path / "experiment.json"
    dump_experiment(parse_experiment({}, "here"), file)
    check_same(file, parse_experiment({}, "here"), "start another")
    table = {
        "seed": 7,
        "name": "other",
        "training": {"learning_rate": 0.5, "temperature": 0.5},
        "data": {"num_notes": 777},
    }
    with pytest.raises(ConfigError, match=r"holds another experiment: .* and \d+ more; start"):
        check_same(file, parse_experiment(table, "here"), "start another")


def test_an_experiment_of_another_version_is_refused(tmp_path: Path):
    file = tmp_path / "experiment.json"
    file.write_text('{"sed": 1}')
    with pytest.raises(ConfigError, match=r"is no experiment of this version \(1 faults\)"):
        check_same(file, parse_experiment({}, "here"), "start another")
