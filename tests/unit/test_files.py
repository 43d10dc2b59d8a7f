"""Files that a killed writer leaves whole, and locks that end with their owner."""

import json
import math
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.errors import ConfigError
from deepicd.files import (
    exclusive_lock,
    is_held,
    json_text,
    lock_holder,
    put_in_place,
    replaced_file,
    replaced_folder,
    write_atomically,
)

HOLD = """
import sys
from pathlib import Path
from deepicd.files import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start_holder():
    """A function that starts another process which holds a lock; it is killed at the end."""
    with ExitStack() as stack:

        def start(path: Path) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", HOLD, str(path)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            return process

        yield start


@pytest.mark.parametrize("name", ["run.lock", "folder"])
def test_a_lock_is_held_by_one_at_a_time_and_free_after_the_block(tmp_path, name):
    (tmp_path / "folder").mkdir()
    path = tmp_path / name
    with exclusive_lock(path):
        assert is_held(path)
        with (
            pytest.raises(BlockingIOError, match=f"{name} is held by another process"),
            exclusive_lock(path, is_waited_for=False),
        ):
            pytest.fail("held twice")
        assert is_held(path), "a refused attempt takes nothing away"
    assert not is_held(path)


def test_a_lock_file_names_its_holder(tmp_path):
    path = tmp_path / "run.lock"
    assert lock_holder(path) is None
    path.write_text('{"pid": 123456789}')  # longer than ours: nothing of it may stay
    with exclusive_lock(path):
        assert lock_holder(path) == os.getpid()
    assert lock_holder(path) is None


def test_another_process_is_waited_for_and_its_death_frees_the_lock(tmp_path, start_holder):
    path = tmp_path / "run.lock"
    holder = start_holder(path)
    assert lock_holder(path) == holder.pid
    threading.Timer(0.2, holder.kill).start()
    with exclusive_lock(path):
        assert holder.wait() == -9 and lock_holder(path) == os.getpid()


def test_those_that_look_do_not_take_each_other_for_the_holder(tmp_path):
    path = tmp_path / "run.lock"
    path.touch()
    found: list[bool] = []

    def look() -> None:
        found.extend(is_held(path) for _ in range(300))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1200 and not any(found)


def test_a_lock_of_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        is_held(tmp_path / "missing")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    write_atomically(path, "new")
    assert path.read_text() == "new"


def write_half(path: Path) -> None:
    path.write_bytes(b"half")
    raise RuntimeError("in the middle")


def test_a_file_is_replaced_when_the_block_ends_well_and_only_then(tmp_path):
    path = tmp_path / "rows.parquet"
    with replaced_file(path) as aside:
        aside.write_bytes(b"old")
        assert not path.exists() and aside.parent == tmp_path
    with pytest.raises(RuntimeError, match="in the middle"), replaced_file(path) as aside:
        write_half(aside)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with replaced_file(path) as aside:
        aside.write_bytes(b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["rows", "missing/rows", "a_file/rows"])
def test_a_block_that_writes_no_file_replaces_none(tmp_path, name):
    (tmp_path / "rows").write_text("old")
    (tmp_path / "a_file").write_text("no folder")
    before = sorted(tmp_path.iterdir())
    with replaced_file(tmp_path / name):
        pass
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "rows").read_text() == "old"


def test_two_that_write_one_file_at_a_time_do_not_mix(tmp_path):
    path = tmp_path / "rows"
    with replaced_file(path) as first, replaced_file(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_when_the_block_ends_well_and_only_then(tmp_path):
    out = tmp_path / "out"
    with replaced_folder(out, marker="done") as aside:
        (aside / "done").write_text("1")
    with pytest.raises(RuntimeError, match="in the middle"), replaced_folder(out, marker="done"):
        raise RuntimeError("in the middle")
    assert (out / "done").read_text() == "1"
    with replaced_folder(out, marker="done") as aside:
        (aside / "done").write_text("2")
    assert (out / "done").read_text() == "2" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("is_file", [True, False])
def test_what_no_build_wrote_is_not_replaced(tmp_path, is_file):
    out = tmp_path / "out"
    if is_file:
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").touch()
    with (
        pytest.raises(ConfigError, match="is not replaced: it is not empty and holds no done"),
        replaced_folder(out, marker="done"),
    ):
        pytest.fail("replaced")


def test_a_failing_build_keeps_the_former_folder_and_leaves_nothing_beside_it(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    with replaced_folder(out, marker="x") as folder:
        (folder / "x").write_text("old")

    def fail_half_way() -> None:
        with replaced_folder(out, marker="x") as folder:
            (folder / "x").write_text("new")
            raise RuntimeError("half")

    with pytest.raises(RuntimeError, match="half"):
        fail_half_way()
    assert (out / "x").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_no_build_wrote_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "note").mkdir()
    (tmp_path / "note" / "discharge.csv.gz").write_bytes(b"precious")

    def replace_it() -> None:
        with replaced_folder(tmp_path, marker="report.json"):
            pass

    with pytest.raises(ConfigError, match=r"is not replaced: it is not empty and holds no report"):
        replace_it()
    assert (tmp_path / "note" / "discharge.csv.gz").read_bytes() == b"precious"


def test_a_folder_that_cannot_take_its_place_leaves_the_one_that_is_there(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("old")
    with pytest.raises(FileNotFoundError, match="gone"):
        put_in_place(tmp_path / "gone", target)
    assert (target / "config.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    new = tmp_path / "new"
    new.mkdir()
    put_in_place(new, target)
    assert [path.name for path in tmp_path.iterdir()] == ["model"] and not list(target.iterdir())


@given(
    st.recursive(
        st.floats() | st.integers() | st.text(max_size=3) | st.none() | st.booleans(),
        lambda values: st.lists(values) | st.dictionaries(st.text(max_size=3), values),
    )
)
def test_json_holds_no_number_that_is_none(value):
    def refuse(word):
        raise AssertionError(word)

    read = json.loads(json_text(value), parse_constant=refuse)
    assert json_text(read) == json_text(value)


def test_what_is_no_number_is_null_wherever_it_lies():
    values = {"b": (math.nan, 1.5), "a": {"c": -math.inf}}
    assert json_text(values, indent=None) == '{"a": {"c": null}, "b": [null, 1.5]}'
    assert json_text(values, indent=None, sort_keys=False).startswith('{"b"')


def test_no_file_is_written_by_a_writer_that_lets_nan_through(root):
    """Every `json.dumps` of the package stands here, with why it may write what it gets."""
    found = {}
    for path in sorted((root / "platform" / "deepicd").rglob("*.py")):
        count = path.read_text().count("json.dumps(") + path.read_text().count("json.dump(")
        if count:
            found[str(path.relative_to(root / "platform" / "deepicd"))] = count
    texts_and_counts = {
        "config/new_experiment.py": 6,  # quotes strings for TOML
        "config/domain_spelling.py": 3,  # quotes a value in an error
        "notes/corpus/mimic_tables.py": 2,  # codes and splits
        "monitoring/prediction_log.py": 1,  # names of groups
        "serving/service_discovery.py": 1,  # addresses
        "serving/ingress/middleware.py": 1,  # a problem's words
        "training/process/watchdog.py": 1,  # a stage's name
        "rewards/judge_prompt.py": 1,  # a prompt
        "rewards/verl_entry.py": 1,  # weights, which are finite
        "doctor/all_reduce.py": 1,  # a rate, which is finite
        "doctor/kernels.py": 1,  # names of kernels
        "files.py": 2,  # `json_text` itself, and a lock's holder
    }
    compared_or_hashed = {
        "clusters/rendering/kubernetes/monitoring.py": 1,  # a file of ours, written anew
        "config/loading.py": 1,
        "pipeline/stage.py": 1,
        "promotion/model_card.py": 1,  # text for people
        "promotion/versions.py": 1,  # read back at once
        "report/factors.py": 1,
        "report/html.py": 1,  # read back at once
        "report/sweep.py": 1,  # settings, which are finite
        "sweeps/results/ranking.py": 1,
        "sweeps/results/trials.py": 1,
        "training/checkpoints/retention.py": 1,
        "traces/card.py": 1,
        "traces/part_file.py": 1,  # read back at once
        "training/grpo/engine_reuse.py": 1,
    }
    # Read by our own code, whose numbers stay what they are: a loss that is none is told.
    between_processes = {
        "training/process/protocol.py": 1,
        "training/checkpoints/export_check.py": 2,
    }
    on_the_console = {"cli/console.py": 2}  # read back at once; replies, which are finite
    assert found == texts_and_counts | compared_or_hashed | between_processes | on_the_console
