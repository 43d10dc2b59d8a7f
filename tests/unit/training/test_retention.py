"""A trial's checkpoints: whole or skipped, of this trial or refused, and the right ones kept."""

import itertools
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepicd.checkpoints import MANIFEST
from deepicd.config import Experiment, parse_experiment, with_values
from deepicd.errors import CapacityError, CheckpointError
from deepicd.notes.mimic.columns import COLUMNS
from deepicd.training.checkpoints import disk_space
from deepicd.training.checkpoints.retention import (
    Identity,
    TrialCheckpoints,
    identify,
    list_checkpoints,
    retained_steps,
    step_of,
)
from deepicd.training.process.events import read_events, record_event

METRIC = "validation/hierarchical_f1"
IDENTITY = Identity(experiment="e", train="t", validation="v")
FULL = 2**23
"""Bytes of the disk that is filled."""


def write_checkpoint(trial: Path, step: int, *, num_bytes: int = 100) -> Path:
    """Files named as verl names them."""
    folder = trial / f"global_step_{step}"
    (folder / "actor" / "huggingface").mkdir(parents=True)
    (folder / "data.pt").write_bytes(b"position")
    (folder / "actor" / "model_world_size_1_rank_0.pt").write_bytes(bytes(num_bytes))
    return folder


@pytest.fixture
def events() -> list[str]:
    """What happened to the trial."""
    return []


@pytest.fixture
def checkpoints(tmp_path: Path, events: list[str]) -> TrialCheckpoints:
    """A trial with checkpoints at steps 2, 4 and 6."""
    found = TrialCheckpoints(tmp_path / "trial", Experiment(), IDENTITY, METRIC, events.append)
    for step, score in ((2, 0.5), (4, 0.7), (6, 0.6)):
        found.finalize(write_checkpoint(found.trial, step), {"step": step, METRIC: score})
    return found


def steps(checkpoints: TrialCheckpoints) -> list[int]:
    return [step_of(checkpoint) for checkpoint in list_checkpoints(checkpoints.trial)]


def test_a_trial_goes_on_from_its_newest_checkpoint_and_nothing_is_reported(checkpoints, events):
    assert step_of(checkpoints.latest()) == 6 and steps(checkpoints) == [2, 4, 6] and not events


def test_a_trial_without_checkpoints_starts_and_nothing_is_reported(tmp_path, events):
    assert (
        TrialCheckpoints(tmp_path, Experiment(), IDENTITY, METRIC, events.append).latest() is None
        and not events
    )


@pytest.mark.parametrize("name", ["actor/model_world_size_1_rank_0.pt", "data.pt", MANIFEST])
def test_one_flipped_bit_makes_it_skip_to_the_one_before_and_say_so(checkpoints, events, name):
    file = checkpoints.trial / "global_step_6" / name
    data = bytearray(file.read_bytes())
    data[-2] ^= 4
    file.write_bytes(data)
    assert step_of(checkpoints.latest()) == 4
    assert "skips a damaged checkpoint" in events[0] and "global_step_6" in events[0]
    assert events[1] == "goes on from global_step_4, the one before"
    assert steps(checkpoints) == [2, 4]


def test_a_half_written_checkpoint_counts_for_nothing_and_is_removed(checkpoints, events):
    unfinished = write_checkpoint(checkpoints.trial, 8)
    assert step_of(checkpoints.latest()) == 6 and not unfinished.exists()
    assert events == ["removes global_step_8, which was not written to its end"]


def test_with_every_checkpoint_damaged_it_starts_again_and_says_so(checkpoints, events):
    for checkpoint in list_checkpoints(checkpoints.trial):
        (checkpoint / "data.pt").unlink()
    assert checkpoints.latest() is None and steps(checkpoints) == []
    assert events[-1] == "no checkpoint is whole: it starts again from its start model"


@pytest.mark.parametrize(
    ("field", "words"),
    [("experiment", "settings"), ("train", "training notes"), ("validation", "validation notes")],
)
def test_a_checkpoint_of_another_trial_is_refused(checkpoints, field, words):
    other = replace(checkpoints, identity=replace(IDENTITY, **{field: "x"}))
    with pytest.raises(CheckpointError, match=rf"global_step_6 was written with other {words}"):
        other.latest()
    assert steps(checkpoints) == [2, 4, 6]


def write_split(path: Path, texts: list[str]) -> Path:
    columns = {name: pa.array(texts) for name in COLUMNS}
    pq.write_table(pa.table(columns), path)
    return path


def test_identity_is_what_a_trial_learns_from_and_not_how_far_it_goes(tmp_path):
    train = write_split(tmp_path / "a.parquet", ["one", "two"])
    turned = write_split(tmp_path / "b.parquet", ["two", "one"])
    experiment = parse_experiment({"training": {"num_gpus": 1}}, "here")
    found = identify(experiment, train=train, validation=train)
    longer = with_values(experiment, {"training.total_steps": 99, "sweep.keep_top": 3})
    other = with_values(experiment, {"rewards.weights.format": 0.3})
    assert identify(longer, train=train, validation=train) == found
    assert identify(other, train=train, validation=train).experiment != found.experiment
    assert identify(experiment, train=turned, validation=train).train != found.train


def test_retention_leaves_the_best_and_the_last(checkpoints):
    (checkpoints.trial / "resharded" / "global_step_2").mkdir(parents=True)
    checkpoints.apply_retention()
    assert steps(checkpoints) == [4, 6] and not (checkpoints.trial / "resharded").exists()
    checkpoints.finalize(write_checkpoint(checkpoints.trial, 8), {"step": 8, METRIC: 0.7})
    checkpoints.apply_retention()
    assert steps(checkpoints) == [4, 8]  # the earlier of equals


@given(
    scores=st.dictionaries(st.integers(1, 99), st.floats(0, 1), min_size=1),
    keep_top=st.integers(1, 4),
)
def test_the_last_the_best_and_one_to_fall_back_on_are_kept_and_no_more(scores, keep_top):
    chosen = retained_steps(scores, keep_top=keep_top)
    assert max(scores) in chosen
    assert max(scores.values()) in {scores[step] for step in chosen}
    assert min(2, len(scores)) <= len(chosen) <= max(2, keep_top + 1)


def test_events_are_read_line_by_line_as_they_come(tmp_path):
    record_event(tmp_path, "first\nof two lines")
    lines, heard = read_events(tmp_path)
    assert lines == ["first of two lines"] and read_events(tmp_path, heard) == ([], heard)
    record_event(tmp_path, "second")
    assert read_events(tmp_path, heard)[0] == ["second"]
    assert (tmp_path / "verl.log").read_text().count("\n") == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that is soon full."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={FULL}", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk needs the right to mount one")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def tight(small_disk: Path, monkeypatch: pytest.MonkeyPatch, events: list[str]) -> TrialCheckpoints:
    """A trial on the small disk whose checkpoints take a third of it each; two are there."""
    monkeypatch.setattr(disk_space, "RESERVE_BYTES", 2**16)
    monkeypatch.setattr(disk_space, "_POLL_S", 0.05)
    found = TrialCheckpoints(small_disk / "trial", Experiment(), IDENTITY, METRIC, events.append)
    for step in (2, 4):
        found.finalize(write_checkpoint(found.trial, step, num_bytes=FULL // 3), {METRIC: 0.5})
    return found


def test_a_trial_waits_for_room_says_what_is_missing_and_goes_on(tight, events):
    checkpoint = tight.trial / "global_step_6"
    first = tight.trial / "global_step_2" / "actor" / "model_world_size_1_rank_0.pt"
    threading.Timer(0.3, first.unlink).start()
    started = time.monotonic()
    with disk_space.disk_space_for(checkpoint, tight.trial, wait_s=20.0, on_event=events.append):
        write_checkpoint(tight.trial, 6, num_bytes=FULL // 3)
    assert 0.2 < time.monotonic() - started < 5
    assert "waits: the disk of" in events[0] and "bytes for its next checkpoint" in events[0]
    assert events[1] == "goes on: the disk has room again"
    tight.finalize(checkpoint, {METRIC: 0.6})
    assert step_of(tight.latest()) == 6


def test_a_disk_that_stays_full_fails_the_trial_and_harms_no_checkpoint(tight, events):
    checkpoint = tight.trial / "global_step_6"
    with (
        pytest.raises(CapacityError, match=r"lacks [\d,]+ bytes for a checkpoint, after 0 s"),
        disk_space.disk_space_for(checkpoint, tight.trial, wait_s=0.2, on_event=events.append),
    ):
        write_checkpoint(tight.trial, 6)
    assert step_of(tight.latest()) == 4 and not checkpoint.exists()


def test_a_disk_that_becomes_full_in_mid_write_leaves_nothing_half(tight, events):
    for checkpoint in list_checkpoints(tight.trial):
        shutil.rmtree(checkpoint)
    tight.finalize(write_checkpoint(tight.trial, 2), {METRIC: 0.5})  # the next is larger
    checkpoint = tight.trial / "global_step_4"
    with pytest.raises(CapacityError, match="in the middle of writing it"):
        write_more_than_fits(tight, checkpoint)
    assert not checkpoint.exists() and step_of(tight.latest()) == 2 and not events


def write_more_than_fits(checkpoints: TrialCheckpoints, checkpoint: Path) -> None:
    with disk_space.disk_space_for(
        checkpoint, checkpoints.trial, wait_s=0.0, on_event=checkpoints.on_event
    ):
        write_checkpoint(checkpoints.trial, step_of(checkpoint))
        for number in itertools.count():
            torch.save(torch.zeros(2**18), checkpoint / f"optim_world_size_1_rank_{number}.pt")


def test_a_first_checkpoint_is_estimated_from_the_parameters_of_the_start_model(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3, 5), "b": torch.zeros(7)}, tmp_path / "model.safetensors")
    assert disk_space.size_of_next(tmp_path / "trial", tmp_path) == 16 * (15 + 7)
