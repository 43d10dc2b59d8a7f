"""The one change to verl's code that none of its extension points covers.

Upstream: verl/utils/distributed.py (0.9.1), `initialize_global_process_group` and
`initialize_global_process_group_ray`, build the backend `cpu:gloo,<device>:<backend>`. On CPU that
is `cpu:gloo,cpu:gloo`, and torch refuses it ("Duplicate device type cpu in backend string"). Both
functions are replaced by ones with a single entry, before `verl.workers.engine_workers` imports
them by name.

verl issue 6237 reports it. The patch knows verl 0.9.1 only and refuses any other version.
`tests/ray/test_cpu_patch.py` calls the original and fails as soon as upstream has fixed it; this
file goes then.
"""

import functools
import os
from collections.abc import Callable
from datetime import timedelta

from deepicd.training.verl_plugin.verl_version import require_verl

_BACKEND = "cpu:gloo"


def apply() -> None:
    """Replace both functions in `verl.utils.distributed`; a second call changes nothing.

    Raises:
        UpstreamError: another version of verl is installed.
    """
    require_verl("the CPU patch")
    import verl.utils.distributed as distributed

    if getattr(distributed, "_deepicd_patched", False):
        return
    # One function takes a backend, so it can be called; the other does not and is written anew.
    distributed.initialize_global_process_group_ray = _with_backend(
        distributed.initialize_global_process_group_ray
    )
    distributed.initialize_global_process_group = initialize_global_process_group
    distributed._deepicd_patched = True


def _with_backend(original: Callable[..., None]) -> Callable[..., None]:
    """verl's function with its `backend` argument filled in."""

    @functools.wraps(original)
    def initialize(timeout_second: int | None = None, backend: str | None = None) -> None:
        original(timeout_second=timeout_second, backend=backend or _BACKEND)

    return initialize


def initialize_global_process_group(timeout_second: int = 36000) -> tuple[int, int, int]:
    """Join the process group that the environment describes; returns local rank, rank and world
    size.

    Same as verl's, with one backend entry and no device to choose.
    """
    import torch.distributed

    torch.distributed.init_process_group(
        backend=_BACKEND,
        timeout=timedelta(seconds=timeout_second),
        init_method=os.environ.get("DIST_INIT_METHOD"),
    )
    return int(os.environ["LOCAL_RANK"]), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
