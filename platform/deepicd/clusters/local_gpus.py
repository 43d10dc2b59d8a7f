"""GPUs of this machine, counted without Ray or a driver's library.

In: an experiment. Out: whether this machine lacks GPUs for one trial of it. Decided here: the
kernel's list of NVIDIA's driver is read, and `CUDA_VISIBLE_DEVICES` heeded, as Ray does. Where
`RAY_ADDRESS` names a cluster its GPUs count, which only a run can ask for.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from deepicd.config import Experiment
from deepicd.errors import Fault

_DRIVER = Path("/proc/driver/nvidia/gpus")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def count_gpus(environment: Mapping[str, str] = os.environ, driver: Path = _DRIVER) -> int:
    """GPUs of this machine that a process may use."""
    present = len(list(driver.glob("*"))) if driver.is_dir() else 0
    if (visible := environment.get(_VISIBLE)) is None:
        return present
    # As CUDA reads it: devices after the first impossible one do not count.
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return min(present, len(names[: names.index("-1")] if "-1" in names else names))


def find_missing(
    experiment: Experiment, environment: Mapping[str, str] = os.environ, driver: Path = _DRIVER
) -> Iterator[Fault]:
    """The GPUs of one trial that this machine lacks, as a fault that is missing."""
    training = experiment.training
    if experiment.profile != "gpu" or environment.get("RAY_ADDRESS"):
        return
    present = count_gpus(environment, driver)
    # A trial over several nodes asks for more machines than this one.
    if present >= training.num_gpus and training.num_nodes == 1:
        return
    yield Fault(
        "training.num_gpus",
        f"a trial needs {training.num_nodes} x {training.num_gpus} GPUs (training.num_nodes, "
        f"training.num_gpus on one node each), this machine has {present}",
        "run it where they are, or name a Ray cluster that has them (RAY_ADDRESS)",
        training.num_gpus,
        is_missing=True,
    )
