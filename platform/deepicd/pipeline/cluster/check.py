"""What is wrong with a cluster description, before any machine is touched.

In: a description, and the price table. Out: faults. Decided here: what the public tool itself would
refuse is found by its own schema on the rendered files; a GPU without a price or a memory figure is
refused, since nobody could say what a sweep there costs, or whether it fits.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepicd import __version__
from deepicd.clusters.description import ClusterDescription, Machine, read_cluster
from deepicd.clusters.places import CLOUDS
from deepicd.clusters.ray_up_check import ray_up_faults
from deepicd.clusters.rendering import RAY_UP
from deepicd.config import load_experiment
from deepicd.errors import CapacityError, ConfigError, Fault
from deepicd.pipeline.cluster.figures import gpu_figures
from deepicd.pipeline.cluster.fit import FitRow, fit
from deepicd.pipeline.cluster.rendering import rendered_files
from deepicd.sweeps.planning.prices import PriceTable, read_prices


@dataclass(frozen=True)
class ClusterVerdict:
    """A description in which nothing is wrong, and how an experiment fits it."""

    cluster: ClusterDescription
    rows: tuple[FitRow, ...] = ()

    @property
    def exit_code(self) -> int:
        """0, or that of a `CapacityError`."""
        return 0 if all(row.is_ok for row in self.rows) else CapacityError.exit_code

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        cluster = self.cluster
        named = {"cluster": cluster.name, "place": cluster.place.kind, "profile": cluster.profile}
        return {**named, "fits": not self.exit_code, "checks": [asdict(row) for row in self.rows]}


def check_cluster(
    path: Path, prices: Path | None = None, *, experiment: Path | None = None
) -> ClusterVerdict:
    """A description in which nothing is wrong, with the questions of an experiment if one is given.

    Raises:
        MissingError: no such file.
        ConfigError: every fault of the description, or of the experiment.
    """
    cluster, table = read_cluster(path), read_prices(prices)
    faults = list(_cluster_faults(cluster, table))
    if faults:
        lines = (f"{fault.place}: {fault}" for fault in faults)
        raise ConfigError("\n  ".join([f"{path} cannot be launched:", *lines]))
    if experiment is None:
        return ClusterVerdict(cluster)
    return ClusterVerdict(cluster, tuple(fit(cluster, load_experiment(experiment), table)))


def _cluster_faults(cluster: ClusterDescription, prices: PriceTable) -> Iterator[Fault]:
    """House rules and the public tools' own schemas."""
    yield from _image_faults(cluster)
    for address, machine, _ in cluster.machines():
        yield from _machine_faults(cluster, address, machine=machine, prices=prices)
    yield from _tool_faults(cluster)


def _image_faults(cluster: ClusterDescription) -> Iterator[Fault]:
    tag = cluster.image.rpartition("/")[2].partition("@")[0].rpartition(":")[2]
    if cluster.image and not re.match(rf"v?{re.escape(__version__)}([-_.]|$)", tag):
        yield Fault(
            "image",
            f"image {cluster.image} has a tag without this version ({__version__}): nodes and this "
            "command would run different code",
            f"name an image like NAME:{__version__}-{cluster.profile}",
        )


def _machine_faults(
    cluster: ClusterDescription, address: str, *, machine: Machine, prices: PriceTable
) -> Iterator[Fault]:
    if cluster.profile == "gpu" and machine.gpus and gpu_figures(machine, prices) is None:
        yield Fault(
            f"{address}.gpu",
            f"gpu {machine.gpu!r} has no price or no memory figure in the price table of "
            f"{prices.as_of}",
            f"write {address}.gpu_memory_gib and {address}.usd_per_gpu_hour (0 for machines of "
            "your own), or give a table of your own (--prices)",
        )
    place = cluster.place
    if not isinstance(place, CLOUDS) or not machine.instance:
        return
    known = {each.name: each for each in prices.machines if each.provider == place.kind}
    found = known.get(machine.instance.removeprefix("Standard_"))
    if found is None and machine.gpus:
        yield Fault(
            f"{address}.instance",
            f"{machine.instance} is no machine of {place.kind} in the price table of "
            f"{prices.as_of} ({', '.join(known)})",
            "correct it, or give a table of your own (--prices)",
        )
    if found is None:
        return
    if found.regions and place.region not in found.regions:
        yield Fault(
            "place.region",
            f"region {place.region} has no {machine.instance} in the table of {prices.as_of}, "
            f"which knows it in {', '.join(found.regions)}",
            "choose one of them, another machine, or give a table of your own (--prices)",
        )
    if (found.num_gpus, found.gpu) != (machine.gpus, machine.gpu):
        yield Fault(
            f"{address}.gpus",
            f"{machine.gpus} x {machine.gpu} are written, and {machine.instance} has "
            f"{found.num_gpus} x {found.gpu}",
            "write what it has",
        )


def _tool_faults(cluster: ClusterDescription) -> Iterator[Fault]:
    import yaml

    files = rendered_files(cluster)
    if RAY_UP in files:
        for fault in ray_up_faults(yaml.safe_load(files[RAY_UP])):
            yield Fault(RAY_UP, fault)
