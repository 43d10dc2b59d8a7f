"""The registry: versions, aliases, history, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deepicd.errors import (
    CheckpointError,
    MissingError,
    PromotionError,
)
from deepicd.promotion.calibration_file import read_calibration
from deepicd.promotion.registry import Registry
from deepicd.promotion.versions import Aliases
from deepicd.records import (
    Calibration,
    Challenge,
    Curve,
)


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
