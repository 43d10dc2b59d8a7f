"""The Ray session a command works in: the cluster it was submitted to, or an embedded one here.

Decided here: with `RAY_ADDRESS` set (as `ray job submit` does) the command joins that cluster;
otherwise it starts Ray on this machine for as long as it runs. On the CPU profile Ray's CPUs and
GPUs are logical slots: actors here are mostly idle, and verl counts GPU slots only. The embedded
cluster has a token file of its own in the run's folder. The dashboard is on: Ray Train's clean-up
of placement groups asks its state API.
"""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deepicd.config import Experiment

LOGICAL_CPUS = 10
"""CPU slots of the embedded cluster: Tune 1, Train 1, verl up to 3, Ray Data 2, Serve 1, spare."""
_OBJECT_STORE_BYTES = 10**9
_AGENT_TIMEOUT_MS = "120000"


EMBEDDED_ENV = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": _AGENT_TIMEOUT_MS,
    "RAY_prestart_worker_first_driver": "0",  # else one idle Python per logical CPU and job
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Environment of the embedded cluster: no usage reports, no hub, patience with a busy machine.

Token authentication is Ray's default for a local cluster; `RAY_AUTH_MODE` set here would come too
late for the part of Ray that reads it at import.
"""


@contextmanager
def ray_session(experiment: Experiment, root: Path) -> Iterator[None]:
    """Initialise Ray for an experiment and shut it down afterwards; `root` is the run's folder."""
    import ray

    if os.environ.get("RAY_ADDRESS"):
        ray.init(logging_level="warning")
    else:
        start_embedded(experiment, root)
    try:
        yield
    finally:
        ray.shutdown()


def start_embedded(experiment: Experiment, root: Path) -> None:
    """Start Ray on this machine; it ends with this process."""
    if not has_token(os.environ):
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(write_token(root / "ray_token"))
    os.environ.update(EMBEDDED_ENV)
    import ray

    is_cpu = experiment.profile == "cpu"
    ray.init(
        address="local",
        num_cpus=LOGICAL_CPUS if is_cpu else None,
        num_gpus=experiment.training.num_gpus if is_cpu else None,
        object_store_memory=_OBJECT_STORE_BYTES if is_cpu else None,
        include_dashboard=True,
        log_to_driver=False,
        logging_level="warning",
    )


def has_token(env: Mapping[str, str]) -> bool:
    """Whether a token is named already. Ray reads it once a process, so it is never changed."""
    return any(env.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))


def write_token(path: Path) -> Path:
    """A token file only its owner can read; kept when it exists."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(32))
    return path.resolve()
