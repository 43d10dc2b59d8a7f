"""A cluster description as the files that public tools read.

In: a description. Out: relative path → text. Decided here: the same
description gives the same bytes: no date, no path of this machine, no order of a set.
"""

from deepicd.clusters.description import ClusterDescription
from deepicd.clusters.rendering.ray_up import ray_up_file

RAY_UP = "ray-up.yaml"
"""Name of the file for `ray up`."""


def render(cluster: ClusterDescription) -> dict[str, str]:
    """Every file of a cluster."""
    return {RAY_UP: ray_up_file(cluster)}
