"""The cache of stages: what lies there, what may go, and that no run is broken by it."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from deepicd import cli
from deepicd.errors import ConfigError
from deepicd.pipeline import cache
from deepicd.pipeline.cache import Conditions, Entry, list_entries, prune
from deepicd.pipeline.seal import Seal, hash_outputs, is_whole
from deepicd.pipeline.stage import hash_code

DAY = 86_400


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three entries of two runs, one of them of other code, and what a killed writer left."""
    for number, (stage, code) in enumerate(
        [("notes", hash_code()), ("sft", hash_code()), ("notes", "older")]
    ):
        root = tmp_path / f"run{number}"
        (root / stage).mkdir(parents=True)
        (root / stage / "file").write_text("x" * 1000 * (number + 1))
        seal = Seal(stage, {"code": code}, hash_outputs(root, [stage]), 1.0)
        cache.publish(tmp_path / "cache", root, seal)
        (entry,) = {*(tmp_path / "cache").glob(f"{stage}-*")} - {
            path for path in (tmp_path / "cache").iterdir() if (path / "seen").exists()
        }
        when = time.time() - 10 * DAY * (number + 1)
        os.utime(entry / "seal.json", (when, when))
        (entry / "seen").touch()
    (tmp_path / "cache" / ".notes-1.2").mkdir()
    return tmp_path


def names(entries: list[Entry]) -> list[str]:
    return [entry.stage for entry in entries]


def test_entries_are_listed_with_size_use_and_code_the_last_used_first(runs):
    entries = list_entries(runs / "cache")
    assert names(entries) == ["", "notes", "sft", "notes"]
    assert [entry.is_of_this_code for entry in entries] == [False, True, True, False]
    assert [entry.num_bytes // 1000 for entry in entries[1:]] == [1, 2, 3]
    assert all(entry.freed_bytes < 1000 for entry in entries), "the runs hold the files"
    shutil.rmtree(runs / "run0")
    assert list_entries(runs / "cache")[1].freed_bytes >= 1000
    assert list_entries(runs / "nothing") == []


@pytest.mark.parametrize(
    ("conditions", "gone"),
    [
        (Conditions(older_than_s=15 * DAY), ["sft", "notes"]),
        (Conditions(older_than_s=0), ["", "notes", "sft", "notes"]),
        (Conditions(keep=1), ["", "notes"]),
        (Conditions(keep=0), ["", "notes", "sft", "notes"]),
        (Conditions(is_old_code=True), ["", "notes"]),
        (Conditions(older_than_s=15 * DAY, keep=1), ["notes"]),
    ],
)
def test_what_all_conditions_let_go_is_removed_and_every_run_stays_whole(runs, conditions, gone):
    assert names(prune(runs, conditions, is_shown_only=True)) == gone
    assert len(list_entries(runs / "cache")) == 4
    with pytest.raises(ConfigError, match=rf"{len(gone)} entries of .* would be removed.*--yes"):
        prune(runs, conditions)
    assert names(prune(runs, conditions, may_delete=True)) == gone
    assert len(list_entries(runs / "cache")) == 4 - len(gone)
    for number in range(3):
        (file,) = (runs / f"run{number}").glob("*/file")
        assert len(file.read_text()) == 1000 * (number + 1)


def test_a_run_that_took_a_stage_over_stays_whole_when_its_entry_goes(runs):
    root = runs / "run0"
    seal = Seal("notes", {"code": hash_code()}, hash_outputs(root, ["notes"]), 1.0)
    before = list_entries(runs / "cache")[1].used
    assert cache.take_over(runs / "cache", runs / "other", seal) is not None
    entries = list_entries(runs / "cache")
    assert max(entry.used for entry in entries if entry.stage) > before + 9 * DAY, "used now"
    prune(runs, Conditions(keep=0), may_delete=True)
    assert list((runs / "cache").iterdir()) == []
    assert is_whole(runs / "other", seal, seal_file=runs / "seal")
    assert cache.take_over(runs / "cache", runs / "third", seal) is None


def test_nothing_goes_unless_it_is_said_what(runs):
    with pytest.raises(ConfigError, match="needs to be told what may go; give --older-than DAYS"):
        prune(runs, Conditions(), may_delete=True)


@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.floats(0, 1e6), st.booleans())),
    st.none() | st.floats(0, 1e6),
    st.none() | st.integers(0, 3),
)
def test_a_further_condition_never_lets_more_go(rows, age, keep):
    now = time.time()
    entries = [Entry(str(i), s, 1, 1, now - used, ok) for i, (s, used, ok) in enumerate(rows)]
    entries.sort(key=lambda entry: -entry.used)
    both = Conditions(older_than_s=age, keep=keep, is_old_code=True)
    gone = both.choose(entries)
    for fewer in (Conditions(is_old_code=True), Conditions(age, None, True)):
        assert set(gone) <= set(fewer.choose(entries))
    if keep is not None:
        for stage in ("a", "b"):
            left = [entry for entry in entries if entry.stage == stage and entry not in gone]
            assert len(left) >= min(keep, sum(entry.stage == stage for entry in entries))


def test_the_command_lists_and_prunes(runs):
    def call(*words: str) -> str:
        result = CliRunner().invoke(cli.app, ["cache", *words, "--runs", str(runs)])
        assert result.exit_code == 0, result.output
        return result.output

    assert "4 entries" in call("list") and len(json.loads(call("list", "--json"))) == 4
    shown = json.loads(call("prune", "--older-than", "15", "--keep", "1", "--dry-run", "--json"))
    assert names([Entry(**row) for row in shown]) == ["notes"]
    assert "2 entries" in call("prune", "--old-code", "--yes")
    assert call("prune", "--old-code", "--yes").startswith("nothing to remove: ")
    assert "2 entries" in call("list")
