"""What lies where a user wants something written is replaced or deleted with `--yes` alone."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.cli import COMMANDS
from deepicd.config import parse_experiment
from deepicd.errors import ConfigError, DeepICDError
from deepicd.monitoring.parquet_export import export
from deepicd.monitoring.prediction_log import PredictionLog
from deepicd.notes.split_files import write_split
from deepicd.paths import RunPaths
from deepicd.records import Note, ServedPrediction

KEPT = "mine"


def call(*words: str | Path) -> Any:
    return CliRunner().invoke(cli.app, list(map(str, words)))


def notes(*codes: str) -> list[Note]:
    return [
        Note(f"n{number}", f"p{number}", f"a{number}", "CHIEF COMPLAINT: pain", code)
        for number, code in enumerate(codes)
    ]


def log_of(folder: Path, *keys: str) -> PredictionLog:
    log = PredictionLog(folder)
    for number, key in enumerate(keys):
        log.record(ServedPrediction(key, "v1", float(number), "I2510"))
    return log


@dataclass
class Case:
    """A command that writes to a place that its user names, and a file that lies there."""

    words: list[str | Path]
    file: Path
    option: str


def init(folder: Path) -> Case:
    return Case(["init", folder / "mine.toml"], folder / "mine.toml", "the first argument")


def evaluate(folder: Path) -> Case:
    for split in ("train", "test"):
        write_split(notes("I2510", "J189"), folder / f"{split}.parquet")
    words = ["evaluate", "majority", folder / "test.parquet", "--out", folder / "out"]
    return Case(words, folder / "out" / "scores.json", "--out")


def sweep_report(folder: Path) -> Case:
    paths = RunPaths(folder / "first")
    paths.root.mkdir()
    table = {"sweep": {"search": {"training.learning_rate": {"type": "choice", "values": [1e-4]}}}}
    paths.experiment.write_text(parse_experiment(table, "here").model_dump_json())
    row = {"step": 1, "training_iteration": 1, "status": "finished", "trial_id": "a"}
    (paths.tune / "a").mkdir(parents=True)
    (paths.tune / "a" / "result.json").write_text(json.dumps(row) + "\n")
    (paths.tune / "a" / "params.json").write_text("{}")
    words = ["sweep", "report", "first", "--runs", folder, "--out", folder / "first.html"]
    return Case(words, folder / "first.html", "--out")


def monitor_export(folder: Path) -> Case:
    log = log_of(folder / "log", "a")
    words = ["monitor", "export", "--log", log.path, "--to", folder / "out"]
    return Case(words, folder / "out" / "labels.parquet", "--to")


CASES: list[Callable[[Path], Case]] = [init, evaluate, sweep_report, monitor_export]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_file_that_is_there_is_replaced_with_yes_alone(
    make: Callable[[Path], Case], tmp_path: Path
) -> None:
    case = make(tmp_path)
    case.file.parent.mkdir(exist_ok=True)
    case.file.write_text(KEPT)
    refused = call(*case.words)
    assert isinstance(refused.exception, ConfigError) and refused.exception.exit_code == 2
    told = str(refused.exception)
    assert str(case.file) in told and "would be replaced; give --yes, or choose" in told
    assert told.endswith(f"({case.option})") and case.file.read_text() == KEPT
    allowed = call(*case.words, "--yes")
    assert allowed.exception is None, allowed.exception
    assert case.file.read_bytes() != KEPT.encode()


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_new_place_needs_no_yes(make: Callable[[Path], Case], tmp_path: Path) -> None:
    case = make(tmp_path)
    done = call(*case.words)
    assert done.exception is None and case.file.is_file()


@pytest.mark.parametrize("make", [evaluate, sweep_report], ids=lambda make: make.__name__)
def test_a_folder_in_the_place_of_a_file_is_refused_with_yes_too(
    make: Callable[[Path], Case], tmp_path: Path
) -> None:
    case = make(tmp_path)
    case.file.mkdir(parents=True)
    refused = call(*case.words, "--yes")
    assert isinstance(refused.exception, ConfigError) and "is a folder" in str(refused.exception)


def test_the_report_in_the_folder_of_its_run_is_the_runs_own(tmp_path: Path) -> None:
    words = sweep_report(tmp_path).words[:-2]
    assert [call(*words).exception, call(*words).exception] == [None, None]


def test_an_export_grows_with_its_log_and_replaces_none_of_another(tmp_path: Path) -> None:
    first, other = log_of(tmp_path / "a", "a", "b"), log_of(tmp_path / "b", "x", "y", "z")
    words = ["monitor", "export", "--to", tmp_path / "out", "--log"]
    assert call(*words, first.path).exception is None
    first.record(ServedPrediction("c", "v1", 9.0, None, reason="no_diagnosis"))
    assert call(*words, first.path).exception is None  # the same log, one answer longer
    refused = call(*words, other.path)
    assert isinstance(refused.exception, ConfigError)
    assert "predictions.parquet exists, is no export of" in str(refused.exception)
    assert call(*words, other.path, "--yes").exception is None


def test_a_lost_log_does_not_take_the_place_of_its_archive(tmp_path: Path) -> None:
    from deepicd.monitoring.parquet_export import refuse_others

    export(log_of(tmp_path / "a", "a"), tmp_path / "archive")
    with pytest.raises(ConfigError, match=r"predictions\.parquet exists, .*\(--archive\)"):
        refuse_others(
            PredictionLog(tmp_path / "new"),
            tmp_path / "archive",
            may_replace=False,
            option="--archive",
        )


WRITES = {
    *("init", "run", "train", "sweep run", "sweep report", "notes build", "evaluate"),
    *("monitor export", "monitor stack", "serve", "cache prune", "registry gc", "cluster render"),
    *("cluster up", "cluster down", "traces build"),
}
"""Commands that write files where their user says, delete, or end what runs; `registry add` and
`monitor label` only add to what is there."""


def test_those_commands_and_no_others_have_the_option() -> None:
    def walk(command: Any, name: str) -> Any:
        yield name, command
        for word, child in getattr(command, "commands", {}).items():
            yield from walk(child, f"{name} {word}")

    found = {
        name
        for noun in COMMANDS
        for name, command in walk(cli._load(noun), noun)
        if any("--yes" in parameter.opts for parameter in command.params)
    }
    assert found == WRITES


def test_exit_codes_of_refusals_are_those_of_wrong_usage() -> None:
    assert ConfigError.exit_code == 2 and issubclass(ConfigError, DeepICDError)
