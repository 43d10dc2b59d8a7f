"""A TransferQueue for each verl run of a cluster, instead of one for all.

Upstream: transfer_queue/interface.py (0.1.11), `init` and `_init_from_existing` know their
controller by one name in one namespace of the whole cluster, and no setting changes either. A
second verl run would attach to the first one's queue silently and train on its rollouts. In a
process whose environment names a namespace (`QUEUE_VARIABLE`) both look there instead;
`training.grpo.driver` names one for each of its jobs.

The one namespace is meant: TransferQueue pull request 115 made it so, to share a queue between
jobs. The patch knows TransferQueue 0.1.11 only and refuses any other version.
`tests/ray/test_queue.py` fails as soon as upstream takes a namespace; this file goes then.
"""

import os
from typing import Any

from deepicd.errors import CapacityError
from deepicd.upstream import require_version

QUEUE_VARIABLE = "DEEPICD_TRANSFER_QUEUE"
"""Environment variable: the Ray namespace of this run's controller."""
_VERSION = "0.1.11"
_CONTROLLER = "TransferQueueController"


class _Scoped:
    """Something of Ray's whose calls get another namespace; everything else is its own."""

    def __init__(self, wrapped: Any, method: str, namespace: str) -> None:
        self._wrapped, self._method, self._namespace = wrapped, method, namespace

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._wrapped, name)
        if name != self._method:
            return member
        return lambda *arguments, **options: member(
            *arguments, **{**options, "namespace": self._namespace}
        )


def apply() -> None:
    """Scope this process's queue; nothing happens without `QUEUE_VARIABLE` or the second time.

    Raises:
        UpstreamError: another version of TransferQueue is installed.
    """
    namespace = os.environ.get(QUEUE_VARIABLE)
    if not namespace:
        return
    require_version("TransferQueue", _VERSION, "the queue patch")
    from transfer_queue import interface

    if isinstance(interface.ray, _Scoped):
        return
    # The names in this one module, not Ray itself: everybody else looks where they did.
    interface.ray = _Scoped(interface.ray, "get_actor", namespace)
    interface.TransferQueueController = _Scoped(
        interface.TransferQueueController, "options", namespace
    )


def check_queue() -> None:
    """Raise CapacityError unless the queue that this process has started is its own."""
    import ray

    namespace = os.environ.get(QUEUE_VARIABLE, "")
    try:
        controller = ray.get_actor(_CONTROLLER, namespace=namespace)
    except ValueError:
        raise CapacityError(
            f"verl's TransferQueue is not in this run's namespace {namespace!r}, so another run of "
            "the cluster could share it; is training/verl_plugin/patches/transfer_queue.py applied "
            "in this process?"
        ) from None
    # Ray offers a handle's job in no public way; the actor id holds it.
    owner, here = controller._actor_id.job_id.hex(), ray.get_runtime_context().get_job_id()
    if owner != here:
        raise CapacityError(f"the TransferQueue {namespace} belongs to Ray job {owner}, not {here}")
