"""Every command that runs or plans something refuses the same experiments, in the same words, and
`deepicd validate` tells all that they would refuse.
"""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deepicd.config import dump_experiment, load_experiment, parse_experiment
from deepicd.errors import ConfigError, Fault, MissingError, ServingError, refuse
from deepicd.paths import RunPaths
from deepicd.pipeline.folder.command import Command, write_command
from deepicd.pipeline.loop import resume_run, run_pipeline
from deepicd.pipeline.validation import (
    check,
    check_endpoint,
    check_same,
    find_faults,
    prepare,
    prepare_plan,
    require_search,
    validate_file,
)

SEARCH = {"training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3}}
SOUND = {"sweep": {"search": SEARCH}}
FAULTS = [
    ({**SOUND, "serving": {"host": "0.0.0.0"}}, ConfigError, "DEEPICD_TOKEN is not set"),
    (
        {**SOUND, "model": {"path": "nowhere"}},
        MissingError,
        r"there is no /\S*/nowhere/config\.json",
    ),
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


EXPERIMENTS = sorted(Path(__file__).parents[3].glob("experiments/*.toml"))
ON_CPU = [file for file in EXPERIMENTS if "7b" not in file.name]
"""The others set keys of verl, which is asked in tests/ray/test_verl_config.py."""


@pytest.mark.parametrize("file", ON_CPU, ids=lambda file: file.name)
def test_every_experiment_of_this_machine_is_sound_and_lacks_nothing(file):
    verdict = validate_file(file)
    assert (verdict.faults, verdict.missing) == ((), ())
    assert verdict.exit_code(is_here=True) == 0
    check(load_experiment(file))


def write(folder, text):
    file = folder / "experiment.toml"
    file.write_text(text)
    return file


MANY = """
seed = -1
[data]
split_shares = [0.5, 0.5, 0.5, 0.5]
num_note = 3
[serving]
host = "0.0.0.0"
[training]
validate_every = 3
total_steps = 8
[rewards]
preset = "strickt"
[rewards.weights]
outcome = -1
hierachy = 1
[model]
path = "nowhere"
[sweep]
max_cost = 4.0
grace_steps = 10
[sweep.search]
"training.learning_rat" = { type = "uniform", low = 0.1, high = 0.2 }
"training.temperature" = { type = "uniform", low = -0.1, high = 0.2 }
"data.num_codes" = { type = "int", low = 10, high = 20 }
"training.kl_coef" = { type = "uniform", low = 2, high = 1 }
"training.clip_ratio" = { type = "uniform", low = 0.1, high = 0.3, when = { seed = 8 } }
"""


def test_every_fault_of_a_file_is_told_and_what_is_missing_stands_apart(tmp_path):
    verdict = validate_file(write(tmp_path, MANY), ["sft.epochs=0", "nonsense"])
    assert sorted(fault.place for fault in verdict.faults) == sorted(
        [
            "--set nonsense",
            "seed",
            "sft.epochs",
            "data.split_shares",
            "data.num_note",
            "serving.host",
            "rewards.preset",
            "rewards.weights.outcome",
            "rewards.weights.hierachy",
            "sweep.max_cost",
            "sweep.grace_steps",  # no multiple of 3
            "sweep.grace_steps",  # nothing left to stop
            "sweep.search.training.learning_rat",
            "sweep.search.training.temperature",
            "sweep.search.data.num_codes",
            "sweep.search.training.kl_coef",
            "sweep.search.training.clip_ratio",
        ]
    )
    assert [fault.place for fault in verdict.missing] == ["model.path"]
    told = {fault.place: fault for fault in verdict.faults}
    assert told["rewards.weights.outcome"].value == -1 and told["seed"].value == -1
    assert all(fault.way_out and "; " not in fault.way_out for fault in verdict.faults)


def test_a_fault_that_would_only_follow_from_another_is_none(tmp_path):
    text = "[training]\nppo_mini_batch_size = 0\ntrain_batch_size = 48\n"
    verdict = validate_file(write(tmp_path, text))
    assert [fault.place for fault in verdict.faults] == ["training.ppo_mini_batch_size"]


def test_a_file_that_is_no_toml_is_one_fault_and_one_that_is_not_there_is_missed(tmp_path):
    verdict = validate_file(write(tmp_path, "seed = "))
    assert verdict.experiment is None and "is not valid TOML" in verdict.faults[0].rule
    assert verdict.as_json()["missing"] == [] and verdict.exit_code(is_here=False) == 2
    with pytest.raises(MissingError, match="no experiment file at"):
        validate_file(tmp_path / "none.toml")


def test_the_command_exits_by_what_it_finds(tmp_path):
    def validate(text, *options):
        command = [sys.executable, "-m", "deepicd", "validate", str(write(tmp_path, text))]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    missing = '[model]\npath = "nowhere"\n'
    done = validate(missing, "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["faults"] == [] and told["kind"] == "training"
    assert [row["place"] for row in told["missing"]] == ["model.path"]
    assert set(told["missing"][0]) == {"place", "rule", "value", "way_out"}
    here = validate(missing, "--here")
    assert here.returncode == MissingError.exit_code and "this machine lacks 1" in here.stdout
    wrong = validate(missing, "--set", "seed=-1")
    assert wrong.returncode == ConfigError.exit_code and "no machine can run it" in wrong.stdout


def test_an_earlier_sweep_that_is_not_here_is_missing_and_a_plan_does_without(tmp_path):
    table = {"sweep": {"search": SEARCH, "start_from": str(tmp_path / "none")}}
    file = write(tmp_path, f'[sweep]\nstart_from = "{tmp_path}/none"\n')
    assert [fault.place for fault in validate_file(file).missing] == ["sweep.start_from"]
    _, missing = prepare_plan(parse_experiment(table, "here"))
    assert [fault.place for fault in missing] == ["sweep.start_from"]
    with pytest.raises(MissingError, match=r"sweep\.start_from: no run in"):
        prepare(parse_experiment(table, "here"))


def test_without_a_search_an_experiment_is_one_training_and_no_sweep():
    experiment = parse_experiment({"name": "once"}, "here")
    assert list(find_faults(experiment)) == []
    with pytest.raises(ConfigError, match="`deepicd train FILE` runs it"):
        require_search(experiment)
    single, _ = prepare_plan(experiment)
    assert single.sweep.total_trials == 1 and single.sweep.scheduler == "none"


def test_what_is_wrong_is_raised_before_what_is_missing_and_the_others_are_counted():
    lacking = Fault("a", "a is not here", is_missing=True)
    with pytest.raises(MissingError, match=r"^a is not here$"):
        refuse([lacking])
    with pytest.raises(ConfigError, match=r"^b is wrong; mend it \(1 more: deepicd validate FILE"):
        refuse([lacking, Fault("b", "b is wrong", "mend it")])
    refuse([])


def test_a_port_that_is_taken_is_refused_by_a_run_before_it_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        table = {**SOUND, "serving": {"port": taken.getsockname()[1]}}
        experiment = parse_experiment(table, "here")
        check(experiment)  # a plan does not need the port
        roads = [run, resume]
        for refused in (
            check_endpoint,
            *(lambda e, r=road: r(e, tmp_path / "run") for road in roads),
        ):
            with pytest.raises((ConfigError, ServingError), match=str(taken.getsockname()[1])):
                refused(experiment)
    assert not (tmp_path / "run" / "notes").exists()


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


HEADERS = {
    "note/discharge": "note_id,subject_id,hadm_id,note_type,note_seq,text",
    "hosp/diagnoses_icd": "subject_id,hadm_id,seq_num,icd_code,icd_version",
    "hosp/admissions": "subject_id,hadm_id,admittime,race,insurance",
    "hosp/patients": "subject_id,gender,anchor_age,anchor_year",
}


@pytest.fixture
def mimic(tmp_path: Path) -> Path:
    """Headers of MIMIC-IV's tables; an experiment file that names them lies beside."""
    for name, header in HEADERS.items():
        file = tmp_path / "mimic" / f"{name}.csv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(header + "\n")
    (tmp_path / "mine.toml").write_text(
        f'[data]\nsource = "mimic"\nroot = "{tmp_path / "mimic"}"\n[sft]\nis_enabled = false\n'
    )
    return tmp_path / "mimic"


def test_tables_with_the_right_headers_are_sound(mimic):
    verdict = validate_file(mimic.parent / "mine.toml")
    assert verdict.faults == () and verdict.missing == ()


def test_every_table_that_is_not_there_is_missing_and_none_is_a_fault(mimic):
    for name in ("note/discharge", "hosp/patients"):
        (mimic / f"{name}.csv").unlink()
    verdict = validate_file(mimic.parent / "mine.toml")
    assert verdict.faults == () and verdict.exit_code(is_here=False) == 0
    assert [fault.place for fault in verdict.missing] == ["data.root"] * 2
    assert "no table note/discharge under" in verdict.missing[0].rule
    assert "no table hosp/patients under" in verdict.missing[1].rule
    assert verdict.exit_code(is_here=True) == MissingError.exit_code


def test_every_table_with_other_columns_is_a_fault(mimic):
    (mimic / "hosp/patients.csv").write_text("subject_id,gender\n")
    (mimic / "hosp/admissions.csv").write_text("hadm_id,subject_id,race\n")
    verdict = validate_file(mimic.parent / "mine.toml")
    assert verdict.missing == () and verdict.exit_code(is_here=False) == 2
    rules = [fault.rule for fault in verdict.faults]
    assert any("admissions.csv has no column insurance" in rule for rule in rules)
    assert any("patients.csv has no column anchor_age" in rule for rule in rules)


def test_what_is_no_folder_of_tables_is_missing_too(mimic):
    shutil.rmtree(mimic)
    mimic.write_text("a file")
    verdict = validate_file(mimic.parent / "mine.toml")
    assert verdict.faults == () and len(verdict.missing) == len(HEADERS)


def test_columns_of_a_table_of_notes_are_looked_for_before_anything_starts(tmp_path):
    notes, file = tmp_path / "notes.csv", tmp_path / "ours.toml"
    notes.write_text("text,patient,admission,code\na,1,2,I10\n")
    data = f'[data]\nsource = "table"\nfile = {json.dumps(str(notes))}\n'
    file.write_text(f"{data}[sft]\nis_enabled = false\n")
    (fault,) = validate_file(file).faults
    assert (
        fault.place == "data.columns"
        and "its header is text, patient, admission, code" in fault.rule
    )
    assert fault.way_out.endswith(
        "data.columns.note in the file, or --set data.columns.note=COLUMN"
    )
    assert "--columns" not in str(fault)
    file.write_text(f'{data}columns = {{ note = "text" }}\n[sft]\nis_enabled = false\n')
    assert validate_file(file).faults == ()
