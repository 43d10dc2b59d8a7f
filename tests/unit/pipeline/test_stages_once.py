"""A stage is done once: sealed, taken over, done again where it must be, else refused."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from note_rows import note_of
from stage_walker import ALL, SEARCH, TABLE, Walker

from deepicd.config import DataConfig, Experiment, flatten, known_addresses, parse_experiment
from deepicd.errors import DataError
from deepicd.notes import identity
from deepicd.notes.split_files import write_split
from deepicd.paths import SPLITS, RunPaths
from deepicd.pipeline import cache
from deepicd.pipeline import stage as stage_module
from deepicd.pipeline.folder.command import Command
from deepicd.pipeline.run import Run
from deepicd.pipeline.seal import Seal, hash_outputs, is_whole, read_seal, write_seal
from deepicd.pipeline.stage import (
    INEFFECTIVE,
    STAGES,
    digest_of,
    identify,
    read_code,
    settled_paths,
)
from deepicd.pipeline.stages import build_data


def test_a_whole_run_does_nothing_again(tmp_path):
    root = tmp_path / "a"
    assert Walker(root).walk() == list(ALL)
    again = Walker(root)
    assert again.walk() == []
    assert list(again.run.seconds) == list(ALL)


@pytest.mark.parametrize("stage", ALL)
def test_a_run_that_died_in_a_stage_goes_on_with_that_stage(tmp_path, stage):
    root = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        Walker(root, dies_in=stage).walk()
    # What the dead one left is removed first, unless the stage goes on from its parts.
    left = root / STAGES[stage].outputs[0]
    assert left.exists()
    resumed = Walker(root)
    assert resumed.walk() == list(ALL[ALL.index(stage) :])
    whole = tmp_path / "b"
    Walker(whole).walk()
    for name in ALL:
        first, second = (read_seal(RunPaths(each).seal(name)) for each in (root, whole))
        assert first is not None and second is not None and first.digest == second.digest


def test_a_stage_hands_on_what_its_work_returned_and_nothing_where_it_is_whole(tmp_path):
    run = Walker(tmp_path / "a").run
    made = {"by": "this process"}
    assert run.do("notes", "something", lambda: made) is made
    assert run.do("notes", "something", lambda: {"by": "another"}) is None
    part = {"made_from": {"checkpoint": "ab"}, "work": lambda: made}
    assert run.do_part("evaluation", "trial-a", **part) is made
    assert run.do_part("evaluation", "trial-a", **part) is None


def test_another_run_takes_over_what_follows_from_the_same_inputs_and_says_so(tmp_path, log_lines):
    Walker(tmp_path / "a").walk()
    other = Walker(tmp_path / "b")
    shared = [name for name, stage in STAGES.items() if stage.is_shared]
    assert other.walk() == [name for name in ALL if name not in shared]
    said = [line for line in log_lines if "taken over from" in line]
    assert len(said) == len(shared) == 5 and "made of the same inputs" in said[0]
    assert (tmp_path / "b/notes/train.parquet").read_text() == "notes 0"


def test_another_seed_shares_the_notes_and_nothing_else(tmp_path):
    Walker(tmp_path / "a").walk()
    assert Walker(tmp_path / "b", {**TABLE, "seed": 2}).walk() == list(ALL[1:])
    other = {**TABLE, "data": {"split_seed": 2}}
    assert Walker(tmp_path / "c", other).walk()[0] == "notes"


def test_a_run_stays_whole_without_the_cache_and_without_the_run_it_was_taken_from(tmp_path):
    Walker(tmp_path / "a").walk()
    Walker(tmp_path / "b").walk()
    shutil.rmtree(tmp_path / "cache")
    shutil.rmtree(tmp_path / "a")
    assert Walker(tmp_path / "b").walk() == []


def test_a_stage_that_is_done_again_does_not_write_into_the_files_of_others(tmp_path):
    Walker(tmp_path / "a").walk()
    Walker(tmp_path / "b").walk()
    RunPaths(tmp_path / "b").seal("notes").unlink()
    (tmp_path / "b/notes/train.parquet").unlink()
    shutil.rmtree(tmp_path / "cache")
    Walker(tmp_path / "b").walk()
    assert Walker(tmp_path / "a").walk() == []


@pytest.mark.parametrize("stage", ALL)
def test_an_output_that_was_changed_by_hand_is_refused_with_the_way_out(tmp_path, stage):
    root = tmp_path / "a"
    Walker(root).walk()
    seal = read_seal(RunPaths(root).seal(stage))
    assert seal is not None
    file = root / sorted(seal.outputs)[0]
    file.unlink()  # a new file, as an editor writes it: the cache's stays
    file.write_text("changed")
    with pytest.raises(DataError, match=rf"changed after stage '{stage}' was whole.* remove "):
        Walker(root).walk()


def test_an_output_that_is_gone_is_made_again_and_what_followed_stays(tmp_path):
    root = tmp_path / "a"
    Walker(root).walk()
    (root / "notes/test.parquet").unlink()
    shutil.rmtree(tmp_path / "cache")
    assert Walker(root).walk() == ["notes"]


def test_what_followed_from_another_input_is_done_again_but_a_sweep_is_not_thrown_away(tmp_path):
    root = tmp_path / "a"
    Walker(root).walk()
    sft = RunPaths(root).seal("sft")
    values = json.loads(sft.read_text())
    write_seal(sft, Seal("sft", values["identity"], {"sft/file": "0" * 64}, 1.0))
    (root / "sft/file").unlink()
    shutil.rmtree(tmp_path / "cache")
    walker = Walker(root)
    assert walker.walk() == ["sft"]  # equal again: what followed is whole
    (root / "sft/file").write_text("sft of another kind")
    write_seal(sft, Seal("sft", values["identity"], hash_outputs(root, ["sft"]), 1.0))
    with pytest.raises(DataError, match=r"stage 'sweep' .* began with another sft"):
        Walker(root).walk()


@pytest.mark.parametrize("stage", ["evaluation", "promotion"])
def test_what_was_begun_with_other_inputs_and_is_soon_done_is_begun_again(
    tmp_path, log_lines, stage
):
    root = tmp_path / "a"
    Walker(root).walk()
    for name in ALL[ALL.index(stage) :]:
        RunPaths(root).seal(name).unlink()
    begun = RunPaths(root).begun(stage)
    values = json.loads(begun.read_text())
    before = {**values, "inputs": {**values["inputs"], STAGES[stage].after[-1]: "another"}}
    begun.write_text(json.dumps(before))
    assert Walker(root).walk() == list(ALL[ALL.index(stage) :])
    assert (
        f"       it was begun with another {STAGES[stage].after[-1]}; it begins again" in log_lines
    )
    assert json.loads(begun.read_text()) == values


def with_files(tmp_path: Path) -> dict:
    """Settings that name a file of every kind, each of them there."""
    for name in ("splits", "model"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "traces").write_text("traces")
    return {
        **TABLE,
        "data": {"splits": str(tmp_path / "splits")},
        "model": {"path": str(tmp_path / "model")},
        "sft": {"traces": str(tmp_path / "traces")},
    }


def test_what_a_whole_stage_was_made_from_may_be_gone_which_is_said(tmp_path, log_lines):
    table = with_files(tmp_path / "in")
    Walker(tmp_path / "a", table).walk()
    shutil.rmtree(tmp_path / "in")
    assert Walker(tmp_path / "a", table).walk() == []
    for address in ("data.splits", "sft.traces", "model.path"):
        assert f"       {address} is gone; what was made of it is here, and is used" in log_lines
    with_files(tmp_path / "in")
    assert Walker(tmp_path / "a", table).walk() == []  # put back
    (tmp_path / "in" / "splits" / "file").write_text("others")
    with pytest.raises(DataError, match=r"'notes' .* was made with other files\.data\.splits"):
        Walker(tmp_path / "a", table).walk()


def test_every_file_is_described_once_and_by_the_stages_that_open_it(tmp_path, monkeypatch):
    table, seen = with_files(tmp_path / "in"), []
    described = stage_module.describe_file

    def describe(path: Path) -> str | None:
        seen.append(path.name)
        return described(path)

    monkeypatch.setattr("deepicd.pipeline.run.describe_file", describe)
    walker = Walker(tmp_path / "a", table)
    walker.walk()
    assert sorted(seen) == ["model", "splits", "traces"]
    files = {name: set(seal.identity["files"]) for name, seal in walker.run.seals.items()}
    assert files["notes"] == {"data.splits"} and files["traces"] == {"sft.traces"}
    openers = {name for name, addresses in files.items() if "model.path" in addresses}
    assert openers == {"model", "sft", "baselines", "promotion"}


def test_a_file_is_needed_until_the_last_stage_that_opens_it_is_whole():
    every = {"data.root", "data.file", "data.splits", "sft.traces", "model.path"}
    assert settled_paths([], ALL) == set()
    assert settled_paths(["notes"], ALL) == {"data.root", "data.file", "data.splits"}
    assert settled_paths(ALL[:6], ALL) == every - {"model.path"}
    assert settled_paths(ALL[:4], Command(is_promoted=False).stages) == every


@pytest.mark.parametrize(
    "address",
    ["training.num_gpus", "training.num_nodes", "training.ppo_micro_batch_size_per_gpu"],
)
def test_other_machines_share_no_sft_and_a_resumed_run_keeps_its_own(tmp_path, address):
    name = address.removeprefix("training.")
    Walker(tmp_path / "a").walk()
    table = {**TABLE, "training": {name: 2}}
    assert "sft" in Walker(tmp_path / "b", table).walk()
    assert Walker(tmp_path / "a", table).walk() == []


def test_settings_that_were_changed_by_hand_are_refused_by_name(tmp_path):
    Walker(tmp_path / "a").walk()
    with pytest.raises(DataError, match=r"stage 'traces' .* made with other settings\.seed"):
        Walker(tmp_path / "a", {**TABLE, "seed": 3}).walk()


def test_machines_and_patience_may_change(tmp_path):
    Walker(tmp_path / "a").walk()
    table = {**TABLE, "training": {"num_gpus": 2, "hang_timeout_s": 9.0}}
    assert Walker(tmp_path / "a", table).walk() == []


def test_code_that_changed_meanwhile_is_said_and_gone_on_with(tmp_path, log_lines):
    root = tmp_path / "a"
    Walker(root).walk()
    for name in ALL:
        file = RunPaths(root).seal(name)
        seal = read_seal(file)
        assert seal is not None
        write_seal(file, Seal(name, {**seal.identity, "code": "older"}, seal.outputs, 1.0))
    assert Walker(root).walk() == []
    assert "begun with other code" in log_lines[-2]


def test_a_setting_that_came_with_other_code_is_no_change(tmp_path):
    root = tmp_path / "a"
    Walker(root).walk()
    for name in ALL:
        for file in (RunPaths(root).seal(name), RunPaths(root).begun(name)):
            if file.is_file():
                values = json.loads(file.read_text())
                of_stage = values.get("identity", values)
                of_stage["code"] = "older"
                of_stage["settings"].pop("seed", None)
                of_stage["settings"]["data.gone"] = 1
                file.write_text(json.dumps(values))
    assert Walker(root).walk() == []
    wider = {"training.temperature": {"type": "uniform", "low": 0.5, "high": 1.0}}
    with pytest.raises(DataError, match=r"'sweep' .* settings\.sweep\.search\.training\.temp"):
        Walker(root, {"sweep": {"search": SEARCH | wider}}).walk()


def test_a_refused_sweep_keeps_its_record(tmp_path):
    root = tmp_path / "a"
    Walker(root).walk()
    sft, sweep = RunPaths(root).seal("sft"), RunPaths(root).seal("sweep")
    before = sweep.read_text()
    values = json.loads(sft.read_text())
    (root / "sft/file").unlink()
    (root / "sft/file").write_text("sft of another kind")
    write_seal(sft, Seal("sft", values["identity"], hash_outputs(root, ["sft"]), 1.0))
    with pytest.raises(DataError, match="began with another sft"):
        Walker(root).walk()
    assert sweep.read_text() == before


def test_models_of_one_size_and_one_time_are_told_apart_and_a_copy_is_the_same(tmp_path):
    seals = {name: Seal(name, {}, {}, 1.0) for name in STAGES}

    def digest(folder: Path) -> str:
        table = {**TABLE, "model": {"path": str(folder)}}
        return digest_of(identify(STAGES["sft"], parse_experiment(table, "here"), seals))

    for name, size, changed in (
        ("a", 9, 0),
        ("b", 9, 8),
        ("c", 1 << 24, 0),
        ("d", 1 << 24, 1 << 23),
    ):
        file = tmp_path / name / "model.safetensors"
        file.parent.mkdir()
        content = bytearray(size)
        content[changed : changed + (size >> 4) + 1] = b"x" * ((size >> 4) + 1)
        file.write_bytes(content)
        os.utime(file, ns=(10**18, 10**18))
    assert len({digest(tmp_path / name) for name in "abcd"}) == 4
    shutil.copytree(tmp_path / "a", tmp_path / "copy", copy_function=shutil.copyfile)
    assert digest(tmp_path / "copy") == digest(tmp_path / "a")


def test_an_entry_of_the_cache_that_lost_its_seal_is_made_again(tmp_path):
    Walker(tmp_path / "a").walk()
    entry = next((tmp_path / "cache").glob("notes-*"))
    (entry / "seal.json").unlink()
    assert Walker(tmp_path / "b").walk()[0] == "notes"
    assert (entry / "seal.json").is_file()
    assert "notes" not in Walker(tmp_path / "c").walk()


def test_an_entry_of_the_cache_that_cannot_be_read_is_not_used(tmp_path, log_lines):
    Walker(tmp_path / "a").walk()
    entry = next((tmp_path / "cache").glob("notes-*"))
    seal = entry / "seal.json"
    seal.unlink()
    seal.symlink_to("/proc/self/mem")  # reading it fails, for root too
    file = next(entry.rglob("train.parquet"))
    assert Walker(tmp_path / "b").walk()[0] == "notes"
    assert file.exists() and any("is not used: [Errno" in line for line in log_lines)


def test_a_broken_seal_is_refused_and_a_broken_entry_of_the_cache_is_not_used(tmp_path, log_lines):
    Walker(tmp_path / "a").walk()
    entry = next((tmp_path / "cache").glob("notes-*"))
    file = entry / "notes/train.parquet"
    file.unlink()
    file.write_text("changed")
    assert Walker(tmp_path / "b").walk()[0] == "notes"
    assert any("is not used" in line and "was changed" in line for line in log_lines)
    RunPaths(tmp_path / "a").seal("notes").write_text("{}")
    with pytest.raises(DataError, match="no record of a whole stage any more; remove it"):
        Walker(tmp_path / "a").walk()


def test_a_search_that_moved_does_not_count_but_what_its_files_hold_does(tmp_path):
    traces = tmp_path / "traces.parquet"
    traces.write_text("a")
    table = {**TABLE, "sft": {"traces": str(traces)}}

    def identity() -> str:
        seals = {"notes": Seal("notes", {}, {}, 1.0)}
        return digest_of(identify(STAGES["traces"], parse_experiment(table, "here"), seals))

    first = identity()
    assert identity() == first
    traces.write_text("other")
    assert identity() != first


def addresses(experiment: Experiment) -> set[str]:
    seals = {name: Seal(name, {}, {}, 1.0) for name in STAGES}
    found = (identify(stage, experiment, seals)["settings"] for stage in STAGES.values())
    return set().union(*found)


def test_every_setting_acts_on_some_stage_or_is_known_not_to():
    experiment = parse_experiment(TABLE, "here")
    named = {name for stage in STAGES.values() for name in stage.reads}
    left = set(flatten(experiment.model_dump(mode="json"))) - addresses(experiment) - named
    assert left == set(INEFFECTIVE), "an address that is in no identity needs a reason"
    assert all(INEFFECTIVE.values()) and set(INEFFECTIVE) <= set(known_addresses())


@settings(max_examples=40)
@given(st.dictionaries(st.text("abc/.", min_size=1), st.text("0123456789abcdef", min_size=4)))
def test_digests_are_equal_exactly_when_the_outputs_are(outputs):
    seal = Seal("notes", {}, outputs, 1.0)
    assert seal.digest == Seal("sft", {"a": 1}, dict(reversed(outputs.items())), 2.0).digest
    assert seal.digest != Seal("notes", {}, {**outputs, "new": "0"}, 1.0).digest


def test_a_seal_is_read_back(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").write_text("x")
    outputs = hash_outputs(tmp_path, ["out", "nothing"])
    assert list(outputs) == ["out/file"]
    seal = Seal("notes", {"a": 1}, outputs, 2.0, taken_from="there")
    write_seal(tmp_path / "seal.json", seal)
    assert read_seal(tmp_path / "seal.json") == seal
    assert is_whole(tmp_path, seal, seal_file=tmp_path / "seal.json")
    assert read_seal(tmp_path / "none.json") is None


def test_a_command_says_which_stages_are_walked():
    assert Command().stages == ALL
    assert "deployment" not in Command(is_deployed=False).stages
    sweep_only = Command(is_promoted=False).stages
    assert sweep_only == ("notes", "traces", "model", "sft", "sweep")


def test_runs_that_write_one_entry_of_the_cache_at_a_time_leave_one_whole_entry(tmp_path):
    roots = [tmp_path / f"run{number}" for number in range(8)]
    seals = []
    for root in roots:
        (root / "out").mkdir(parents=True)
        (root / "out/file").write_text("the same")
        seals.append(Seal("notes", {"a": 1}, hash_outputs(root, ["out"]), 1.0))
    together = Barrier(len(roots))

    def write(root: Path, seal: Seal) -> None:
        together.wait()
        cache.publish(tmp_path / "cache", root, seal)

    with ThreadPoolExecutor(len(roots)) as pool:
        for done in [pool.submit(write, *pair) for pair in zip(roots, seals, strict=True)]:
            done.result()
    (entry,) = (tmp_path / "cache").iterdir()
    sealed = read_seal(entry / "seal.json")
    assert sealed == seals[0] and is_whole(entry, seals[0], seal_file=entry / "seal.json")
    assert cache.take_over(tmp_path / "cache", tmp_path / "other", seals[0]) is not None
    assert (tmp_path / "other/out/file").read_text() == "the same"


def test_a_full_disk_of_the_cache_does_not_end_a_run(tmp_path, log_lines):
    (tmp_path / "cache").write_text("no folder can be made here")
    assert Walker(tmp_path / "a").walk() == list(ALL)
    assert any("is not kept for other runs" in line for line in log_lines)


def test_notes_of_an_earlier_build_serve_many_runs_as_they_are(tmp_path, log_lines):
    built = tmp_path / "notes"
    built.mkdir()
    for number, name in enumerate(SPLITS):
        write_split([note_of(number)], built / f"{name}.parquet")
    hashes = {name: identity.hash_split(built / f"{name}.parquet") for name in SPLITS}
    report = {
        "identity": identity.identify(DataConfig(split_seed=9), hashes=hashes),
        "splits": {name: {"num_notes": 1} for name in SPLITS},
    }
    (built / "report.json").write_text(json.dumps(report))
    table = {**TABLE, "data": {"splits": str(built)}}
    for name in ("a", "b"):
        run = Run(parse_experiment(table, "here"), RunPaths(tmp_path / name))
        build_data(run)
        for split in SPLITS:
            assert run.paths.split(split).read_bytes() == (built / f"{split}.parquet").read_bytes()
    assert "train 1, validation 1, test 1, promotion 1" in log_lines[1]
    assert any("taken over from" in line for line in log_lines)
    write_split([note_of(8)], built / "test.parquet")
    with pytest.raises(DataError, match="holds other notes than these settings ask for"):
        build_data(Run(parse_experiment(table, "here"), RunPaths(tmp_path / "c")))


def test_what_was_made_while_the_code_changed_is_not_kept_for_others(tmp_path, monkeypatch):
    monkeypatch.setattr("deepicd.pipeline.run.read_code", lambda: "another commit")
    assert Walker(tmp_path / "a").walk() == list(ALL)
    assert not (tmp_path / "cache").exists()


def test_what_is_imported_meanwhile_is_no_other_code(tmp_path, monkeypatch):
    before = read_code()
    found = tmp_path / "vendored-1.0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: vendored\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert read_code() == before
