"""What ran out, whoever reported it and however deep."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from note_rows import note_of
from stage_walker import ALL, Walker

from deepicd import cli
from deepicd.config import dump_experiment, parse_experiment
from deepicd.errors import DataError, ExhaustedError, TrainingError
from deepicd.notes.split_files import write_split
from deepicd.paths import RunPaths
from deepicd.pipeline.folder.lock import locked, on_sigterm
from deepicd.pipeline.resources import explain_exhaustion, find_exhausted
from deepicd.pipeline.seal import read_seal
from deepicd.pipeline.stage import STAGES


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
from deepicd.pipeline.folder.lock import locked, on_sigterm
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


# What Ray says of a worker that it killed: several lines, of which no text may hold the cause.
RAYS_WORDS = (
    "Task was killed due to the node running low on memory.\nMemory on the node (IP: 10.0.0.1, ID: "
    "ab12) where the task (task ID: cd34, name=train_sft, pid=77, memory used=20.10GB) was running "
    "was 30.50GB / 32.00GB (0.953125), which exceeds the memory usage threshold of 0.95."
)
RUNNING_OUT = {
    "disk": (lambda: OSError(errno.ENOSPC, "No space left on device"), "disk space"),
    "memory": (MemoryError, "memory"),
    "Ray": (lambda: RuntimeError(RAYS_WORDS), "memory"),
    "training": (lambda: caused(TrainingError("it failed"), RuntimeError(RAYS_WORDS)), "memory"),
}


def files_below(root):
    """Contents and time of change of what stages wrote; not what says how long they took."""
    outputs = [root / output for stage in STAGES.values() for output in stage.outputs]
    files = (file for path in outputs for file in (path.rglob("*") if path.is_dir() else [path]))
    return {str(file.relative_to(root)): file for file in files if file.is_file()}


def contents(root):
    return {name: file.read_bytes() for name, file in files_below(root).items()}


def times(root):
    return {name: file.stat().st_mtime_ns for name, file in files_below(root).items()}


def walk_guarded(walker):
    """As `run_pipeline` walks: under the run's lock, signals and full machines turned into ends."""
    paths = walker.run.paths
    with explain_exhaustion(paths.root), locked(paths.lock), on_sigterm():
        return walker.walk()


def check_what_is_left(root, stage):
    """The stage that died is not sealed, and those before it are whole; returns their files."""
    paths, before = RunPaths(root), ALL[: ALL.index(stage)]
    assert [name for name in ALL if paths.seal(name).is_file()] == list(before)
    whole = {name for each in before for name in read_seal(paths.seal(each)).outputs}
    left = times(root)
    assert whole < set(left), "the stage died with a part of its outputs written"
    return {name: left[name] for name in whole}


def check_resume(root, stage, unbroken):
    """A resume does the rest: the outputs are those of a run that nothing ended."""
    assert walk_guarded(Walker(root)) == list(ALL[ALL.index(stage) :])
    assert contents(root) == contents(unbroken)
    for name in ALL:
        one, other = (read_seal(RunPaths(each).seal(name)) for each in (root, unbroken))
        assert one.digest == other.digest


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    # In a folder of its own: nothing is to be taken over from it.
    root = tmp_path_factory.mktemp("unbroken") / "a"
    Walker(root).walk()
    return root


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def _ctrl_c():
    """Ctrl-C, which what a shell runs in the background does not hear."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# One run of each stage, which dies of every cause in turn: a walk that seals is dear.
@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("stage", ALL)
def test_what_ends_a_stage_is_told_and_a_resume_goes_on_from_what_is_whole(
    tmp_path, monkeypatch, capsys, log_lines, unbroken, stage
):
    root = tmp_path / "a"
    for error, what in RUNNING_OUT.values():

        def run_out(error=error):
            raise error()

        dying = Walker(root, dies_in=stage, dying=run_out)
        monkeypatch.setattr(cli, "app", lambda dying=dying, **_: walk_guarded(dying))
        with pytest.raises(SystemExit, match=f"^{ExhaustedError.exit_code}$"):
            cli.main()
        (line,) = capsys.readouterr().err.splitlines()
        assert (
            line.startswith(f"deepicd: {what} ran out (") and "`deepicd resume a` goes on" in line
        )
        whole = check_what_is_left(root, stage)
    for dying, end, words in (
        (interrupt, KeyboardInterrupt, "^$"),
        (terminate, SystemExit, "^143$"),
    ):
        walker = Walker(root, dies_in=stage, dying=dying)
        with pytest.raises(end, match=words):
            walk_guarded(walker)
        assert walker.done == [stage]
        assert log_lines[-1] == f"       {stage} did not end; deepicd resume a goes on"
        assert check_what_is_left(root, stage) == whole
    check_resume(root, stage, unbroken)
    assert {name: times(root)[name] for name in whole} == whole


def test_a_thread_that_ends_for_lack_of_memory_ends_the_stage_that_waits_for_it():
    def starve() -> None:
        raise MemoryError

    def wait() -> None:
        threading.Thread(target=starve).start()
        threading.Event().wait(60)

    before = threading.excepthook
    with (
        pytest.raises(
            ExhaustedError, match=r"memory ran out \(MemoryError\); .* `deepicd resume a`"
        ),
        explain_exhaustion(Path("runs/a")),
        on_sigterm(),
    ):
        wait()
    assert threading.excepthook is before


def test_a_thread_that_ends_for_another_reason_ends_no_stage():
    def fail() -> None:
        raise ValueError("no matter of memory")

    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", told.append)
        with explain_exhaustion(Path("runs/a")), on_sigterm():
            thread = threading.Thread(target=fail)
            thread.start()
            thread.join()
    assert [type(each.exc_value) for each in told] == [ValueError]


def test_sigterm_while_another_error_is_handled_stays_sigterm():
    def end() -> None:
        try:
            raise MemoryError
        except MemoryError:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(60)

    with pytest.raises(SystemExit, match="143"), explain_exhaustion(Path("runs/a")), on_sigterm():
        end()


def test_a_thread_without_memory_is_told_where_nobody_hears_sigterm():
    def starve() -> None:
        raise MemoryError

    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", told.append)
        with explain_exhaustion(Path("runs/a")):
            thread = threading.Thread(target=starve)
            thread.start()
            thread.join()
    assert [type(each.exc_value) for each in told] == [MemoryError]
