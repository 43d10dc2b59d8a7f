"""The runners of a sweep: as many as it runs trials at once, and which of them a trial takes.

In: a job. Out: the runner that has started it. A runner is an actor whose name the sweep's trials
know; it dies with the sweep's Ray job. Decided here: a trial prefers a runner that runs it already,
then one whose driver is idle, then one without a driver, then one whose trial was told to stop.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, get_args

import ray

from deepicd.training.process.protocol import Job
from deepicd.training.process.runner import Runner, State

_CLOSE_TIMEOUT_S = 30.0
# An actor calls one method at a time: a runner that waits for its trial to stop is silent.
_ASK_TIMEOUT_S = 5.0
_POLL_S = 1.0
# The order of `State` is the order of preference.
_READINESS: tuple[State, ...] = get_args(State)


def open_runners(number: int) -> list[Any]:
    """Start the runners of this job's sweep, spread over the cluster. Close them with
    `close_runners`; they end with the job in any case.
    """
    # No CPUs: a runner waits, and its driver is no part of Ray's accounts. Restarted for ever: one
    # that is lost with its node starts again elsewhere and tells its trial so.
    make = ray.remote(num_cpus=0)(Runner).options
    runners = [
        make(name=f"{_prefix()}{index}", max_restarts=-1, scheduling_strategy="SPREAD").remote()
        for index in range(number)
    ]
    ray.get([runner.__ray_ready__.remote() for runner in runners])
    return runners


def close_runners(runners: Sequence[Any]) -> None:
    """End the runners and the drivers they own, which die with them in any case."""
    # Asked first, so that they remove their temporary files; one that does not answer is lost.
    with suppress(ray.exceptions.RayError, TimeoutError):
        ray.get([runner.close.remote() for runner in runners], timeout=_CLOSE_TIMEOUT_S)
    for runner in runners:
        ray.kill(runner)


def _find_runners() -> list[Any]:
    """The runners of this job's sweep."""
    names = ray.util.list_named_actors()
    return [ray.get_actor(name) for name in sorted(names) if name.startswith(_prefix())]


def start_in_runner(job: Job) -> Any:
    """Start a trial in the runner that is readiest for it, and return that; waits for one."""
    while True:
        with suppress(ray.exceptions.RayActorError):  # lost with its node, and about to be back
            for runner in _by_readiness(_find_runners(), job.name):
                if ray.get(runner.begin.remote(job)):
                    return runner
        time.sleep(_POLL_S)


def stop_trial(name: str) -> None:
    """Tell trial `name` to leave its runner; does not wait."""
    for runner in _find_runners():
        runner.stop.remote(name)


def _by_readiness(runners: Sequence[Any], name: str) -> list[Any]:
    """Runners that trial `name` may take, the readiest first; one that does not answer is busy."""
    asked = {runner.state.remote(name): runner for runner in runners}
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ASK_TIMEOUT_S)
    states = {asked[answer]: _READINESS.index(ray.get(answer)) for answer in answered}
    busy = _READINESS.index("busy")
    return sorted((each for each in states if states[each] < busy), key=states.__getitem__)


def _prefix() -> str:
    """What the names of this Ray job's runners begin with."""
    return f"runner-{ray.get_runtime_context().get_job_id()}-"
