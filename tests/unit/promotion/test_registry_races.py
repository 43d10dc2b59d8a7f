"""The registry under kills and races."""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from registry_models import QUICK, build_model, rows

from deepicd.errors import (
    PromotionError,
)
from deepicd.promotion.promote import promote_best
from deepicd.promotion.registry import Registry
from deepicd.records import Decision


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    models = [build_model(tmp_path / f"m{seed}", seed) for seed in range(8)]

    def run(model: Path) -> str:
        registry = Registry(tmp_path / "registry")
        name = registry.register(model, lineage={"model": model.name}).name
        registry.promote(name, reason="race")
        return name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(run, models))
    registry = Registry(tmp_path / "registry")
    assert sorted(names) == [f"v{i:04d}" for i in range(1, 9)]
    promoted = [e for e in registry.events() if e.kind == "promoted"]
    assert [e.number for e in registry.events()] == list(range(1, 17)) and len(promoted) == 8
    assert registry.aliases() == {"champion": promoted[-1].version}
    assert all(registry.verify(name).path.is_dir() for name in names)
    assert sorted(path.name for path in (registry.root / "versions").iterdir()) == sorted(names)


def test_of_two_promoters_that_judged_against_one_champion_one_wins(
    registry: Registry, models: list[Path]
) -> None:
    registry.register(models[2], lineage={})
    examinations = {
        name: rows(*[("I2510", answer)] * 20)
        for name, answer in (("v0001", "I2510"), ("v0002", None), ("v0003", "I2510"))
    }

    def run(name: str) -> bool:
        try:
            return promote_best(
                registry, [name], examinations=examinations, config=QUICK, seed=0
            ).decision.accepted
        except PromotionError:
            return False

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(run, ("v0001", "v0003")))
    assert sum(won) == 1
    assert registry.aliases()["champion"] == ("v0001" if won[0] else "v0003")


NO = Decision(False, ("NOT met: too little",), {"difference": 0.0})
WRITES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.rmtree"}


def run_killed(action: Callable[[], Any], step: int) -> bool:
    """Run in a child that is killed (SIGKILL) before its n-th change to the disk; False when it got
    through. Between two such changes every instruction sees the same files."""
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
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def snapshot(registry: Registry) -> tuple[list[str], dict[str, str], int]:
    """What a reader sees; every version must verify."""
    names = [registry.verify(version.name).name for version in registry.versions()]
    return names, registry.aliases(), registry.count_uses("s")


@pytest.mark.parametrize(
    "verb", ["register", "promote", "rollback", "challenge", "withdraw", "judge"]
)
def test_a_kill_at_any_step_leaves_the_old_or_the_new_state(
    registry: Registry, models: list[Path], tmp_path: Path, verb: str
) -> None:
    actions: dict[str, Callable[[Registry], Any]] = {
        "register": lambda r: r.register(models[2], lineage={"trial": "t3"}),
        "promote": lambda r: r.promote("v0001", reason="back"),
        "rollback": lambda r: r.rollback(reason="worse"),
        "challenge": lambda r: r.challenge("v0001", reason="try"),
        "withdraw": lambda r: r.withdraw(reason="slow"),
        "judge": lambda r: r.judge("s", lambda use: {"v0001": NO}, champion="v0002"),
    }
    if verb == "withdraw":
        registry.challenge("v0001", reason="try")
    old = snapshot(registry)
    seen = []
    was_killed = True
    while was_killed:
        copy = Registry(tmp_path / f"copy{len(seen)}")
        shutil.copytree(registry.root, copy.root)
        was_killed = run_killed(lambda copy=copy: actions[verb](copy), len(seen) + 1)
        seen.append(snapshot(copy))
        after = copy.register(models[2], lineage={"trial": "later"})  # the next writer gets through
        held = {path.name for path in (copy.root / "versions").iterdir()} - {".orphans"}
        assert held == {version.name for version in copy.versions()} and after.name in held
    new = seen[-1]
    assert new != old and len(seen) > 3
    changed = seen.index(new)  # old up to one step, new from there on, nothing between
    assert seen == [old] * changed + [new] * (len(seen) - changed)


def test_two_promoters_at_once_count_one_use_each(registry: Registry, models: list[Path]) -> None:
    """Two processes, several times: neither sees the same number, and each decision has its own."""
    registry.register(models[2], lineage={})
    shown = rows(*[("I2510", "J189"), ("J189", "I2510")] * 60)
    examinations = dict.fromkeys(("v0001", "v0002", "v0003"), shown)
    config = QUICK.model_copy(update={"num_bootstrap": 5000})
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)

    def promote(name: str) -> None:
        for _ in range(4):
            start.wait()
            promote_best(
                Registry(registry.root), [name], examinations=examinations, config=config, seed=0
            )

    workers = [context.Process(target=promote, args=(name,)) for name in ("v0001", "v0003")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    judged = [event for event in registry.events() if event.kind == "gated"]
    assert [event.details["use"] for event in judged] == list(range(1, 9))
    assert [event.details["numbers"]["num_uses"] for event in judged] == list(range(1, 9))
    assert registry.count_uses(judged[0].details["split"]) == 8


def test_a_judge_that_was_overtaken_records_nothing(registry: Registry, models: list[Path]) -> None:
    registry.register(models[2], lineage={})
    before = registry.events()
    with pytest.raises(PromotionError, match="judged against v0001, but v0002 is champion"):
        registry.judge("s", lambda use: {}, champion="v0001")
    assert registry.events() == before


def test_a_kill_at_any_step_of_the_first_registration_leaves_a_registry_to_go_on_with(
    models: list[Path], tmp_path: Path
) -> None:
    step, was_killed = 0, True
    while was_killed:
        step += 1
        registry = Registry(tmp_path / f"new{step}")
        was_killed = run_killed(lambda r=registry: r.register(models[0], lineage={}), step)
        before = [version.name for version in registry.versions()]
        assert registry.register(models[0], lineage={}).name in {*before, "v0001", "v0002"}
        assert not (registry.root / "versions" / ".claimed").exists()
    assert step > 5
