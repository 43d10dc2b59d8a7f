"""The slots of a sweep: as many as it runs trials at once, and which of them a trial takes.

A slot is an actor whose name the sweep's trials know; it dies with the sweep's Ray job. A trial
prefers a slot that it has already, then one whose verl is up, then an empty one, then one whose
trial was told to stop.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, get_args

import ray

from deepicd.training.process.protocol import Job
from deepicd.training.process.runner import Slot, State

_CLOSE_TIMEOUT_S = 30.0
_ASK_TIMEOUT_S = 5.0
_POLL_S = 1.0
_READINESS: tuple[State, ...] = get_args(State)


def open_slots(number: int) -> list[Any]:
    """Start the slots of this job's sweep, spread over the cluster. Close them with `close_slots`;
    they end with the job in any case.
    """
    make = ray.remote(num_cpus=0)(Slot).options
    slots = [
        make(name=f"{slot_prefix()}{index}", max_restarts=-1, scheduling_strategy="SPREAD").remote()
        for index in range(number)
    ]
    ray.get([slot.__ray_ready__.remote() for slot in slots])
    return slots


def close_slots(slots: Sequence[Any]) -> None:
    """End the slots and the processes they own, which die with them in any case."""
    with suppress(ray.exceptions.RayError, TimeoutError):
        ray.get([slot.close.remote() for slot in slots], timeout=_CLOSE_TIMEOUT_S)
    for slot in slots:
        ray.kill(slot)


def find_slots() -> list[Any]:
    """The slots of this job's sweep."""
    names = ray.util.list_named_actors()
    return [ray.get_actor(name) for name in sorted(names) if name.startswith(slot_prefix())]


def take_slot(job: Job) -> Any:
    """Start a trial in the slot that is readiest for it, and return that; waits for one."""
    while True:
        with suppress(ray.exceptions.RayActorError):  # lost with its node, and about to be back
            for slot in by_readiness(find_slots(), job.name):
                if ray.get(slot.begin.remote(asdict(job))):
                    return slot
        time.sleep(_POLL_S)


def by_readiness(slots: Sequence[Any], name: str) -> list[Any]:
    """Slots that trial `name` may take, the readiest first; one that does not answer is busy."""
    asked = {slot.state.remote(name): slot for slot in slots}
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ASK_TIMEOUT_S)
    states = {asked[answer]: _READINESS.index(ray.get(answer)) for answer in answered}
    busy = _READINESS.index("busy")
    return sorted((slot for slot in states if states[slot] < busy), key=states.__getitem__)


def stop_in_slots(name: str) -> None:
    """Tell trial `name` to leave its slot; does not wait."""
    for slot in find_slots():
        slot.stop.remote(name)


def slot_prefix() -> str:
    """What the names of this Ray job's slots begin with."""
    return f"slot-{ray.get_runtime_context().get_job_id()}-"
