"""A history that is lost or older than its versions: it is said, and no version is deleted."""

import json
import logging
import os
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.errors import ConfigError, PromotionError
from deepicd.promotion.registry import Registry


def folders(registry: Registry) -> set[str]:
    return {path.name for path in (registry.root / "versions").glob("v*")}


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_lost_history_is_damage_and_no_command_deletes_a_version(
    registry: Registry, models: list[Path], is_emptied: bool
) -> None:
    history = registry.root / "history.jsonl"
    history.write_text("") if is_emptied else history.rename(registry.root / "away")
    place = str(registry.root)
    for arguments in (
        ["registry", "list"],
        ["registry", "verify"],
        ["registry", "log"],
        ["registry", "gc", "--grace-days", "0", "--yes"],
        ["registry", "add", str(models[2])],
        ["rollback"],
    ):
        done = CliRunner().invoke(cli.app, [*arguments, "--registry", place])
        assert isinstance(done.exception, PromotionError), arguments
        assert "v0001, v0002 lie beside it: the registry is damaged" in str(done.exception)
    assert folders(registry) == {"v0001", "v0002"}
    if not is_emptied:
        (registry.root / "away").rename(history)
        assert registry.verify("champion").name == "v0002"


def test_with_an_older_history_newer_versions_are_set_aside_and_their_numbers_not_used_again(
    registry: Registry, models: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    history = registry.root / "history.jsonl"
    older = history.read_text().splitlines(keepends=True)[:2]
    history.write_text("".join(older))
    weights = (registry.root / "versions" / "v0002" / "model.safetensors").read_bytes()
    with caplog.at_level(logging.WARNING, logger="deepicd"):
        assert registry.register(models[2], lineage={}).name == "v0003"
    orphan = registry.root / "versions" / ".orphans" / "v0002"
    assert (orphan / "model.safetensors").read_bytes() == weights
    assert "v0002" in caplog.text and "registry gc" in caplog.text
    # The highest number is remembered after the orphan is all that is left of it.
    history.write_text("".join(older))
    assert registry.register(models[2], lineage={}).name == "v0004"
    assert {path.name for path in orphan.parent.iterdir()} == {"v0002", "v0003"}


@pytest.mark.parametrize("name", [".DS_Store", ".nfs0000000000a1", "notes.txt", "v2"])
def test_a_foreign_file_between_the_versions_stays_and_stops_nothing(
    registry: Registry, models: list[Path], name: str
) -> None:
    foreign = registry.root / "versions" / name
    foreign.write_text("x")
    assert registry.register(models[2], lineage={}).name == "v0003"
    assert foreign.read_text() == "x"


def test_gc_shows_asks_and_waits_before_it_deletes(registry: Registry) -> None:
    orphans = registry.root / "versions" / ".orphans"
    shutil.copytree(registry.root / "versions" / "v0002", orphans / "v0009")
    command = ["registry", "gc", "--registry", str(registry.root), "--json"]

    def run(*options: str) -> list[str]:
        done = CliRunner().invoke(cli.app, [*command, *options], catch_exceptions=False)
        return [row["name"] for row in json.loads(done.stdout)]

    assert run("--yes") == []  # within its grace
    long_ago = time.time() - 8 * 86_400
    os.utime(orphans / "v0009", (long_ago, long_ago))
    assert run("--dry-run") == ["v0009"]
    with pytest.raises(ConfigError, match=r"v0009 .*would be deleted for good; give --yes"):
        run()
    assert (orphans / "v0009").is_dir()
    assert run("--yes") == ["v0009"] and not (orphans / "v0009").exists()
    assert folders(registry) == {"v0001", "v0002"}
