"""A cluster description as the files that public tools read.

In: a description, and what Ray Serve is to run on Kubernetes. Out: relative path → text. Decided
here: the same description gives the same bytes: no date, no path of this machine, no order of a
set.
"""

from collections.abc import Mapping

from deepicd.clusters.description import ClusterDescription
from deepicd.clusters.places import Kubernetes
from deepicd.clusters.rendering.kubernetes import kubernetes_files
from deepicd.clusters.rendering.ray_up import ray_up_file

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
    return {RAY_UP: ray_up_file(cluster)}
