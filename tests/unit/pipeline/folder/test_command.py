"""What a run is to do: kept in its folder, with what `resume --set` gave so far."""

import pytest

from deepicd.config import dump_experiment, parse_experiment
from deepicd.errors import ConfigError, SweepError
from deepicd.paths import RunPaths
from deepicd.pipeline import loop
from deepicd.pipeline.folder.command import (
    Command,
    experiment_of_run,
    find_registry,
    read_command,
    write_command,
)
from deepicd.pipeline.seal import Seal, write_seal
from deepicd.pipeline.stage import STAGES
from deepicd.pipeline.summary import Promoted
from deepicd.pipeline.values import write_value
from deepicd.records import Decision


def begin(root, command=None, **table):
    paths = RunPaths(root)
    dump_experiment(parse_experiment(table, "here"), paths.experiment)
    write_command(paths, command or Command())
    return paths


def test_what_resume_was_given_holds_for_every_later_one(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(loop, "_walk", lambda run, *_: seen.append(run.experiment))
    monkeypatch.setattr(loop, "check_endpoint", lambda _: None)
    root = tmp_path / "a"
    paths = begin(root)
    hours, price = "sweep.max_gpu_hours", "sweep.gpu_hour_price"
    for given in ([f"{hours}=2", f"{price}=3"], [], [f"{hours} = 4"], []):
        loop.resume_run(root, overrides=given)
    assert [each.sweep.max_gpu_hours for each in seen] == [2, 2, 4, 4]
    assert [each.sweep.gpu_hour_price for each in seen] == [3, 3, 3, 3]
    assert experiment_of_run(paths).sweep.max_gpu_hours == 4, "`sweep status` shows it too"
    assert read_command(paths).overrides == (f"{hours} = 4", f"{price}=3")


def test_what_was_refused_is_not_kept(tmp_path):
    paths = begin(tmp_path / "a")
    with pytest.raises(ConfigError, match=r"--set seed=2: a run that goes on may change"):
        loop.resume_run(paths.root, overrides=["seed=2"])
    with pytest.raises(ConfigError, match="max_gpu_hours"):
        loop.resume_run(paths.root, overrides=["sweep.max_gpu_hours=-1"])
    assert read_command(paths).overrides == ()


def test_keep_is_refused_for_a_run_without_a_champion(tmp_path):
    paths = begin(tmp_path / "a", Command(is_promoted=False))
    with pytest.raises(ConfigError, match=r"--no-promote .* nothing for --keep to serve; leave it"):
        loop.resume_run(paths.root, serve_on=lambda _: None)


def test_a_run_that_ended_names_the_command_that_serves_its_champion(tmp_path):
    for name, command in (("a", Command()), ("b", Command(is_promoted=False))):
        paths = begin(tmp_path / name, command)
        for stage in STAGES:
            write_seal(paths.seal(stage), Seal(stage, {}, {}, 1.0))
    left = tmp_path / "registry"
    left.mkdir()
    decision = Decision(True, (), {})
    promoted = Promoted(decision, "v0001", "a", "sft", None, {}, registry=str(left))
    write_value(RunPaths(tmp_path / "a").promotion, promoted, Promoted)
    (tmp_path / "moved").mkdir()
    (tmp_path / "a").rename(tmp_path / "moved" / "a")
    with pytest.raises(SweepError, match=rf"has ended.*`deepicd serve --registry {left}` serves"):
        loop.resume_run(tmp_path / "moved" / "a", serve_on=lambda _: None)
    with pytest.raises(SweepError, match=r"shows it, `deepicd run` starts another"):
        loop.resume_run(tmp_path / "b")


def test_a_champion_is_found_where_the_run_left_it_also_when_one_of_them_was_moved(tmp_path):
    experiment, moved = parse_experiment({}, "here"), RunPaths(tmp_path / "elsewhere" / "a")
    left = tmp_path / "runs" / "registry"
    assert find_registry(str(left), experiment, moved) == str(moved.registry)  # both were moved
    left.mkdir(parents=True)
    assert find_registry(str(left), experiment, moved) == str(left)
    own = moved.root / "registry"
    own.mkdir(parents=True)
    assert find_registry("{run}/registry", experiment, moved) == str(own)
    assert find_registry("s3://bucket/x", experiment, moved) == "s3://bucket/x"
