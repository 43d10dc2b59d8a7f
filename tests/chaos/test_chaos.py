"""A sweep under fire, by the command that users run, on a cluster that was there before it.

Trials under ASHA, two at once. Every few steps a process of a random trial is killed with -9, each
kind of process once before chance decides; the sweep's own driver is killed once and the sweep
resumed, and at last a process is made to hang. A second Ray instance is on the machine, and the
cluster has no dashboard. Afterwards every slot of the cluster is free, nothing of the sweep is left
on the machine, and no trial is lost or counted twice.

`make test` has four trials; DEEPICD_CHAOS=large (`make chaos`) has twelve and more kills.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from smallest_run import BATCH, MODEL

from deepicd.sweeps.results.trials import read_history

pytestmark = pytest.mark.timeout(2400)
IS_LARGE = os.environ.get("DEEPICD_CHAOS") == "large"
NUM_TRIALS, STEPS, AT_ONCE = (12, 8, 2) if IS_LARGE else (4, 6, 2)
KILL_EVERY, NUM_KILLS, HANG_S = (5, 6, 90) if IS_LARGE else (1, 4, 90)
RAYS_OWN = {"_AutoscalingCoordinatorActor", "_StatsActor"}
DRIVER, HUNG = "the sweep's driver", "made to hang"
VERL = "ray::WorkerDict"
VICTIMS = (VERL, "deepicd.training.grpo.driver", "ray::AgentLoop", "ray::RayTrainWorker")
EXPERIMENT = f"""
name = "chaos"
[data]
num_notes = {800 if IS_LARGE else 400}
max_prompt_tokens = 192
num_validation = 32
num_codes = 12
{MODEL}
[sft]
is_enabled = {str(IS_LARGE).lower()}
num_traces = 300
epochs = 4
batch_size = 16
learning_rate = 5e-3
max_trace_tokens = 72
[training]
{BATCH}
max_response_tokens = 48
entropy_coeff = 0.01 # a model without SFT earns no reward, and learns all the same
hang_timeout_s = {HANG_S}
total_steps = {STEPS}
validate_every = 1
[sweep]
num_trials = {NUM_TRIALS}
max_concurrent = {AT_ONCE}
max_failures = {NUM_KILLS}
max_interruptions = {2 * NUM_KILLS} # by kills, by the hang, and by waits for what killed ones held
scheduler = "asha"
grace_steps = 2
reduction_factor = 2
[sweep.search]
"training.learning_rate" = {{ type = "loguniform", low = 1e-5, high = 1e-2 }}
"rewards.weights.hierarchy" = {{ type = "uniform", low = 0.0, high = 1.0 }}
"""
OTHER_RAY = """
import ray
ray.init(num_cpus=1, include_dashboard=False, logging_level="error")
print("up", flush=True)
input()
"""


@dataclass
class Fire:
    """What was killed, and what was left."""

    killed: list[str] = field(default_factory=list)
    seconds: float = 0.0
    status: dict[str, Any] = field(default_factory=dict)
    held: dict[str, float] = field(default_factory=dict)
    processes: list[str] = field(default_factory=list)
    actors: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    shared_memory: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def fire(
    tmp_path_factory: pytest.TempPathFactory, shared_memory: Any
) -> Iterator[tuple[Fire, Path]]:
    import ray

    from deepicd.clusters.ray_session import ray_session

    root = tmp_path_factory.mktemp("chaos")
    file = root / "chaos.toml"
    file.write_text(EXPERIMENT)
    options = [sys.executable, "-c", OTHER_RAY]
    other = subprocess.Popen(options, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and any(line.strip() == "up" for line in other.stdout)
    with ray_session(token_file=root / "token", num_cpus=16, num_gpus=AT_ONCE):
        address = ray.get_runtime_context().gcs_address
        before = traces()
        found = under_fire(file, root / "runs", address)
        look(found, before, shared_memory)
        yield found, root / "runs"
    assert other.poll() is None, "the second Ray instance did not survive"
    other.kill()
    other.wait()


def under_fire(file: Path, runs: Path, address: str) -> Fire:
    found, rng = Fire(), random.Random(1)
    began = time.monotonic()
    sweep = command(address, runs, "run", str(file), "--no-promote")
    shoot(sweep, runs, found.killed, rng, until=lambda: len(found.killed) == NUM_KILLS // 2)
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    found.killed.append(DRIVER)
    sweep = command(address, runs, "resume", "chaos")
    shoot(sweep, runs, found.killed, rng, until=lambda: sweep.poll() is not None)
    output, progress = sweep.communicate()
    assert sweep.returncode == 0, progress[-4000:]
    found.status, found.seconds = json.loads(output), time.monotonic() - began
    return found


def command(address: str, runs: Path, *words: str) -> subprocess.Popen[str]:
    """`deepicd sweep` on the cluster; what it says goes to a file, so that no pipe fills up."""
    return subprocess.Popen(
        [sys.executable, "-m", "deepicd", "sweep", *words, "--runs", str(runs), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_ADDRESS": address},
    )


def shoot(
    sweep: subprocess.Popen[str],
    runs: Path,
    killed: list[str],
    rng: random.Random,
    *,
    until: Callable[[], bool],
) -> None:
    """Kill a process of a trial every few steps, until told to cease; after the last kill make one
    hang, and nothing more: one fault after the other, or nobody knows which was found.

    A trial may be stopped or at its end just when its process is made to hang. Nothing hangs then,
    so the next one is taken, until one was found.
    """
    aim, victim, known = num_steps(runs) + KILL_EVERY, None, set[str]()
    while not until() and sweep.poll() is None:
        time.sleep(0.2)
        is_last = len(killed) > NUM_KILLS
        if num_steps(runs) < aim:
            continue
        # A trial that waited for what a killed one held is taken for hung too: only what came after
        # the shot counts.
        if victim is not None and (is_there(victim) or found_hung(runs) - known):
            continue
        kinds = VICTIMS[num_shots(killed) :][:1] or VICTIMS  # each once, then any
        victims = find_victims(*([VERL] if is_last else kinds))
        if not victims:
            continue  # between two trials
        chosen = rng.choice(victims)
        if is_last:
            known = found_hung(runs)
            chosen.suspend()
            victim, shot = chosen, HUNG
        else:
            chosen.kill()
            shot = f"{' or '.join(kinds)} at step {num_steps(runs)}: {chosen.name()}"
        killed.extend([shot] if shot not in killed else [])
        aim = num_steps(runs) + KILL_EVERY


def is_there(victim: psutil.Process) -> bool:
    """Whether the process that was made to hang hangs still."""
    try:
        return victim.is_running() and victim.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def num_shots(killed: list[str]) -> int:
    """How many processes of trials were killed."""
    return sum(name not in {DRIVER, HUNG} for name in killed)


def rows_of(runs: Path) -> list[dict[str, Any]]:
    """What all trials have reported so far."""
    folders = {file.parent for file in runs.glob("chaos/sweep/tune/*/*.json")}
    return [row for folder in folders for row in read_history(folder)]


def num_steps(runs: Path) -> int:
    """Steps that all trials have done so far."""
    return sum(row["step"] > 0 for row in rows_of(runs))


def found_hung(runs: Path) -> set[str]:
    """Why trials were taken for hung."""
    causes = {str(row.get("interruption", "")) for row in rows_of(runs)}
    return {cause for cause in causes if "hung" in cause}


def find_victims(*names: str) -> list[psutil.Process]:
    """Processes of trials on this test's cluster, in an order that does not depend on chance."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if any(name in line for name in names):
            found.append((line, process.pid, process))
    return [process for _, _, process in sorted(found, key=lambda item: item[:2])]


def traces() -> set[str]:
    """What processes can leave in the temporary folder: sockets that are files, and folders of
    runners.
    """
    temporary = Path(tempfile.gettempdir())
    return {file.name for file in temporary.iterdir() if is_trace(file)}


def is_trace(file: Path) -> bool:
    """Whether a runner or a library of verl's made it."""
    try:
        return file.is_socket() or file.name.startswith("deepicd-runner-")
    except OSError:
        return False


def look(found: Fire, before: set[str], shared_memory: Any) -> None:
    """Count what is left, given a minute to go."""
    import ray
    from ray._private.state import actors
    from ray.util.placement_group import placement_group_table

    total, deadline = ray.cluster_resources(), time.monotonic() + 60
    while True:
        free = ray.available_resources()
        found.held = {name: total[name] - free.get(name, 0) for name in ("CPU", "GPU")}
        alive = [actor for actor in actors().values() if actor["State"] == "ALIVE"]
        names = (actor["ActorClassName"] for actor in alive)
        found.actors = [name for name in names if name not in RAYS_OWN]
        groups = placement_group_table().values()
        found.groups = [group["state"] for group in groups if group["state"] != "REMOVED"]
        found.processes = [" ".join(process.cmdline()) for process in find_victims(*VICTIMS)]
        found.shared_memory, found.files = shared_memory.left(), traces() - before
        left = (found.actors, found.groups, found.processes, found.shared_memory, found.files)
        if not (any(found.held.values()) or any(left)) or time.monotonic() > deadline:
            return
        time.sleep(0.5)


def test_processes_of_trials_and_the_driver_were_killed(fire: tuple[Fire, Path]) -> None:
    print(json.dumps({"killed": fire[0].killed, "seconds": round(fire[0].seconds)}))
    assert len(fire[0].killed) == NUM_KILLS + 2 and {DRIVER, HUNG} <= set(fire[0].killed)
    shots = [name for name in fire[0].killed if name not in {DRIVER, HUNG}]
    assert all(kind in shot for kind, shot in zip(VICTIMS, shots, strict=len(VICTIMS) == NUM_KILLS))


def test_the_trial_that_was_made_to_hang_was_found_and_went_on(fire: tuple[Fire, Path]) -> None:
    hung = found_hung(fire[1])
    assert hung and all("in stage" in cause for cause in hung)


def test_trials_ran_side_by_side(fire: tuple[Fire, Path]) -> None:
    folders = [file.parent for file in (fire[1] / "chaos/sweep/tune").glob("*/result.json")]
    times = [[row["timestamp"] for row in read_history(folder)] for folder in folders]
    spans = sorted((min(stamps), max(stamps)) for stamps in times)
    assert any(later[0] < earlier[1] for earlier, later in pairwise(spans))


def test_every_slot_of_the_cluster_is_free(fire: tuple[Fire, Path]) -> None:
    assert fire[0].held == {"CPU": 0, "GPU": 0}
    assert (fire[0].groups, fire[0].actors, fire[0].processes) == ([], [], [])


def test_no_shared_memory_and_no_socket_is_left(fire: tuple[Fire, Path]) -> None:
    assert (fire[0].shared_memory, fire[0].files) == (set(), set())


def test_no_trial_is_lost_or_doubled(fire: tuple[Fire, Path]) -> None:
    trials = fire[0].status["trials"]
    assert len({trial["id"] for trial in trials}) == len(trials) == NUM_TRIALS
    assert {trial["state"] for trial in trials} <= {"finished", "stopped"}
    assert len({json.dumps(trial["params"], sort_keys=True) for trial in trials}) == NUM_TRIALS
    assert any(trial["state"] == "finished" for trial in trials)


def test_each_trials_steps_follow_one_another(fire: tuple[Fire, Path]) -> None:
    found, runs = fire
    for trial in found.status["trials"]:
        rows = read_history(runs / "chaos/sweep/tune" / trial["id"])
        assert [row["step"] for row in rows] == list(range(trial["steps"] + 1))


def test_the_budget_counts_only_time_that_was_spent(fire: tuple[Fire, Path]) -> None:
    budget = fire[0].status["budget"]
    assert 0 < budget["seconds"] <= AT_ONCE * fire[0].seconds
    assert budget["num_steps"] <= budget["max_steps"] == NUM_TRIALS * STEPS
    assert budget["gpu_hours"] == pytest.approx(budget["seconds"] / 3600, abs=1e-4)
