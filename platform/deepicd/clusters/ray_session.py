"""Ray, however a command finds it: running already, named by `RAY_ADDRESS`, or started here.

The one place that calls `ray.init` outside a trial (`training.grpo.driver` joins as a job of its
own). A cluster started here belongs to the command: it reports no usage, has a token, and ends with
the command. What a library prints while Ray works goes to a file (`library_output_to`), so that the
console shows our own lines only and `--json` keeps standard output to itself.
"""

import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from deepicd.clusters.state import no_word_of_token
from deepicd.config import Experiment
from deepicd.errors import CapacityError
from deepicd.paths import RunPaths

_CPUS_OF_RUN, _CPUS_OF_TRIAL = 4, 6
"""CPU slots of the embedded cluster: for all, Serve 1 and spare; for each trial at once Tune 1,
Train 1, verl up to 3, and Ray Data."""

OBJECT_STORE_BYTES = 10**9
"""On the CPU profile. Ray would take 30 % of the machine's memory, which models need."""

# Under load a part of Ray may be too slow to report, and Ray then gives up.
_START_ATTEMPTS = 3
SLEEPING_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""torch's threads sleep between two pieces of parallel work. As OpenMP comes they spin, which with
a small model took more than half of all processor time (docs/timings.md). What they compute stays
the same to the last bit. OpenMP reads it when a process loads torch."""

EMBEDDED_ENV = {
    **SLEEPING_THREADS,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": "120000",  # patience with a busy machine
    "RAY_prestart_worker_first_driver": "0",  # else one idle Python per logical CPU and job
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",  # a busy proxy must not be restarted
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Environment of a cluster started here.

Token authentication is Ray's default for a local cluster; `RAY_AUTH_MODE` set here would come too
late for the part of Ray that reads it at import.
"""


@contextmanager
def ray_session(*, token_file: Path | None = None, **local: Any) -> Iterator[None]:
    """`connect` for the duration of a block; Ray that ran before goes on running."""
    owns_ray = connect(token_file=token_file, **local)
    try:
        yield
    finally:
        if owns_ray:
            import ray

            ray.shutdown()


def connect(
    *,
    token_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    **local: Any,
) -> bool:
    """Make sure that Ray is initialised; True when the caller has to shut it down.

    Args:
        token_file: where the token of a cluster started here is kept, unless the environment names
            one; None leaves it to Ray (`~/.ray/auth_token`).
        environment: further variables of a cluster started here.
        local: arguments of `ray.init` for a cluster started here.

    Raises:
        CapacityError: Ray did not start here.
    """
    import ray

    if ray.is_initialized():
        return False
    with _kept_sigterm():
        return _start_or_join(token_file, environment or {}, local)


@contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does in this process: `ray.init` puts a handler of its own in its place,
    after which no `finally` would run.
    """
    # Python lets no other thread set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # None: it was set outside of Python, and cannot be put back from here.
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _start_or_join(
    token_file: Path | None, environment: Mapping[str, str], local: Mapping[str, Any]
) -> bool:
    import ray

    # A cluster that ran before keeps its own environment; ours is set for one started here only.
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level="warning")
        return True
    if token_file is not None and not has_token(os.environ):
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(write_token(token_file))
    # Before `ray.init`: the processes of the cluster inherit this environment.
    os.environ.update({**EMBEDDED_ENV, **environment})
    # Nothing of ours asks Ray's dashboard: eleven processes less to start and to keep.
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "warning"}
    for attempt in range(1, _START_ATTEMPTS + 1):
        try:
            with no_word_of_token():
                ray.init(address="local", **{**options, **local})
        except Exception as error:  # Ray raises bare Exception when a busy machine is too slow
            # What the failed start left must not meet the next one.
            ray.shutdown()
            if attempt == _START_ATTEMPTS:
                raise CapacityError(
                    f"Ray did not start in {attempt} attempts: {error}. Free the machine, or start "
                    "Ray first and name it (RAY_ADDRESS)."
                ) from error
        else:
            break
    return True


def has_token(env: Mapping[str, str]) -> bool:
    """Whether a token is named already. Ray reads it once a process, so it is never changed."""
    return any(env.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))


def write_token(path: Path) -> Path:
    """A token file only its owner can read; kept when it exists."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Private from its first byte: `chmod` afterwards would leave a moment.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32))
    return path.resolve()


@contextmanager
def library_output_to(path: Path) -> Iterator[None]:
    """What libraries print in this process during the block goes to a file.

    The console handler (`cli.console`) holds the stream from before the block.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        # Added to, since a resume goes on with it; line by line, since a killed process flushes
        # nothing.
        path.open("a", encoding="utf-8", buffering=1) as file,
        redirect_stdout(file),
        redirect_stderr(file),
    ):
        yield


def run_session(experiment: Experiment, root: Path) -> AbstractContextManager[None]:
    """Ray for an experiment, shut down afterwards; `root` is the run's folder."""
    is_cpu = experiment.profile == "cpu"
    num_cpus, num_gpus = logical_slots(experiment)
    return ray_session(
        token_file=RunPaths(root).token,
        # verl counts nothing but GPUs, so on the CPU profile they are slots; real ones Ray finds.
        num_cpus=num_cpus if is_cpu else None,
        num_gpus=num_gpus if is_cpu else None,
        object_store_memory=OBJECT_STORE_BYTES if is_cpu else None,
    )


def logical_slots(experiment: Experiment) -> tuple[int, int]:
    """CPU and GPU slots of the embedded cluster, for all trials that run at once."""
    training = experiment.training
    num_gpus = max(1, experiment.sweep.max_concurrent) * training.world_size
    return _CPUS_OF_RUN + _CPUS_OF_TRIAL * num_gpus, num_gpus
