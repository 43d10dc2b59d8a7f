"""One run: its folder, its lock, SIGTERM, and the run that something lies in."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deepicd.config import dump_experiment, parse_experiment
from deepicd.errors import ConfigError, DataError, MissingError, SweepError
from deepicd.files import exclusive_lock, lock_holder
from deepicd.paths import RunPaths
from deepicd.pipeline.folder.command import (
    Command,
    experiment_of_run,
    experiment_or_defaults,
    read_command,
    run_of_registry,
    write_command,
)
from deepicd.pipeline.folder.lock import locked, on_sigterm, stop_holder
from deepicd.pipeline.folder.place import prepare_root


def test_one_process_at_a_time_works_in_a_folder(tmp_path):
    lock = tmp_path / "runs" / ".a.lock"
    assert lock_holder(lock) is None
    with locked(lock):
        code = "import sys; from pathlib import Path; from deepicd.pipeline.folder.lock import *; "
        code += "print(lock_holder(Path(sys.argv[1])))\nwith locked(Path(sys.argv[1])): pass"
        command = [sys.executable, "-c", code, str(lock)]
        other = subprocess.run(command, capture_output=True, text=True, check=False)
        assert other.stdout.strip() == str(os.getpid())
        assert other.returncode and f"is going on (process {os.getpid()})" in other.stderr
    assert lock_holder(lock) is None
    with pytest.raises(MissingError, match="nothing is going on"):
        stop_holder(lock, timeout_s=1)


def test_stop_ends_the_process_by_sigterm_through_its_finallys(tmp_path):
    lock = tmp_path / ".a.lock"
    code = "import sys, time; from pathlib import Path; "
    code += "from deepicd.pipeline.folder.lock import locked, on_sigterm\n"
    code += "with locked(Path(sys.argv[1])), on_sigterm():\n"
    code += "    try: time.sleep(60)\n    finally: Path(sys.argv[2]).write_text('ended')"
    command = [sys.executable, "-c", code, str(lock), str(tmp_path / "end")]
    process = subprocess.Popen(command)
    while not lock_holder(lock):
        assert process.poll() is None, "it ended before it held the lock"
        time.sleep(0.05)
    assert stop_holder(lock, timeout_s=30) == process.pid
    assert process.wait(timeout=30) == 143 and (tmp_path / "end").read_text() == "ended"


def test_a_process_that_has_not_written_its_id_yet_is_not_stopped(tmp_path):
    lock = tmp_path / ".a.lock"
    with exclusive_lock(lock):
        os.truncate(lock, 0)
        with pytest.raises(SweepError, match="is just starting; try again"):
            stop_holder(lock, timeout_s=1)


def test_a_process_that_does_not_end_is_named(tmp_path):
    lock = tmp_path / ".a.lock"
    code = "import signal, sys, time; from pathlib import Path\n"
    code += "from deepicd.files import exclusive_lock\n"
    code += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    code += "with exclusive_lock(Path(sys.argv[1])): time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, str(lock)])
    try:
        while not lock_holder(lock):
            assert process.poll() is None, "it ended before it held the lock"
            time.sleep(0.05)
        with pytest.raises(SweepError, match=f"process {process.pid} is still there after 0 s"):
            stop_holder(lock, timeout_s=0.0)
    finally:
        process.kill()
        process.wait()


def test_a_process_of_another_machine_is_not_stopped_here(tmp_path):
    lock = tmp_path / ".a.lock"
    with exclusive_lock(lock):
        lock.write_text(json.dumps({"pid": os.getpid(), "host": "node7"}))
        with pytest.raises(SweepError, match=r"goes on at node7 \(process \d+\); stop it there"):
            stop_holder(lock, timeout_s=1)


def test_a_folder_that_cannot_hold_runs_is_refused(tmp_path):
    (tmp_path / "file").touch()
    words = r"file cannot hold a run .*; choose another --runs"
    with pytest.raises(ConfigError, match=words), locked(tmp_path / "file" / ".a.lock"):
        pass


def test_a_command_that_was_changed_by_hand_is_refused(tmp_path):
    paths = RunPaths(tmp_path)
    write_command(paths, Command(is_promoted=False))
    assert read_command(paths) == Command(is_promoted=False)
    paths.command.write_text("{")
    with pytest.raises(DataError, match=r"command\.json is not as it was written; remove it"):
        read_command(paths)


def test_an_endpoint_that_is_asked_nothing_is_not_started():
    table = {"serving": {"num_check_notes": 0}}
    assert "deployment" not in Command().fit_to(parse_experiment(table, "here")).stages
    assert Command().fit_to(parse_experiment({}, "here")) == Command()


def test_a_run_that_did_not_get_further_than_its_start_is_not_kept(tmp_path):
    root = prepare_root(tmp_path / "a")
    (root / "summary.json").write_text("the work of a week")
    for _ in range(3):  # each dies at once, as for want of a GPU
        paths = RunPaths(prepare_root(tmp_path / "a"))
        dump_experiment(parse_experiment({}, "here"), paths.experiment)
        write_command(paths, Command())
        paths.console.touch()
        paths.token.touch()
    assert (tmp_path / "a.previous" / "summary.json").read_text() == "the work of a week"


def test_sigterm_ends_a_block_through_its_finallys_and_is_as_before_afterwards():
    before, steps = signal.getsignal(signal.SIGTERM), []

    def work():
        with on_sigterm():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                steps.append("ended")

    with pytest.raises(SystemExit, match="143"):
        work()
    assert steps == ["ended"] and signal.getsignal(signal.SIGTERM) is before


def test_outside_of_the_main_thread_sigterm_is_left_alone():
    steps = []

    def work():
        with on_sigterm():
            steps.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert steps == [signal.getsignal(signal.SIGTERM)]


def test_the_experiment_of_a_run_is_read_back_or_missed(tmp_path):
    paths = RunPaths(tmp_path)
    with pytest.raises(MissingError, match="no run in"):
        experiment_of_run(paths)
    assert experiment_or_defaults(paths.experiment) == parse_experiment({}, "here")
    experiment = parse_experiment({"seed": 7}, "here")
    dump_experiment(experiment, paths.experiment)
    assert experiment_of_run(paths) == experiment_or_defaults(paths.experiment) == experiment
    paths.experiment.write_text('{"sed": 7}')
    with pytest.raises(ConfigError, match=r"no experiment of this version \(1 faults\); go on"):
        experiment_of_run(paths)


def test_a_registry_lies_in_its_run_and_one_in_a_store_in_the_working_directory(tmp_path):
    assert run_of_registry(str(tmp_path / "demo" / "registry")).root == tmp_path / "demo"
    assert run_of_registry("s3://bucket/registry").root == Path()
