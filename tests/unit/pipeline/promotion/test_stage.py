"""The stage of a run: a floor, a champion of another run, kills, races, refusals."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepicd.config import parse_experiment
from deepicd.errors import CheckpointError, PromotionError
from deepicd.notes.identity import identify
from deepicd.paths import RunPaths
from deepicd.pipeline import promotion
from deepicd.pipeline.folder.command import Command
from deepicd.pipeline.loop import run_pipeline
from deepicd.pipeline.run import Run
from deepicd.promotion.registry import Registry
from deepicd.promotion.remote_registry import CACHE_VARIABLE, open_registry
from deepicd.records import Examination

Made = Callable[..., Any]


def registry_of(run: Run) -> Registry:
    return Registry(run.paths.registry)


def kinds(registry: Registry) -> list[str]:
    return [event.kind for event in registry.events()]


def test_where_nobody_is_champion_the_start_model_is_the_floor_to_be_beaten(
    make_run: Made, candidate: Made, scored: Made
) -> None:
    run = make_run("a", "a1")
    decision, champion = promotion.promote(run, [candidate(run, "a1", 30)], sft=scored(10))
    assert decision.accepted and champion == "v0002"
    registry = registry_of(run)
    assert kinds(registry) == ["registered", "promoted", "registered", "gated", "promoted"]
    assert [each.origin.stage for each in registry.versions()] == ["sft", "grpo"]
    start, winner = (registry.patients_of(name) for name in ("v0001", "v0002"))
    assert start is not None and winner is not None
    assert registry.find_listed(["t0", "g0", "p0"], [start]) == {"t0"}
    assert registry.find_listed(["t0", "g0", "p0"], [winner]) == {"t0", "g0"}


def test_the_next_run_meets_the_present_champion_and_registers_no_floor(
    make_run: Made, candidate: Made, scored: Made, answers: dict[str, Examination]
) -> None:
    first, second = make_run("a", "a1"), make_run("b", "b1", seed=2)
    promotion.promote(first, [candidate(first, "a1", 30)], sft=scored(10))
    answers["v0002"] = scored(30).promotion
    decision, champion = promotion.promote(second, [candidate(second, "b1", 20)], sft=scored(10))
    assert not decision.accepted and champion == "v0002"
    assert decision.numbers["champion_hierarchical_f1"] == 0.75
    assert decision.numbers["num_uses"] == 2
    registry = registry_of(second)
    assert [each.origin.run for each in registry.versions()] == ["a", "a", "b"]
    third = make_run("c", "c1", seed=3)
    decision, champion = promotion.promote(third, [candidate(third, "c1", 40)], sft=scored(10))
    assert decision.accepted and champion == "v0004" and decision.numbers["num_uses"] == 3


def test_the_best_few_of_a_sweep_may_be_brought(
    make_run: Made, candidate: Made, scored: Made
) -> None:
    run = make_run("a", "a1", "a2")
    brought = [candidate(run, "a1", 20), candidate(run, "a2", 36)]
    decision, champion = promotion.promote(run, brought, sft=scored(5))
    assert decision.accepted and champion == "v0003"
    assert decision.numbers["confidence"] == pytest.approx(1 - 0.05 / 4)
    assert registry_of(run).get(champion).origin.trial == "a2"


def test_patients_whom_the_champion_was_trained_on_are_left_out(
    make_run: Made, candidate: Made, scored: Made, answers: dict[str, Examination]
) -> None:
    first, second = make_run("a", "a1"), make_run("b", "b1", seed=2)
    promotion.promote(first, [candidate(first, "a1", 30)], sft=scored(10))
    registry = registry_of(first)
    listed = registry.list_patients([f"p{i}" for i in range(25)])
    folder = Path(registry.get("v0002").origin.checkpoint.path) / "actor" / "huggingface"
    lineage = registry.get("v0002").lineage
    registry.register(folder, lineage={**lineage, "run": "other"}, patients=listed)
    registry.promote("v0003", reason="test")
    answers["v0003"] = scored(0).promotion
    decision, champion = promotion.promote(second, [candidate(second, "b1", 40)], sft=scored(0))
    assert decision.accepted and champion == "v0004"
    assert decision.numbers["num_left_out"] == 25 and decision.numbers["num_patients"] == 15


def test_a_champion_that_cannot_be_loaded_is_said_and_the_stage_goes_on_later(
    make_run: Made, candidate: Made, scored: Made, answers: dict[str, Any]
) -> None:
    first, second = make_run("a", "a1"), make_run("b", "b1", seed=2)
    promotion.promote(first, [candidate(first, "a1", 30)], sft=scored(10))
    answers["v0002"] = CheckpointError("vLLM failed on v0002: no such layer.")
    brought = [candidate(second, "b1", 40)]
    with pytest.raises(PromotionError, match=r"champion v0002 of .* cannot be asked here: vLLM"):
        promotion.promote(second, brought, sft=scored(10))
    registry = registry_of(second)
    assert registry.get("v0003").origin.run == "b" and registry.aliases() == {"champion": "v0002"}
    answers["v0002"] = scored(30).promotion
    assert promotion.promote(second, brought, sft=scored(10))[1] == "v0003"
    assert len(registry.versions()) == 3 and kinds(registry).count("gated") == 2


def test_a_champion_under_other_limits_is_refused_before_it_is_loaded(
    make_run: Made, candidate: Made, scored: Made, answers: dict[str, Any]
) -> None:
    first = make_run("a", "a1")
    second = make_run("b", "b1", seed=2, data={"max_prompt_tokens": 96})
    promotion.promote(first, [candidate(first, "a1", 30)], sft=scored(10))
    with pytest.raises(PromotionError, match=r"max_prompt_tokens = 2048, .* and data.max_prompt"):
        promotion.promote(second, [candidate(second, "b1", 40)], sft=scored(10))
    assert registry_of(second).aliases() == {"champion": "v0002"} and not answers


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"data": {"max_prompt_tokens": 96}}, r"limits data\.max_prompt_tokens = 2048, "),
        ({"promotion": {"registry": "{run}/registry"}, "data": {"max_prompt_tokens": 96}}, ""),
        ({"seed": 3}, ""),
    ],
)
def test_a_run_that_could_not_meet_the_champion_is_refused_before_it_trains(
    make_run: Made, candidate: Made, scored: Made, table: dict[str, Any], match: str
) -> None:
    run = make_run("a", "a1")
    promotion.promote(run, [candidate(run, "a1", 30)], sft=scored(10))
    codes = identify(run.experiment.data, hashes={})["codes"]
    registry = registry_of(run)
    lineage = registry.get("v0002").lineage
    changed = {**lineage, "data": {**lineage["data"], "codes": codes}}
    registry.register(registry.get("v0002").path, lineage=changed)
    registry.promote("v0003", reason="test")
    experiment, paths = parse_experiment(table, "here"), RunPaths(run.paths.root.with_name("b"))
    if not match:
        promotion.check_champion(experiment, paths)
        return
    with pytest.raises(PromotionError, match=match) as caught:
        run_pipeline(experiment, paths.root, command=Command(is_deployed=False))
    assert "--no-promote" in str(caught.value) and not paths.root.exists()


def test_who_was_overtaken_meets_the_new_champion(
    make_run: Made,
    candidate: Made,
    scored: Made,
    answers: dict[str, Examination],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = make_run("a", "a1"), make_run("b", "b1", seed=2)
    promotion.promote(first, [candidate(first, "a1", 30)], sft=scored(10))
    answers |= {"v0001": scored(10).promotion, "v0002": scored(30).promotion}
    registry, judge = registry_of(first), Registry.judge
    rivals = iter([lambda: registry.rollback(reason="a rival")])

    def judge_late(self: Registry, *arguments: Any, **options: Any) -> Any:
        for act in rivals:  # once
            act()
        return judge(self, *arguments, **options)

    monkeypatch.setattr(Registry, "judge", judge_late)
    decision, champion = promotion.promote(second, [candidate(second, "b1", 20)], sft=scored(10))
    assert decision.accepted and champion == "v0003"  # v0001 is champion again, and was met
    assert decision.numbers["champion_hierarchical_f1"] == 0.25


WRITES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.rmtree"}


def run_killed(action: Callable[[], Any], step: int) -> bool:
    """Run in a child that is killed (SIGKILL) before its n-th change to the disk; False when it got
    through.
    """
    pid = os.fork()
    if pid == 0:
        left = step

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            is_writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if is_writing or event in WRITES:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {0, -signal.SIGKILL}
    return status != 0


def test_killed_anywhere_and_done_again_it_ends_as_if_it_had_not_been(
    make_run: Made, candidate: Made, scored: Made, tmp_path: Path
) -> None:
    run = make_run("a", "a1")

    def work(place: Path) -> tuple[Any, str]:
        settings = run.experiment.promotion.model_copy(update={"registry": str(place)})
        experiment = run.experiment.model_copy(update={"promotion": settings})
        one = replace(run, experiment=experiment)
        return promotion.promote(one, [candidate(run, "a1", 30)], sft=scored(10))

    whole = work(tmp_path / "whole")
    wanted = kinds(Registry(tmp_path / "whole"))
    step, was_killed = 0, True
    while was_killed:
        step += 1
        place = tmp_path / f"killed{step}"
        was_killed = run_killed(lambda place=place: work(place), step)
        decision, version = work(place)
        # No number is given twice: what a killed registration left keeps its own until it is
        # collected (`registry gc`).
        assert decision == whole[0] and version in {"v0002", "v0003"}
        registry = Registry(place)
        assert kinds(registry) == wanted
        (split,) = {e.details["split"] for e in registry.events() if e.kind == "gated"}
        assert registry.count_uses(split) == 1
        shutil.rmtree(place)
    assert step > 20


def test_a_run_that_ended_says_the_same_although_another_is_champion_by_now(
    make_run: Made, candidate: Made, scored: Made, answers: dict[str, Examination]
) -> None:
    first, second = make_run("a", "a1"), make_run("b", "b1", seed=2)
    before = promotion.promote(first, [candidate(first, "a1", 20)], sft=scored(10))
    answers["v0002"] = scored(20).promotion
    promotion.promote(second, [candidate(second, "b1", 40)], sft=scored(10))
    again = promotion.promote(first, [candidate(first, "a1", 20)], sft=scored(10))
    assert again[0] == before[0] and again[1] == "v0003"
    assert kinds(registry_of(first)).count("gated") == 2


def test_a_run_promotes_into_an_object_store_as_into_a_folder(
    make_run: Made,
    candidate: Made,
    scored: Made,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    url = f"memory://{tmp_path.name}/registry"
    run = make_run("a", "a1", promotion={"registry": url})
    before = promotion.promote(run, [candidate(run, "a1", 30)], sft=scored(10))
    registry = open_registry(url)
    assert registry.aliases() == {"champion": "v0002"} and not run.paths.registry.exists()
    listed = registry.patients_of("v0002")
    assert listed is not None and registry.find_listed(["g0", "p0"], [listed]) == {"g0"}
    assert promotion.promote(run, [candidate(run, "a1", 30)], sft=scored(10)) == before
    assert len(registry.versions()) == 2 and kinds(registry).count("gated") == 1


def test_the_registry_of_a_run_may_be_in_its_own_folder(
    make_run: Made, candidate: Made, scored: Made
) -> None:
    run = make_run("a", "a1", promotion={"registry": "{run}/registry"})
    promotion.promote(run, [candidate(run, "a1", 30)], sft=scored(10))
    assert Registry(run.paths.root / "registry").aliases() == {"champion": "v0002"}
    assert not RunPaths(run.paths.root).registry.exists()
