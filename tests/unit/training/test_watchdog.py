"""Who is taken for hung, and what becomes of an interrupted trial."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepicd.config import Experiment
from deepicd.errors import TrainingError
from deepicd.paths import STAGE
from deepicd.training.process import watchdog as watches
from deepicd.training.process.protocol import (
    Done,
    Ended,
    Failed,
    Job,
    Ready,
    Stage,
    Step,
    Stopped,
    TrialInput,
)
from deepicd.training.process.watchdog import Watchdog, conclude


class Clock:
    """Seconds that only this test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watches, "time", clock)
    monkeypatch.setattr(watches, "nodes_of", lambda job: set())
    monkeypatch.setattr(watches, "describe_lost", lambda nodes: [])
    return clock


def started(folder: Path, clock: Clock) -> Watchdog:
    watch = Watchdog(folder, hang_timeout_s=60)
    watch.hear(Ready(reuses_engine=False, ray_job=""))
    return watch


def test_a_trial_may_take_longer_to_start_than_to_step(tmp_path: Path, clock: Clock) -> None:
    watch = Watchdog(tmp_path, hang_timeout_s=60)
    clock.now = 240
    assert watch.overdue() is None
    watch.hear(Ready(reuses_engine=False, ray_job=""))
    clock.now += 61
    assert watch.overdue() == "hung: silent for 61 s in stage 'rollout' after step 0"


def test_long_steps_earn_patience(tmp_path: Path, clock: Clock) -> None:
    watch = started(tmp_path, clock)
    clock.now = 20
    watch.hear(Step(1, {}, None))
    clock.now += 199
    assert watch.patience_s() == 200 and watch.overdue() is None
    clock.now += 2
    assert "after step 1" in str(watch.overdue())


def test_every_message_counts_and_names_the_stage(tmp_path: Path, clock: Clock) -> None:
    watch = started(tmp_path, clock)
    for now in (50, 100, 150):
        clock.now = now
        watch.hear(Stage("validation"))
    assert watch.overdue() is None
    assert json.loads((tmp_path / STAGE).read_text()) == {
        "stage": "validation",
        "step": 0,
        "since": 150,
    }
    clock.now = 211
    assert "in stage 'validation'" in str(watch.overdue())


def test_pending_actors_are_named_with_what_they_wait_for(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []
    monkeypatch.setattr(watches, "pending_actors", lambda job: jobs.append(job) or ["actor A"])
    watch = Watchdog(tmp_path, hang_timeout_s=1)
    watch.hear(Stage("starting verl", "07000000"))
    clock.now = 5
    assert str(watch.overdue()).endswith("in stage 'starting verl' after step 0; actor A")
    assert jobs == ["07000000"]


def test_a_silent_trial_whose_node_is_gone_does_not_wait_to_be_taken_for_hung(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, looks = {"a", "b"}, []

    def describe(nodes: set[str]) -> list[str]:
        looks.append(set(nodes))
        return [f"node {name} was lost" for name in sorted(nodes - alive)]

    monkeypatch.setattr(watches, "nodes_of", lambda job: {"a", "b"} & alive)
    monkeypatch.setattr(watches, "describe_lost", describe)
    watch = Watchdog(tmp_path, hang_timeout_s=60)
    watch.hear(Ready(reuses_engine=True, ray_job="07000000"))
    alive.remove("b")
    clock.now = 15
    assert watch.overdue() is None
    clock.now = 21
    assert watch.overdue() == "node b was lost"
    assert looks == [{"a", "b"}, {"a", "b"}], "looked at when it was ready, and once in silence"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    inputs = TrialInput(tmp_path / "model", tmp_path / "train", tmp_path / "validation")
    return Job("t1", Experiment(), inputs, tmp_path, address="", sweep="01000000", env={})


def test_a_lost_node_interrupts_a_trial_and_an_error_fails_it(job: Job) -> None:
    error = Failed("RayTaskError", "gone")
    assert conclude(Done(), job) is None
    lost = replace(error, lost=("node 10.0.0.2 was lost", "node 10.0.0.3 was pre-empted"))
    assert conclude(lost, job) == "node 10.0.0.2 was lost; node 10.0.0.3 was pre-empted"
    with pytest.raises(TrainingError, match="verl run failed: RayTaskError: gone"):
        conclude(error, job)
    with pytest.raises(TrainingError, match="t1 was stopped before its last step"):
        conclude(Stopped(), job)


def test_a_process_that_ends_without_a_word_is_told_by_its_code_and_the_end_of_its_log(
    job: Job,
) -> None:
    job.log.write_text("\n".join(f"line {number}" for number in range(40)))
    with pytest.raises(TrainingError, match=r"ended with code -9 .*\nline 25\n(.*\n)*line 39$"):
        conclude(Ended(-9), job)
