"""The environment of verl's processes."""

import importlib.util
import subprocess
import sys
from pathlib import Path

from deepicd.config import Experiment
from deepicd.training.verl_settings import worker_env


def test_nothing_is_compiled_on_a_cpu_and_what_a_gpu_compiles_stays():
    assert worker_env(Experiment())["TORCH_COMPILE_DISABLE"] == "1"
    assert "TORCH_COMPILE_DISABLE" not in worker_env(Experiment(profile="gpu"))


def test_threads_of_torch_sleep_between_two_pieces_of_work():
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    openmp = Path(spec.origin).parent / "lib" / "libgomp.so.1"
    done = subprocess.run(
        [sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(openmp)!r})"],
        env={**worker_env(Experiment()), "OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
