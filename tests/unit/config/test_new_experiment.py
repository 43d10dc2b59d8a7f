"""What `deepicd init` writes is sound, and what lies there stays."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from deepicd.config import load_experiment
from deepicd.config.new_experiment import NewExperiment, next_commands, write_new_experiment
from deepicd.errors import ConfigError, MissingError
from deepicd.pipeline.planning import plan_experiment
from deepicd.pipeline.validation import validate_file


def write(place, **values):
    return write_new_experiment(place, NewExperiment(**values), may_replace=False)


def test_the_embedded_file_is_sound_lacks_nothing_and_is_as_small_as_tiny(tmp_path, root):
    file = write(tmp_path / "mine.toml")
    verdict = validate_file(file)
    assert (verdict.faults, verdict.missing) == ((), ())
    mine, tiny = load_experiment(file), load_experiment(root / "experiments" / "tiny.toml")
    assert mine.name == "mine" and mine.training == tiny.training and mine.data == tiny.data
    assert (mine.model, mine.sft, mine.sweep) == (tiny.model, tiny.sft, tiny.sweep)
    assert next_commands(file)[-1] == f"deepicd run {file}"


def test_the_embedded_file_is_planned(tmp_path):
    file = write(tmp_path / "mine.toml")
    planned = plan_experiment(load_experiment(file), step_s=3.0, gpu="", prices=None)
    assert planned.trials == {"number": 4, "at_once": 1, "steps": 4, "first_stop_at_step": 2}
    assert planned.missing == () and planned.assumed == () and planned.hours["slot"] > 0


@pytest.mark.parametrize("gpus", [1, 8])
def test_the_mimic_file_is_planned_where_its_data_is_not(tmp_path, gpus):
    file = write(tmp_path / "large.toml", data="mimic", gpus=gpus)
    planned = plan_experiment(load_experiment(file), step_s=60.0, gpu="H100-80GB", prices=None)
    assert planned.resources["gpus"] == gpus and planned.trials["number"] == 1
    assert {row["place"] for row in planned.missing} == {"data.root", "model.path", "sft.traces"}


@pytest.mark.parametrize("gpus", [None, 1, 3, 4, 6, 8, 72])
def test_the_mimic_file_is_sound_with_any_number_of_gpus_and_says_what_is_missing(tmp_path, gpus):
    file = write(
        tmp_path / "large.toml", data="mimic", root="no/mimic", model="no/model", gpus=gpus
    )
    verdict = validate_file(file)
    assert verdict.faults == () and verdict.experiment.training.num_gpus == (gpus or 4)
    places = {fault.place for fault in verdict.missing}
    assert {"data.root", "model.path", "sft.traces"} <= places
    assert next_commands(file)[-1] == f"deepicd train {file}"


@pytest.mark.parametrize(
    ("data", "address"), [("table", "data.file"), ("fhir", "data.root"), ("mimic", "data.root")]
)
@pytest.mark.parametrize("root", [None, 'no/no"tes'])
def test_a_file_for_each_source_of_ones_own_notes_is_sound(tmp_path, data, address, root):
    file = write(tmp_path / "ours.toml", data=data, root=root)
    verdict = validate_file(file)
    assert verdict.faults == () and verdict.experiment.data.source == data
    missing = {fault.place: fault.value for fault in verdict.missing}
    assert {address, "model.path", "sft.traces"} <= missing.keys()
    assert root is None or missing[address].endswith(root)


def test_its_search_can_be_switched_on_by_uncommenting_what_it_says(tmp_path):
    file = write(tmp_path / "large.toml", data="mimic")
    text = file.read_text().replace("max_failures = 1 ", "grace_steps = 100\nmax_failures = 1 ")
    file.write_text(
        re.sub(r'^# (\[sweep\.search\]|"[a-z._]+" = )', r"\1", text, flags=re.MULTILINE)
    )
    verdict = validate_file(file)
    assert verdict.faults == () and len(verdict.experiment.sweep.search) == 2


def test_a_file_begins_from_another_wherever_both_lie(tmp_path, root, monkeypatch):
    monkeypatch.chdir(root)
    base = root / "experiments" / "tiny.toml"
    file = write(tmp_path / "deep" / "er.toml", base=base)
    begun = load_experiment(file)
    assert begun.name == "er" and begun.sweep == load_experiment(base).sweep
    with pytest.raises(MissingError, match=r"no experiment file at .*none\.toml to begin from"):
        write(tmp_path / "x.toml", base=tmp_path / "none.toml")
    assert not (tmp_path / "x.toml").exists()


def test_a_folder_gets_an_experiment_of_its_name(tmp_path):
    file = write(tmp_path / "Léon's 2nd")
    assert file.name == "experiment.toml" and load_experiment(file).name == "l-on-s-2nd"
    assert shlex.split(next_commands(file)[0]) == ["deepicd", "validate", str(file)]


def test_what_is_there_stays_unless_its_replacement_is_asked_for(tmp_path):
    file = write(tmp_path / "mine.toml")
    file.write_text("seed = 7\n")
    with pytest.raises(ConfigError, match=r"mine\.toml exists, .* give --yes, or choose"):
        write(file)
    wrong = NewExperiment(data="mimic", root="s3://bucket")
    with pytest.raises(ConfigError, match="not a URL"):
        write_new_experiment(file, wrong, may_replace=True)
    assert file.read_text() == "seed = 7\n" and [*tmp_path.iterdir()] == [file]
    write_new_experiment(file, NewExperiment(), may_replace=True)
    assert load_experiment(file).name == "mine"


@pytest.mark.parametrize("values", [{"gpus": 2}, {"data": "mimic", "model": "m", "base": "x.toml"}])
def test_a_value_that_would_be_passed_over_is_refused(tmp_path, values):
    with pytest.raises(ConfigError, match=r"--(gpus|model) would change nothing"):
        write(tmp_path / "mine.toml", **values)


def test_the_command_prints_what_comes_next(tmp_path):
    command = [sys.executable, "-m", "deepicd", "init", "new.toml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["file"] == "new.toml" and told["next"][0] == "deepicd validate new.toml"
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == ConfigError.exit_code and "--yes" in again.stderr
