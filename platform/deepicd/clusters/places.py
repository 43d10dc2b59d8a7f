"""Where the machines of a cluster are: one class for each launch path.

In: the table `place` of a description. Out: what only this launch path needs. Decided here: a place
holds names and addresses, never a key or a password.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from deepicd.config import StrictModel

_PLAIN = r"^[A-Za-z0-9._:/@~-]*$"

_Plain = Annotated[str, Field(pattern=_PLAIN)]
_Named = Annotated[str, Field(pattern=_PLAIN, min_length=1)]


class _Ssh(StrictModel):
    ssh_user: _Named
    """Who logs in, on every machine. Ray expands no variables in it."""
    ssh_private_key: _Plain = ""
    """Key file on the machine that calls `ray up`; empty lets Ray make one (clouds)."""


class Local(_Ssh):
    """This machine, by `ray up`."""

    kind: Literal["local"]


class OnPremises(_Ssh):
    """Machines that are there already, by `ray up` over ssh."""

    kind: Literal["onprem"]
    head_ip: _Named
    worker_ips: tuple[_Named, ...] = ()


class Aws(_Ssh):
    """EC2, by `ray up`."""

    kind: Literal["aws"]
    region: _Named
    zones: tuple[_Named, ...] = Field(min_length=1)
    machine_image: _Named = "latest_dlami"
    """AMI with driver and Docker; Ray knows `latest_dlami`."""


class Gcp(_Ssh):
    """Compute Engine, by `ray up`."""

    kind: Literal["gcp"]
    region: _Named
    zones: tuple[_Named, ...] = Field(min_length=1)
    project: _Named
    machine_image: _Named
    """Source image with driver and Docker: projects/…/global/images/family/…"""


class Azure(_Ssh):
    """Virtual machines of Azure, by `ray up`."""

    kind: Literal["azure"]
    region: _Named
    resource_group: _Named
    machine_image: Annotated[str, Field(pattern=r"^[\w.-]+:[\w.-]+:[\w.-]+:[\w.-]+$")]
    """PUBLISHER:OFFER:SKU:VERSION, with driver and Docker."""


class Kubernetes(StrictModel):
    """A Kubernetes cluster with KubeRay 1.7."""

    kind: Literal["kubernetes"]
    namespace: _Named
    node_selector: dict[str, str] = {}
    """Labels of the nodes that GPU workers go to."""
    taints: tuple[_Named, ...] = ()
    """Keys of taints that GPU workers tolerate, such as nvidia.com/gpu."""
    max_wait_minutes: int = Field(default=30, ge=1)
    """A job that has no pods after this fails, and does not wait for GPUs for ever."""


class Slurm(StrictModel):
    """A Slurm cluster with a shared disk."""

    kind: Literal["slurm"]
    partition: _Named
    account: _Plain = ""
    qos: _Plain = ""
    environment: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")]
    """Python environment on the shared disk (.venv of a checkout), seen by every node."""
    repository: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$")]
    """Checkout of this repository on the shared disk."""
    port: int = Field(default=6379, ge=1024, le=65535)
    """Port of the head, other than that of a Ray of somebody else on the node."""
    wait_s: int = Field(default=600, ge=30)
    """Seconds that the head waits for the other nodes; Ray's own limit is 30."""


CLOUDS = (Aws, Gcp, Azure)


def _kind_of(place: Any) -> Any:
    # A function: pydantic takes no field with a validator for it, and ours check every field.
    return place.get("kind") if isinstance(place, dict) else getattr(place, "kind", None)


Place = Annotated[
    Annotated[Local, Tag("local")]
    | Annotated[OnPremises, Tag("onprem")]
    | Annotated[Aws, Tag("aws")]
    | Annotated[Gcp, Tag("gcp")]
    | Annotated[Azure, Tag("azure")]
    | Annotated[Kubernetes, Tag("kubernetes")]
    | Annotated[Slurm, Tag("slurm")],
    Discriminator(
        _kind_of,
        custom_error_type="kind",
        custom_error_message="kind must be local, onprem, aws, gcp, azure, kubernetes or slurm",
    ),
]
