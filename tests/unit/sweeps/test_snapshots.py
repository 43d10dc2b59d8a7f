"""Snapshots of a sweep: what a driver that is killed at any moment leaves can be gone on from."""

import errno
import logging
from pathlib import Path

from ray.tune.search import Searcher

from deepicd.sweeps.results import snapshots
from deepicd.sweeps.results.snapshots import (
    SnapshotSearchGenerator,
    copy_snapshot,
    restore_snapshot,
    state_files,
)


def write_states(folder: Path, session: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("experiment_state-{}.json", "search_gen_state-{}.json", "searcher-state-{}.pkl"):
        (folder / name.format(session)).write_text(text)


def read_states(folder: Path) -> dict[str, str]:
    return {file.name.split("-")[0]: file.read_text() for file in state_files(folder)}


def test_the_newest_whole_snapshot_replaces_a_mixture_and_half_a_file(tmp_path):
    written, keep, tune = tmp_path / "written", tmp_path / "keep", tmp_path / "tune"
    for text in ("1 trial", "2 trials"):
        write_states(written, "2026-01-01", text)
        copy_snapshot(written, keep, session="2026-01-01")
    write_states(tune, "2026-01-01", "1 trial")
    (tune / "search_gen_state-2026-01-01.json").write_text("2 trials")
    (tune / "experiment_state-2026-01-02.json").write_text('{"trial_da')
    (tune / "tuner.pkl").write_text("its own")
    restore_snapshot(keep, tune)
    assert set(read_states(tune).values()) == {"2 trials"} and len(read_states(tune)) == 3
    assert len(state_files(tune)) == 3 and (tune / "tuner.pkl").read_text() == "its own"


def test_a_copy_that_was_cut_off_is_not_gone_on_from(tmp_path):
    written, keep, tune = tmp_path / "written", tmp_path / "keep", tmp_path / "tune"
    write_states(written, "s", "whole")
    copy_snapshot(written, keep, session="s")
    write_states(keep / "000001.part", "s", "half")
    write_states(tune, "s", "half")
    restore_snapshot(keep, tune)
    assert set(read_states(tune).values()) == {"whole"}
    write_states(written, "s", "next")
    copy_snapshot(written, keep, session="s")
    restore_snapshot(keep, tune)
    assert set(read_states(tune).values()) == {"next"}
    assert [folder.name for folder in keep.iterdir()] == ["000001"]


def test_a_sweep_without_snapshots_of_ours_is_left_as_it_is(tmp_path):
    write_states(tmp_path / "tune", "s", "Tune's")
    restore_snapshot(tmp_path / "keep", tmp_path / "tune")
    assert set(read_states(tmp_path / "tune").values()) == {"Tune's"}


def test_states_of_an_earlier_session_are_not_kept_again(tmp_path):
    written, keep = tmp_path / "written", tmp_path / "keep"
    write_states(written, "a", "old")
    write_states(written, "b", "new")
    copy_snapshot(written, keep, session="b")
    assert set(read_states(keep / "000000").values()) == {"new"}


class Mute(Searcher):
    """A searcher with nothing to propose and nothing to remember."""

    def suggest(self, trial_id):
        return None

    def on_trial_complete(self, trial_id, result=None, error=False):
        return None

    def save(self, checkpoint_path):
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path):
        return None


def test_a_full_disk_ends_no_sweep_and_keeps_the_snapshot_before(tmp_path, monkeypatch, caplog):
    written, keep = tmp_path / "written", tmp_path / "keep"
    proposals = SnapshotSearchGenerator(Mute(), max_concurrent=1, snapshots=keep)
    write_states(written, "s", "whole")
    proposals.save_to_dir(str(written), "s")
    (before,) = keep.iterdir()

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshots.shutil, "copyfile", fail)
    with caplog.at_level(logging.WARNING):
        proposals.save_to_dir(str(written), "s")
    assert before.is_dir() and list(keep.glob("[0-9]*[0-9]")) == [before]
    assert "no snapshot of the sweep was kept" in caplog.text
