"""Room for a verl run: all of its placement groups, or none, and one run of the cluster at a time.

In: verl's resource pools. Out: their placement groups, ready. verl makes a group for each node of a
run; two runs that each hold a part would wait for each other for ever. So a run asks for room only
while it holds the cluster's *turn*, a named actor that lives no longer than its job, and waits
there until everything fits. Others wait behind it, small ones too, so that a large run is not
starved.

A run that keeps its processes between trials (`training.process.runner`) looks whether somebody
waits, and makes room (`waiting_sweep`).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
from verl.single_controller.ray.base import ResourcePoolManager

from deepicd.clusters.state import describe_room
from deepicd.errors import CapacityError

Say = Callable[[str], None]
_NAMESPACE, _TURN = "deepicd", "turn"
_POLL_S = 1.0
_SAY_S = 10.0


class Turn:
    """Whoever made this actor may ask the cluster for room."""

    def __init__(self, sweep: str) -> None:
        self._sweep = sweep

    def sweep(self) -> str:
        """The sweep that waits."""
        return self._sweep


class WholePlacement(ResourcePoolManager):
    """verl's pools, whose groups are all made before anything else is started."""

    def __init__(
        self, like: ResourcePoolManager, *, sweep: str, timeout_s: float, say: Say
    ) -> None:
        super().__init__(resource_pool_spec=like.resource_pool_spec, mapping=like.mapping)
        self._sweep, self._timeout_s, self._say = sweep, timeout_s, say

    def create_resource_pool(self) -> None:
        """Make the pools and their groups.

        Raises:
            CapacityError: there was no room in time.
        """
        super().create_resource_pool()
        deadline = time.monotonic() + self._timeout_s
        with turn_of(self._sweep, deadline=deadline, say=self._say):
            for pool in self.resource_pool_dict.values():
                self._reserve(pool, deadline)

    def _check_resource_available(self) -> None:
        """verl refuses a cluster that is full; here a run waits."""

    def _reserve(self, pool: Any, deadline: float) -> None:
        asking = threading.Thread(target=pool.get_placement_groups, daemon=True)
        asking.start()
        asking.join(_SAY_S)
        while asking.is_alive():
            wanted = f"{len(pool.store)} node(s) with {max(pool.store)} free GPUs each"
            self._say(f"waiting for {wanted}: {describe_room()}")
            if time.monotonic() > deadline:
                raise CapacityError(
                    f"no room within sweep.room_timeout_s = {self._timeout_s:.0f} s: this trial "
                    f"needs {wanted}; {describe_room()}. Wait for what else runs there to end, add "
                    "nodes, or lower training.num_gpus or training.num_nodes"
                )
            asking.join(_SAY_S)


@contextmanager
def turn_of(sweep: str, *, deadline: float, say: Say) -> Iterator[None]:
    """Hold the cluster's turn for the duration of a block.

    Raises:
        CapacityError: another run held it until the deadline (of `time.monotonic`).
    """
    while (turn := take_turn(sweep)) is None:
        if time.monotonic() > deadline:
            raise CapacityError(
                f"a trial of another sweep ({waiting_sweep()}) is still waiting for room, and this "
                "one behind it; start it again when the cluster is free"
            )
        say("waiting behind another trial that asks for room")
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        ray.kill(turn)


def take_turn(sweep: str) -> Any | None:
    """The turn, as an actor that ends with this job; None while somebody else holds it."""
    make = ray.remote(num_cpus=0)(Turn).options(name=_TURN, namespace=_NAMESPACE)
    try:
        return make.remote(sweep)
    except ValueError:  # the name is taken
        return None


def waiting_sweep() -> str | None:
    """The sweep of the trial that asks for room now, None when nobody does."""
    with suppress(ValueError, ray.exceptions.RayError):
        turn = ray.get_actor(_TURN, namespace=_NAMESPACE)
        return str(ray.get(turn.sweep.remote(), timeout=_SAY_S))
    return None
