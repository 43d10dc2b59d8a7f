"""Steps of a trial: whichever limit is reached first, of notes that are built or not."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepicd.config import load_experiment, parse_experiment, single_training
from deepicd.config.new_experiment import NewExperiment, write_new_experiment
from deepicd.sweeps.planning.plan import plan_sweep
from deepicd.sweeps.planning.steps import count_steps

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
TRAINING = {"train_batch_size": 10, "ppo_mini_batch_size": 10, "ppo_micro_batch_size_per_gpu": 8}


def an_experiment(*, data=None, sft=None, **training):
    table = {"data": data or {}, "sft": {"is_enabled": False, **(sft or {})}}
    return parse_experiment({**table, "training": {**TRAINING, **training}}, "here")


@pytest.mark.parametrize(
    ("num_notes", "num_traces", "epochs", "steps", "counted"),
    [
        (1000, 0, 1, 500, 60),
        (1000, 0, 3, 500, 180),
        (1000, 100, 1, 500, 50),
        (1000, 0, 9, 500, 500),
        (1000, 600, 1, 500, 1),  # refused when the traces are written
        (1009, 0, 1, 500, 60),  # the last batch is not whole
    ],
)
def test_epochs_times_batches_or_total_steps(num_notes, num_traces, epochs, steps, counted):
    sft = {"is_enabled": bool(num_traces), "num_traces": max(1, num_traces)}
    data = {"num_notes": num_notes}
    experiment = an_experiment(data=data, sft=sft, total_epochs=epochs, total_steps=steps)
    found = count_steps(experiment)
    assert found.at_most == counted and f"data.num_notes = {num_notes:,}" in found.assumed
    assert ("no note is left for GRPO" in found.assumed) is (num_traces == 600)


def test_nothing_is_said_of_notes_where_the_steps_end_long_before_the_epochs():
    experiment = an_experiment(data={"num_notes": 1000}, total_steps=40)
    assert (count_steps(experiment).at_most, count_steps(experiment).assumed) == (40, "")


def built(folder, patients):
    folder.mkdir()
    rows = pa.table({"patient_id": patients})
    pq.write_table(rows, folder / "train.parquet")
    report = {"splits": {"train": {"num_notes": len(patients)}}}
    (folder / "report.json").write_text(json.dumps(report))
    return {"source": "mimic", "splits": str(folder)}


def test_notes_that_are_built_are_counted_and_nothing_is_assumed(tmp_path):
    patients = [f"p{number // 2}" for number in range(100)]
    data = built(tmp_path / "notes", patients)
    assert count_steps(an_experiment(data=data, total_epochs=1)).at_most == 10
    pq.write_table(pa.table({"patient_id": patients[:30]}), tmp_path / "traces.parquet")
    sft = {"is_enabled": True, "traces": str(tmp_path / "traces.parquet"), "num_traces": 21}
    found = count_steps(an_experiment(data=data, sft=sft, total_epochs=1))
    assert (found.at_most, found.assumed) == (7, "")  # 21 traces are of 11 patients: 78 notes left
    (tmp_path / "notes" / "report.json").unlink()
    found = count_steps(an_experiment(data=data, sft=sft, total_epochs=1))
    assert found.at_most == 40 and "training.total_steps = 40 is taken" in found.assumed


def test_the_published_run_ends_after_its_epoch_and_the_plan_says_what_it_assumes(root):
    file = root / "experiments" / "deepicd_r1_7b.toml"
    experiment = single_training(load_experiment(file))
    planned = plan_sweep(experiment, step_s=60.0)
    steps = (int(122_279 * 0.6) - 30_000) // 64
    assert planned.trials["steps"] == planned.trials["first_stop_at_step"] == steps == 677
    assert planned.hours["gpu"] == pytest.approx(steps / 60 * 4, abs=0.01)
    (row,) = planned.assumed
    assert (
        row["place"] == "trials.steps"
        and "the 122,279 notes of MIMIC-IV with ICD-10 codes" in row["rule"]
    )
    assert (
        "training.total_epochs = 1 ends a trial before training.total_steps = 100,000"
        in (row["rule"])
    )


def test_more_traces_than_training_notes_are_told_before_the_notes_are_built(root):
    file = root / "experiments" / "deepicd_r1_7b.toml"
    (row,) = plan_sweep(load_experiment(file, ["sft.num_traces=90000"])).assumed
    assert row["rule"].startswith("no note is left for GRPO") and "90,000 traces" in row["rule"]
    assert row["rule"].endswith("; lower sft.num_traces")


@pytest.mark.parametrize("name", sorted(path.name for path in EXPERIMENTS.glob("*.toml")))
def test_every_experiment_file_leaves_notes_for_grpo(name):
    assert "no note is left" not in count_steps(load_experiment(EXPERIMENTS / name)).assumed


def test_a_new_file_for_mimic_iv_leaves_notes_for_grpo(tmp_path):
    file = write_new_experiment(tmp_path / "new.toml", NewExperiment("mimic"), may_replace=False)
    found = count_steps(load_experiment(file))
    assert found.at_most == 400 and "no note is left" not in found.assumed


def test_where_a_batch_is_searched_the_smallest_takes_the_most_steps():
    search = {"training.train_batch_size": {"type": "choice", "values": [10, 20]}}
    table = {"data": {"num_notes": 1000}, "sft": {"is_enabled": False}, "sweep": {"search": search}}
    training = {**TRAINING, "total_epochs": 1, "total_steps": 500}
    assert count_steps(parse_experiment({**table, "training": training}, "here")).at_most == 60
