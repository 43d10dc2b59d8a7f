"""Capacity for a verl run: all of its placement groups, or none; one run of the cluster at a time.

In: verl's resource pools. Out: their placement groups, ready. verl makes a group for each node of a
run; two runs that each hold a part would wait for each other for ever. So a run asks for placement
groups only while it holds the cluster's *placement lock*, a named actor that lives no longer than
its job, and keeps the lock until everything fits. Others wait behind it, small ones too, so that a
large run is not starved.

A driver that keeps its processes between trials (`training.process.runner`) looks whether somebody
holds the lock, and frees its GPUs (`waiting_sweep`).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from verl.single_controller.ray.base import ResourcePoolManager

from deepicd.clusters.state import describe_free_gpus
from deepicd.errors import CapacityError
from deepicd.training.verl_plugin.verl_version import require_verl

_OnStage = Callable[[str], None]
"""Receives what the run waits for."""
_NAMESPACE, _LOCK = "deepicd", "placement-lock"
_POLL_S = 1.0
_REPEAT_S = 10.0


class _PlacementLock:
    """Whoever made this actor may ask the cluster for placement groups."""

    def __init__(self, sweep: str) -> None:
        self._sweep = sweep

    def sweep(self) -> str:
        """The sweep that holds the lock, and waits."""
        return self._sweep


class WholePlacement(ResourcePoolManager):
    """verl's pools, whose placement groups are all made before anything else is started."""

    def __init__(
        self, like: ResourcePoolManager, *, sweep: str, timeout_s: float, on_stage: _OnStage
    ) -> None:
        require_verl("the wait for a whole placement")
        super().__init__(resource_pool_spec=like.resource_pool_spec, mapping=like.mapping)
        self._sweep, self._timeout_s, self._on_stage = sweep, timeout_s, on_stage

    def create_resource_pool(self) -> None:
        """Make the pools and their groups.

        Raises:
            CapacityError: the GPUs were not free in time.
        """
        # Objects only: verl makes the groups of a pool when somebody first asks for them.
        super().create_resource_pool()
        deadline = time.monotonic() + self._timeout_s
        with _placement_lock(self._sweep, deadline=deadline, on_stage=self._on_stage):
            for pool in self.resource_pool_dict.values():
                self._reserve(pool, deadline)

    def _check_resource_available(self) -> None:
        """verl refuses a cluster that is full; here a run waits."""

    def _reserve(self, pool: Any, deadline: float) -> None:
        # verl waits inside of `get_placement_groups` and takes no time limit: a thread waits there.
        failures: list[BaseException] = []
        asking = threading.Thread(target=_ask, args=(pool, failures), daemon=True)
        asking.start()
        asking.join(_REPEAT_S)
        while asking.is_alive():
            wanted = f"{len(pool.store)} node(s) with {max(pool.store)} free GPUs each"
            self._on_stage(f"waiting for {wanted}: {describe_free_gpus()}")
            if time.monotonic() > deadline:
                raise CapacityError(
                    f"no placement within sweep.placement_timeout_s = {self._timeout_s:.0f} s: "
                    f"this trial needs {wanted}; {describe_free_gpus()}. Wait for what else runs "
                    "there to end, add nodes, or lower training.num_gpus or training.num_nodes"
                )
            asking.join(_REPEAT_S)
        if failures:
            raise failures[0]


def _ask(pool: Any, failures: list[BaseException]) -> None:
    """Make a pool's groups; an error in a thread would be printed and lost."""
    try:
        pool.get_placement_groups()
    except BaseException as error:
        failures.append(error)


@contextmanager
def _placement_lock(sweep: str, *, deadline: float, on_stage: _OnStage) -> Iterator[None]:
    """Hold the cluster's placement lock for the duration of a block.

    Raises:
        CapacityError: another run held it until the deadline (of `time.monotonic`).
    """
    while (lock := _try_lock(sweep)) is None:
        if time.monotonic() > deadline:
            raise CapacityError(
                f"a trial of another sweep ({waiting_sweep()}) is still waiting for its GPUs, and "
                "this one behind it; start it again when the cluster is free"
            )
        on_stage("waiting behind another trial that waits for its GPUs")
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        ray.kill(lock)


def _try_lock(sweep: str) -> Any | None:
    """The lock, as an actor that ends with this job; None while somebody else holds it."""
    # Ray lets one actor have a name, and an actor that is not detached ends with its job: a run
    # that is killed cannot keep the lock.
    make = ray.remote(num_cpus=0)(_PlacementLock).options(name=_LOCK, namespace=_NAMESPACE)
    try:
        return make.remote(sweep)
    except ValueError:  # the name is taken
        return None


def waiting_sweep() -> str | None:
    """The sweep of the trial that waits for capacity now, None when nobody does."""
    # Nobody holds it, or has let it go meanwhile: either way nobody waits.
    with suppress(ValueError, ray.exceptions.RayError):
        lock = ray.get_actor(_LOCK, namespace=_NAMESPACE)
        return str(ray.get(lock.sweep.remote(), timeout=_REPEAT_S))
    return None
