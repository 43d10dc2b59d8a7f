"""What ran out, whoever reported it and however deep."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from note_rows import note_of

from deepicd.config import dump_experiment, parse_experiment
from deepicd.errors import DataError, ExhaustedError, TrainingError
from deepicd.notes.split_files import write_split
from deepicd.paths import RunPaths
from deepicd.pipeline.resources import explain_exhaustion, find_exhausted


def caused(outer: Exception, inner: Exception) -> Exception:
    try:
        try:
            raise inner
        except Exception as error:
            raise outer from error
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk space"),
        (
            RuntimeError("Error while serializing: IoError (os error 28)"),
            "disk space",
        ),
        (caused(TrainingError("SFT failed"), OSError(errno.ENOSPC, "x")), "disk space"),
        (MemoryError(), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (RuntimeError("std::bad_alloc"), "memory"),
        (RuntimeError("can't start new thread"), "memory"),
        (OSError("Failed to launch worker thread: Resource temporarily unavailable"), "memory"),
        (RuntimeError("Task was killed due to the node running low on memory"), "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "GPU memory"),
        (DataError("a table is broken"), None),
        (FileNotFoundError(errno.ENOENT, "no such file"), None),
    ],
)
def test_the_bottom_of_an_error_says_what_ran_out(error, what):
    assert find_exhausted(error) == what


def test_it_is_one_line_with_an_exit_code_of_its_own_and_the_way_on():
    with (
        pytest.raises(ExhaustedError, match=r"disk space ran out .* `deepicd resume a` goes on"),
        explain_exhaustion(Path("runs/a")),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert ExhaustedError.exit_code == 12
    with pytest.raises(DataError, match="broken"), explain_exhaustion(Path("runs/a")):
        raise DataError("a table is broken")


# A stage as `deepicd` runs it, with a limit on the memory that its process may still take.
UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
import psutil
from deepicd import cli
from deepicd.paths import RunPaths
from deepicd.pipeline import stages
from deepicd.pipeline.folder.command import experiment_of_run
from deepicd.pipeline.resources import explain_exhaustion
from deepicd.pipeline.run import Run
from deepicd.pipeline.seal import Seal

root, stage, spare = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
run = Run(experiment_of_run(RunPaths(root)), RunPaths(root))
run.seals |= {name: Seal(name, {}, {}, 1.0) for name in ("notes", "traces")}
work = {"traces": stages._write_traces, "model": stages._build_model}[stage]
import numpy, pyarrow.parquet, torch, transformers, deepicd.traces, deepicd.training.start_model

def limited():
    if spare:
        taken = psutil.Process().memory_info().vms
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (taken + spare, hard))
    work(run)

def command():
    with explain_exhaustion(root):
        run.do(stage, "something", limited)

cli.app = lambda **_: command()
cli.main()
"""


@pytest.mark.parametrize(
    ("stage", "spare", "model"),
    [("traces", 24 << 20, {}), ("model", 1 << 30, {"hidden_size": 4096, "num_heads": 64})],
)
def test_memory_that_really_runs_out_in_a_stage_is_told_and_the_stage_is_done_later(
    tmp_path, stage, spare, model
):
    paths = RunPaths(tmp_path / "a")
    table = {"model": {"vocab_size": 400, **model}, "sft": {"num_traces": 4}}
    dump_experiment(parse_experiment(table, "here"), paths.experiment)
    paths.notes.mkdir()
    notes = [note_of(number) for number in range(20_000 if stage == "traces" else 50)]
    write_split(notes, paths.split("train"))

    def run_stage(spare):
        words = [sys.executable, "-c", UNDER_A_LIMIT, str(paths.root), stage, str(spare)]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    if stage == "model":
        assert (
            subprocess.run(
                [sys.executable, "-c", UNDER_A_LIMIT, str(paths.root), "traces", "0"], check=False
            ).returncode
            == 0
        )
    done = run_stage(spare)
    assert done.returncode == ExhaustedError.exit_code, done.stderr[-2000:]
    assert done.stderr.startswith("deepicd: memory ran out (") and done.stderr.count("\n") == 1
    assert "`deepicd resume a` goes on" in done.stderr and not paths.seal(stage).exists()
    if stage == "traces":
        assert run_stage(0).returncode == 0 and paths.seal(stage).is_file()
