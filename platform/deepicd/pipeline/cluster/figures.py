"""What a GPU of a cluster's machine holds and costs.

In: a machine of a description, and the price table. Out: figures, or None. Decided here: what the
description says comes before the table, so that a group can have machines that nobody rents.
"""

from dataclasses import dataclass

from deepicd.clusters.description import Machine
from deepicd.errors import ConfigError
from deepicd.sweeps.planning.prices import Machine as PricedMachine
from deepicd.sweeps.planning.prices import PriceTable, find_machines


@dataclass(frozen=True)
class GpuFigures:
    """What a GPU of a machine holds and costs."""

    memory_gib: float
    usd_per_hour: float


def gpu_figures(machine: Machine, prices: PriceTable) -> GpuFigures | None:
    """Memory and price of a machine's GPU, its own before the table's; None where one is unknown.

    A machine of one's own takes the cheapest GPU-hour of that GPU for its price.
    """
    priced = _priced(machine, prices)
    memory = machine.gpu_memory_gib or (priced.gpu_memory_gib if priced else 0.0)
    usd = machine.usd_per_gpu_hour
    if usd is None and priced is not None:
        usd = priced.usd_per_gpu_hour
    return GpuFigures(memory, usd) if memory and usd is not None else None


def _priced(machine: Machine, prices: PriceTable) -> PricedMachine | None:
    for name in (machine.instance, machine.gpu):
        try:
            return find_machines(prices, name)[0]
        except ConfigError:
            continue
    return None
