"""The Ray session that a whole run works in: the cluster it was submitted to, or one here.

On the CPU profile Ray's CPUs and GPUs are logical slots: actors here are mostly idle, and verl
counts GPU slots only. The token lies in the run's folder. The dashboard is on: Ray Train's clean-up
of placement groups asks its state API.
"""

from contextlib import AbstractContextManager
from pathlib import Path

from deepicd.clusters.ray_session import ray_session
from deepicd.config import Experiment

_CPUS_OF_RUN, _CPUS_OF_TRIAL = 4, 6
"""CPU slots of the embedded cluster: for all, Serve 1 and spare; for each trial at once Tune 1,
Train 1, verl up to 3, and Ray Data."""
_OBJECT_STORE_BYTES = 10**9


def run_session(experiment: Experiment, root: Path) -> AbstractContextManager[None]:
    """Ray for an experiment, shut down afterwards; `root` is the run's folder."""
    is_cpu = experiment.profile == "cpu"
    num_cpus, num_gpus = logical_slots(experiment)
    return ray_session(
        token_file=root / "ray_token",
        num_cpus=num_cpus if is_cpu else None,
        num_gpus=num_gpus if is_cpu else None,
        object_store_memory=_OBJECT_STORE_BYTES if is_cpu else None,
        include_dashboard=True,
    )


def logical_slots(experiment: Experiment) -> tuple[int, int]:
    """CPU and GPU slots of the embedded cluster, for all trials that run at once."""
    training = experiment.training
    num_gpus = max(1, experiment.sweep.max_concurrent) * training.num_gpus * training.num_nodes
    return _CPUS_OF_RUN + _CPUS_OF_TRIAL * num_gpus, num_gpus
