"""A trial that ends frees what it held.

Ray Train makes a placement group for its worker from inside the sweep's Ray job. When Tune stops a
trial early, the Train controller dies and the group stays, with the worker's CPU in it (ray issue
54305). Each trial therefore reports its group; this callback removes it, which kills the worker,
and tells the trial's slot to stop it, so that verl's processes are ready for the next one.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import ray
from ray import tune
from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from deepicd.training.grpo.trial import GROUP
from deepicd.training.process.pool import stop_in_slots

_POLL_S = 0.1


class FreeTrial(tune.Callback):
    """Remove a trial's placement group when the trial is over."""

    def __init__(self) -> None:
        self._groups: dict[str, set[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the groups: a sweep that goes on does so in another cluster."""
        return {"_groups": {}}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Remember the group; a restarted worker reports a new one."""
        if group := result.get(GROUP):
            self._groups.setdefault(trial.trial_id, set()).add(group)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Free a trial that finished or was stopped."""
        stop_in_slots(trial.trial_id)
        remove_groups(self._groups.pop(trial.trial_id, ()))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Free a trial that failed."""
        stop_in_slots(trial.trial_id)
        remove_groups(self._groups.pop(trial.trial_id, ()))

    def on_experiment_end(self, trials: list[Any], **_: Any) -> None:
        """Free what a sweep that ends by an error leaves: Tune then calls no trial complete."""
        for name in list(self._groups):
            stop_in_slots(name)
            remove_groups(self._groups.pop(name))


def remove_groups(groups: Iterable[str]) -> None:
    """Remove placement groups by id (hex); removed ones are passed over."""
    for group in groups:
        remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(group)))


def live_groups() -> list[str]:
    """Ids of the cluster's placement groups that hold or wait for resources."""
    table = placement_group_table()
    return [group for group, info in table.items() if info["state"] != "REMOVED"]


def wait_until_free(before: Iterable[str], *, timeout_s: float) -> list[str]:
    """Wait until only the groups in `before` are alive; returns those that were still alive at the
    end."""
    known, deadline = set(before), time.monotonic() + timeout_s
    while True:
        left = [group for group in live_groups() if group not in known]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(_POLL_S)


def end_cleaners(*, patience_s: float) -> int:
    """End what is left of Ray Train's detached `PlacementGroupCleaner` actors of this job, and of
    jobs that are over.

    Each Train run has one; it ends itself, but on a busy machine its exit races with the call that
    stops it, and without the dashboard it does not learn that its run was killed; an idle process
    then stays until the cluster ends (Ray 2.60). They live on the head node, where drivers do.
    Returns how many were ended here after waiting `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while (left := _live_cleaners()) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    here = ray.get_runtime_context().get_node_id()
    ended = [actor["Pid"] for actor in left if actor["Pid"] and actor["Address"]["NodeID"] == here]
    for process in ended:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return len(ended)


def _live_cleaners() -> list[Any]:
    """Read from the cluster's own tables: the state API needs the dashboard."""
    over = {job["JobID"] for job in ray._private.state.jobs() if job["IsDead"]}
    jobs = {*over, ray.get_runtime_context().get_job_id()}
    alive = ray._private.state.actors(actor_state_name="ALIVE").values()
    cleaners = [actor for actor in alive if actor["ActorClassName"] == "PlacementGroupCleaner"]
    return [actor for actor in cleaners if actor["JobID"] in jobs]


def free_resources() -> dict[str, float]:
    """CPUs and GPUs (logical slots) that nobody holds right now."""
    available = ray.available_resources()
    return {name: available.get(name, 0.0) for name in ("CPU", "GPU")}
