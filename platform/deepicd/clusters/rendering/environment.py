"""Environment variables of every node, whatever starts it.

In: a description. Out: names and values, in one order. Decided here: the token comes by a file or a
Secret and is never among them; Gloo takes ONE interface, NCCL a list of those that it leaves out.
"""

from deepicd.clusters.description import ClusterDescription
from deepicd.clusters.places import Kubernetes

COPY = "~/deepicd-cluster"
"""Where `ray up` puts the repository and the token on a machine."""
_COMMON = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": "120000",  # a busy machine needs longer than Ray's default
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


def node_environment(cluster: ClusterDescription) -> dict[str, str]:
    """Variables that a node's Ray and everything it starts need."""
    return {**_auth(cluster), **_COMMON, **_network(cluster), **_image(cluster)}


def exports(environment: dict[str, str]) -> str:
    """Variables in front of a command of a shell; `~` is left for the shell to expand."""
    return " ".join(f"{name}={value}" for name, value in environment.items())


def _token_path(cluster: ClusterDescription) -> str:
    """The token's file on a node."""
    return f"{COPY}/secrets/{cluster.token.file.rpartition('/')[2]}"


def _auth(cluster: ClusterDescription) -> dict[str, str]:
    # KubeRay gives pods both by itself (authOptions).
    if isinstance(cluster.place, Kubernetes):
        return {}
    path = cluster.token.file if cluster.place.kind == "slurm" else _token_path(cluster)
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": path}


def _network(cluster: ClusterDescription) -> dict[str, str]:
    if not cluster.network_interface:
        return {}
    name = cluster.network_interface
    gloo = {"GLOO_SOCKET_IFNAME": name}
    nccl = {"NCCL_SOCKET_IFNAME": "^lo,docker,veth"} if cluster.profile == "gpu" else {}
    return {**gloo, **nccl}


def _image(cluster: ClusterDescription) -> dict[str, str]:
    return {"DEEPICD_IMAGE": cluster.image} if cluster.image else {}
