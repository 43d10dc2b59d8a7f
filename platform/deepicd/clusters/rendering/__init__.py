"""A cluster description as the files that public tools read.

In: a description, and what Ray Serve is to run on Kubernetes. Out: relative path → text. Decided
here: the same description gives the same bytes: no date, no path of this machine, no order of a
set.
"""

from collections.abc import Mapping

from deepicd.clusters.description import ClusterDescription
from deepicd.clusters.places import CLOUDS, Kubernetes, Slurm
from deepicd.clusters.rendering.kubernetes import kubernetes_files
from deepicd.clusters.rendering.ray_up import ray_up_file
from deepicd.clusters.rendering.skypilot import skypilot_file
from deepicd.clusters.rendering.slurm import sbatch_file

RAY_UP = "ray-up.yaml"
"""Name of the file for `ray up`."""


def render(
    cluster: ClusterDescription, serve_configs: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Every file of a cluster.

    Args:
        cluster: what is rendered.
        serve_configs: name of a job of kind `serve` → Ray Serve's configuration, for Kubernetes.
    """
    if isinstance(cluster.place, Kubernetes):
        return kubernetes_files(cluster, serve_configs or {})
    if isinstance(cluster.place, Slurm):
        return {sbatch_name(job): sbatch_file(cluster, job) for job in cluster.jobs}
    files = {RAY_UP: ray_up_file(cluster)}
    if isinstance(cluster.place, CLOUDS) and cluster.workers:
        files |= {f"sky-{job}.yaml": skypilot_file(cluster, job) for job in cluster.jobs}
    return files


def sbatch_name(job: str) -> str:
    """Name of the batch script of a job."""
    return f"{job}.sbatch"
