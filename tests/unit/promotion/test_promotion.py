"""The registry under kills, races and damage; promotion and its commands."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from deepicd import cli
from deepicd.config import PromotionConfig
from deepicd.errors import (
    CheckpointError,
    DataError,
    DeepICDError,
    MissingError,
    PromotionError,
)
from deepicd.promotion.calibration_file import read_calibration
from deepicd.promotion.promote import promote_candidate
from deepicd.promotion.registry import Aliases, Registry
from deepicd.records import (
    Calibration,
    Challenge,
    Curve,
    Decision,
    Examination,
    Prediction,
)

QUICK = PromotionConfig(num_bootstrap=100, min_patients=1)


def build_model(folder: Path, seed: int) -> Path:
    folder.mkdir(parents=True)
    weights = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
    save_file({"embed.weight": weights}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing guards against power cuts, which no test makes; a killed process loses nothing."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [build_model(tmp_path / f"model{seed}", seed) for seed in range(3)]


@pytest.fixture
def registry(tmp_path: Path, models: list[Path]) -> Registry:
    """v0001 was champion, v0002 is."""
    registry = Registry(tmp_path / "registry")
    for index, model in enumerate(models[:2], start=1):
        registry.register(model, lineage={"trial": f"t{index}"}, scores={"hierarchical_f1": 0.5})
        registry.promote(f"v000{index}", reason="test")
    return registry


def rows(*pairs: tuple[str, str | None], patients: int = 0) -> Examination:
    """Predictions of (gold, prediction) pairs; `patients` > 0 spreads them over that many."""
    return Examination(
        [
            Prediction(f"n{i}", f"p{i % patients if patients else i}", gold, code)
            for i, (gold, code) in enumerate(pairs)
        ]
    )


# Registry


def test_a_version_is_an_immutable_verified_copy(registry: Registry, models: list[Path]) -> None:
    shutil.rmtree(models[0])
    version = registry.verify("v0001")
    assert version.lineage == {"trial": "t1"} and version.scores == {"hierarchical_f1": 0.5}
    assert {path.name for path in version.path.iterdir()} == {
        "config.json", "tokenizer.json", "model.safetensors", "README.md", "manifest.json",
    }  # fmt: skip
    card = (version.path / "README.md").read_text()
    assert "# v0001" in card and "| trial | t1 |" in card and "0.5000" in card


def test_aliases_follow_promotion_challenge_and_rollback(
    registry: Registry, models: list[Path]
) -> None:
    third = registry.register(models[2], lineage={"trial": "t3"})
    registry.challenge("v0003", reason="shadow it")
    assert registry.aliases() == {"champion": "v0002", "challenger": "v0003"}
    registry.promote("challenger", reason="won")
    assert registry.aliases() == {"champion": third.name}
    assert registry.rollback(reason="slow").version == "v0002"
    assert registry.rollback(reason="worse").version == "v0001"
    assert registry.get("champion").name == "v0001"
    with pytest.raises(PromotionError, match="no earlier champion"):
        registry.rollback(reason="once too often")
    assert [event.kind for event in registry.events()] == [
        "registered", "promoted", "registered", "promoted", "registered",
        "challenger", "promoted", "rolled_back", "rolled_back",
    ]  # fmt: skip


def test_a_challenge_says_how_and_ends_by_withdrawal_or_promotion(
    registry: Registry, models: list[Path]
) -> None:
    registry.register(models[2], lineage={"trial": "t3"})
    registry.challenge("v0003", reason="look", is_shadow=True)
    assert registry.read_aliases() == Aliases("v0002", "v0001", Challenge("v0003", 0.0, True))
    registry.challenge("v0003", reason="agrees", percent=10)
    assert registry.read_aliases().challenge == Challenge("v0003", 10.0)
    registry.withdraw(reason="slow")
    assert registry.read_aliases().challenge is None and "challenger" not in registry.aliases()
    with pytest.raises(PromotionError, match="no version is challenger"):
        registry.withdraw(reason="again")
    registry.challenge("v0003", reason="faster now", percent=50)
    registry.promote("v0003", reason="won")
    assert registry.read_aliases() == Aliases("v0003", "v0002", None)


@pytest.mark.parametrize(
    ("name", "percent", "match"),
    [("champion", 5, "v0002 cannot challenge v0002"), ("v0001", 101, "between 0 and 100")],
)
def test_a_challenge_that_makes_no_sense_is_refused(
    registry: Registry, name: str, percent: float, match: str
) -> None:
    with pytest.raises(PromotionError, match=match):
        registry.challenge(name, reason="try", percent=percent)


def test_the_same_model_with_the_same_lineage_is_one_version(
    registry: Registry, models: list[Path]
) -> None:
    assert registry.register(models[1], lineage={"trial": "t2"}).name == "v0002"
    assert registry.register(models[1], lineage={"trial": "t9"}).name == "v0003"
    assert [version.name for version in registry.versions()] == ["v0001", "v0002", "v0003"]


def test_a_calibration_goes_with_its_own_version_only(
    registry: Registry, models: list[Path]
) -> None:
    known = Calibration({"code": Curve((0.5,), (0.6,))}, num_notes=60, errors={"code": 0.1})
    version = registry.register(models[2], lineage={}, calibration=known)
    assert read_calibration(version.path) == known
    assert "| code | 0.1000 |" in (version.path / "README.md").read_text()
    again = registry.register(version.path, lineage={"fitted": "further"})
    assert read_calibration(again.path) is None
    assert "Not calibrated" in (again.path / "README.md").read_text()


def test_unknown_names_are_refused_with_the_nearest(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no version 'v002' in .*nearest: v0002"):
        registry.get("v002")
    with pytest.raises(MissingError, match="no version is challenger"):
        registry.get("challenger")
    with pytest.raises(MissingError, match="no version is champion"):
        Registry(tmp_path / "empty").get("champion")


def test_promoting_the_champion_or_against_an_outdated_one_changes_nothing(
    registry: Registry,
) -> None:
    before = registry.events()
    with pytest.raises(PromotionError, match="is champion already"):
        registry.promote("v0002", reason="again")
    with pytest.raises(PromotionError, match="judged against no champion, but v0002"):
        registry.promote("v0001", reason="late", expected=None)
    assert registry.events() == before


def test_a_flipped_bit_is_refused_and_the_champion_keeps_its_title(
    registry: Registry, models: list[Path]
) -> None:
    path = registry.register(models[2], lineage={}).path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    for action in (registry.verify, lambda name: registry.promote(name, reason="x")):
        with pytest.raises(CheckpointError, match="differs from its manifest"):
            action("v0003")
    assert registry.aliases() == {"champion": "v0002"}


def test_a_rewritten_manifest_is_found_by_the_history(registry: Registry) -> None:
    manifest = registry.get("v0001").path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"t1"', '"t7"'))
    with pytest.raises(CheckpointError, match="not the manifest that was registered"):
        registry.verify("v0001")


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[0].replace("v0001", "v0009"), *lines[1:]],
        lambda lines: [*lines[:-1], lines[-1][:-5]],
    ],
    ids=["first line gone", "line gone", "line changed", "cut off"],
)
def test_an_edited_history_is_refused(
    registry: Registry, damage: Callable[[list[str]], list[str]]
) -> None:
    path = registry.root / "history.jsonl"
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    with pytest.raises(PromotionError, match=r"line \d of .*history.jsonl does not follow"):
        registry.aliases()


def test_a_folder_with_a_pickle_is_not_registered(registry: Registry, models: list[Path]) -> None:
    (models[2] / "optim.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is refused"):
        registry.register(models[2], lineage={})
    assert len(registry.versions()) == 2


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
        "v0001": rows(("I2510", "I2510")), "v0002": rows(("I2510", None)),
        "v0003": rows(("I2510", "I2510")),
    }  # fmt: skip

    def run(name: str) -> bool:
        try:
            return promote_candidate(
                registry, name, examinations=examinations, config=QUICK, seed=0
            ).accepted
        except PromotionError:
            return False

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(run, ("v0001", "v0003")))
    assert sum(won) == 1
    assert registry.aliases()["champion"] == ("v0001" if won[0] else "v0003")


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


def snapshot(registry: Registry) -> tuple[list[str], dict[str, str]]:
    """What a reader sees; every version must verify."""
    names = [registry.verify(version.name).name for version in registry.versions()]
    return names, registry.aliases()


@pytest.mark.parametrize("verb", ["register", "promote", "rollback", "challenge", "withdraw"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_state(
    registry: Registry, models: list[Path], tmp_path: Path, verb: str
) -> None:
    actions: dict[str, Callable[[Registry], Any]] = {
        "register": lambda r: r.register(models[2], lineage={"trial": "t3"}),
        "promote": lambda r: r.promote("v0001", reason="back"),
        "rollback": lambda r: r.rollback(reason="worse"),
        "challenge": lambda r: r.challenge("v0001", reason="try"),
        "withdraw": lambda r: r.withdraw(reason="slow"),
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
        held = {path.name for path in (copy.root / "versions").iterdir()}
        assert held == {version.name for version in copy.versions()} and after.name in held
    new = seen[-1]
    assert new != old and len(seen) > 3
    changed = seen.index(new)  # old up to one step, new from there on, nothing between
    assert seen == [old] * changed + [new] * (len(seen) - changed)


# Promotion


def test_a_rejected_candidate_changes_nothing_and_its_reasons_are_kept(
    registry: Registry, models: list[Path]
) -> None:
    registry.register(models[2], lineage={})
    examinations = {"v0003": rows(("I2510", "J189")), "v0002": rows(("I2510", "I2510"))}
    decision = promote_candidate(registry, "v0003", examinations=examinations, config=QUICK, seed=0)
    assert not decision.accepted
    assert registry.aliases() == {"champion": "v0002"}
    assert registry.decision("v0003") == Decision(False, list(decision.reasons), decision.numbers)
    assert registry.events()[-1].kind == "gated"


def test_each_use_of_a_promotion_split_is_counted_and_widens_the_next_interval(
    registry: Registry, models: list[Path]
) -> None:
    registry.register(models[2], lineage={})
    examinations = {"v0003": rows(("I2510", "J189")), "v0002": rows(("I2510", "I2510"))}

    def judge(shown: dict[str, Any]) -> Any:
        decision = promote_candidate(registry, "v0003", examinations=shown, config=QUICK, seed=0)
        return decision.numbers

    numbers = [judge(examinations) for _ in range(3)]
    assert [one["num_uses"] for one in numbers] == [1, 2, 3]
    assert [one["confidence"] for one in numbers] == pytest.approx(
        [1 - 0.05 / 2, 1 - 0.05 / 6, 1 - 0.05 / 12]
    )
    others = {"v0003": rows(("J189", "J180")), "v0002": rows(("J189", "J189"))}
    assert judge(others)["num_uses"] == 1  # other notes are another split


def test_an_accepted_candidate_becomes_champion_and_its_decision_counts_against_that_one_only(
    registry: Registry, models: list[Path]
) -> None:
    registry.register(models[2], lineage={})
    examinations = {"v0003": rows(("I2510", "I2510")), "v0002": rows(("I2510", "J189"))}
    assert promote_candidate(
        registry, "v0003", examinations=examinations, config=QUICK, seed=0
    ).accepted
    assert registry.aliases() == {"champion": "v0003"}
    assert registry.decision("v0003") is None  # it was made against v0002, and v0003 is champion
    registry.rollback(reason="test")
    kept = registry.decision("v0003")
    assert kept is not None and kept.accepted


def test_promotion_asks_for_predictions_of_both(registry: Registry) -> None:
    with pytest.raises(DataError, match="no predictions of v0002 among v0001"):
        promote_candidate(
            registry,
            "v0001",
            examinations={"v0001": rows(("I2510", "I2510"))},
            config=QUICK,
            seed=0,
        )


# Commands


@pytest.fixture
def run(registry: Registry) -> Callable[..., tuple[int, str]]:
    """Call the real command line on the registry; exit code and standard output."""

    def call(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, [*arguments, "--registry", str(registry.root)])
        if isinstance(result.exception, DeepICDError):
            return result.exception.exit_code, str(result.exception)
        return result.exit_code, result.output

    return call


def test_promote_by_force_and_rollback_move_the_title(
    run: Callable[..., tuple[int, str]], registry: Registry
) -> None:
    assert run("promote", "v0001", "--force") == (0, "v0001 is champion (forced)\n")
    assert registry.aliases() == {"champion": "v0001"}
    code, text = run("rollback", "--reason", "slow", "--json")
    assert code == 0 and json.loads(text)["details"]["reason"] == "slow"
    assert registry.aliases() == {"champion": "v0002"}
    assert run("rollback")[0] == 0
    code, text = run("rollback")
    assert code == 10 and "no earlier champion" in text


def test_promote_uses_the_decision_on_record(
    run: Callable[..., tuple[int, str]], registry: Registry
) -> None:
    declined = Decision(False, ["NOT met: too little"], {})
    registry.record_decision("v0001", "v0002", declined, split="s")
    code, text = run("promote", "v0001")
    assert (code, registry.aliases()) == (0, {"champion": "v0002"})
    assert text == "v0001 was not promoted; nothing changed\n  NOT met: too little\n"
    accepted = Decision(True, ["met: enough"], {"p": 0.01})
    registry.record_decision("v0001", "v0002", accepted, split="s")
    code, text = run("promote", "v0001", "--json")
    assert json.loads(text) == {
        "accepted": True, "reasons": ["met: enough"], "numbers": {"p": 0.01}, "champion": "v0001",
    }  # fmt: skip


def test_promote_without_decision_or_split_names_the_way_out(
    run: Callable[..., tuple[int, str]], registry: Registry
) -> None:
    code, text = run("promote", "v0001")
    assert code == 4 and "--split" in text and "--force" in text
    code, text = run("promote", "v1")
    assert code == 4 and "nearest: v0001" in text
    assert registry.aliases() == {"champion": "v0002"}


def test_registry_commands_tell_what_is_there(
    run: Callable[..., tuple[int, str]], registry: Registry
) -> None:
    rows = json.loads(run("registry", "list", "--json")[1])
    assert [(row["name"], row["alias"]) for row in rows] == [("v0001", None), ("v0002", "champion")]
    assert run("registry", "list")[0] == 0
    assert "# v0002" in run("registry", "show", "champion")[1]
    difference = json.loads(run("registry", "diff", "v0001", "champion", "--json")[1])
    assert {"field": "lineage.trial", "first": "t1", "second": "t2"} in difference
    assert run("registry", "verify") == (0, "sound: v0001, v0002\n")
    events = json.loads(run("registry", "log", "--json")[1])
    assert [event["kind"] for event in events] == ["registered", "promoted"] * 2
    (registry.get("v0001").path / "config.json").write_text("{}")
    code, text = run("registry", "verify")
    assert code == 7 and "differs from its manifest" in text
