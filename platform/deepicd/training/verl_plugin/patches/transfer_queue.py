"""A TransferQueue for each verl run of a cluster, instead of one for all.

Upstream: transfer_queue/interface.py (0.1.11), `init` and `_init_from_existing` know their
controller by one name in one namespace of the whole cluster, and no setting changes either. A
second verl run would attach to the first one's queue silently and train on its rollouts. In a
process whose environment names a namespace (`QUEUE_VARIABLE`) both look there instead;
`training.grpo.driver` names one for each of its jobs.

The patch knows TransferQueue 0.1.11 only and refuses any other version. `tests/ray/test_queue.py`
fails as soon as upstream takes a namespace; this file goes then.
"""

import os
from importlib.metadata import version
from typing import Any

from deepicd.errors import CapacityError, TrainingError

QUEUE_VARIABLE = "DEEPICD_TRANSFER_QUEUE"
"""Environment variable: the Ray namespace of this run's controller."""
PATCHED_VERSION = "0.1.11"
CONTROLLER = "TransferQueueController"


class _Scoped:
    """Something of Ray's whose calls get another namespace; everything else is its own."""

    def __init__(self, wrapped: Any, method: str, namespace: str) -> None:
        self._wrapped, self._method, self._namespace = wrapped, method, namespace

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        if name != self._method:
            return found
        return lambda *arguments, **options: found(
            *arguments, **{**options, "namespace": self._namespace}
        )


def apply() -> None:
    """Scope this process's queue; nothing happens without `QUEUE_VARIABLE` or the second time.

    Raises:
        TrainingError: another version of TransferQueue is installed.
    """
    namespace = os.environ.get(QUEUE_VARIABLE)
    if not namespace:
        return
    installed = version("TransferQueue")
    if installed != PATCHED_VERSION:
        raise TrainingError(
            f"the queue patch is written for TransferQueue {PATCHED_VERSION}; installed is "
            f"{installed}. Install the locked set, or review "
            "training/verl_plugin/patches/transfer_queue.py against the new version."
        )
    from transfer_queue import interface

    if isinstance(interface.ray, _Scoped):
        return
    interface.ray = _Scoped(interface.ray, "get_actor", namespace)
    interface.TransferQueueController = _Scoped(
        interface.TransferQueueController, "options", namespace
    )


def check_queue() -> None:
    """Raise CapacityError unless the queue that this process has started is its own."""
    import ray

    namespace = os.environ.get(QUEUE_VARIABLE, "")
    try:
        controller = ray.get_actor(CONTROLLER, namespace=namespace)
    except ValueError:
        raise CapacityError(
            f"verl's TransferQueue is not in this run's namespace {namespace!r}, so another run of "
            "the cluster could share it; is training/verl_plugin/patches/transfer_queue.py applied "
            "in this process?"
        ) from None
    owner, here = controller._actor_id.job_id.hex(), ray.get_runtime_context().get_job_id()
    if owner != here:
        raise CapacityError(f"the TransferQueue {namespace} belongs to Ray job {owner}, not {here}")
