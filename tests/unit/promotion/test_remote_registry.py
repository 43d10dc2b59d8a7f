"""A registry in an object store: several machines, races, and a process that dies at every step."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.numpy import save_file
from typer.testing import CliRunner

from deepicd import cli
from deepicd.errors import CheckpointError, ConfigError, MissingError, PromotionError
from deepicd.promotion.registry import Registry
from deepicd.promotion.remote_registry import (
    CACHE_VARIABLE,
    RemoteRegistry,
    open_existing,
    open_registry,
)
from deepicd.records import Decision

URL = "bucket://registry"


class Killed(BaseException):
    """The process is gone."""


class Bucket(MemoryFileSystem):
    """An object store: whole objects, and a write that fails where there is one already."""

    protocol = "bucket"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    lock = threading.Lock()
    is_down = False
    left: int | None = None
    """Writes until the writer is killed; None for never."""

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        self._count()
        with Bucket.lock:
            super().pipe_file(path, value, mode=mode)

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def cat_file(self, path: str, **_: Any) -> bytes:
        if Bucket.is_down:
            raise ConnectionError("no route")
        with Bucket.lock:  # readers of a MemoryFile share its position
            try:
                return bytes(self.store[self._strip_protocol(path)].getbuffer())
            except KeyError:
                raise FileNotFoundError(path) from None

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        Path(lpath).write_bytes(self.cat_file(rpath))

    @staticmethod
    def _count() -> None:
        if Bucket.left is not None:
            if Bucket.left == 0:
                raise Killed
            Bucket.left -= 1


@pytest.fixture(autouse=True)
def _bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    Bucket.store.clear()
    Bucket.left = None
    yield
    Bucket.left = None


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    found = []
    for seed in range(8):
        folder = tmp_path / f"model{seed}"
        folder.mkdir()
        weights = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
        save_file({"embed.weight": weights}, folder / "model.safetensors")
        (folder / "config.json").write_text('{"model_type": "qwen2"}')
        (folder / "tokenizer.json").write_text("{}")
        found.append(folder)
    return found


def client(tmp_path: Path, name: str) -> RemoteRegistry:
    """A machine of its own: nothing of its mirror is shared."""
    return RemoteRegistry(URL, cache=tmp_path / f"cache-{name}")


def test_what_one_machine_registers_and_promotes_another_verifies_and_rolls_back(
    tmp_path: Path, models: list[Path]
) -> None:
    here, there = client(tmp_path, "here"), client(tmp_path, "there")
    for model in models[:2]:
        name = here.register(model, lineage={"trial": model.name}, scores={"f1": 0.5}).name
        here.promote(name, reason="test")
    assert there.aliases() == {"champion": "v0002"}
    assert [version.lineage["trial"] for version in there.versions()] == ["model0", "model1"]
    path = there.verify("champion").path
    assert (path / "model.safetensors").read_bytes() == (
        models[1] / "model.safetensors"
    ).read_bytes()
    there.challenge("v0001", reason="test", percent=10)
    there.judge("s", lambda use: {"v0001": Decision(False, ("no",), {})}, champion="v0002")
    assert here.read_aliases().challenge is not None
    there.withdraw(reason="test")
    assert here.rollback(reason="test").version == "v0001"
    assert there.aliases() == {"champion": "v0001"}
    kinds = ["registered", "promoted"] * 2 + ["challenger", "gated", "withdrawn", "rolled_back"]
    assert [event.kind for event in there.events()] == kinds
    with pytest.raises(MissingError, match="no version 'v9'"):
        there.get("v9")


def test_machines_that_register_at_once_get_names_of_their_own(
    tmp_path: Path, models: list[Path]
) -> None:
    def register(model: Path) -> str:
        return client(tmp_path, model.name).register(model, lineage={"model": model.name}).name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(register, models))
    assert sorted(names) == [f"v000{number}" for number in range(1, 9)]
    reader = client(tmp_path, "reader")
    for name, model in zip(names, models, strict=True):
        assert reader.verify(name).lineage["model"] == model.name
        assert client(tmp_path, model.name).verify(name).name == name


def test_of_two_promoters_against_one_champion_one_wins(tmp_path: Path, models: list[Path]) -> None:
    first = client(tmp_path, "first")
    for model in models[:3]:
        first.register(model, lineage={"model": model.name})
    first.promote("v0001", reason="test", expected=None)

    def promote(name: str) -> bool:
        try:
            client(tmp_path, name).promote(name, reason="won", expected="v0001")
        except PromotionError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(promote, ("v0002", "v0003")))
    assert sum(won) == 1
    assert first.aliases()["champion"] == ("v0002" if won[0] else "v0003")


def test_a_process_killed_at_any_write_leaves_the_state_before_or_after(
    tmp_path: Path, models: list[Path]
) -> None:
    first = client(tmp_path, "first")
    first.promote(first.register(models[0], lineage={}).name, reason="test")
    first.promote(first.register(models[1], lineage={"n": 1}).name, reason="test")
    steps = {
        "register": lambda registry: registry.register(models[2], lineage={"n": 2}),
        "promote": lambda registry: registry.promote("v0001", reason="again"),
        "rollback": lambda registry: registry.rollback(reason="test"),
    }
    kept = dict(Bucket.store)
    for name, work in steps.items():
        for writes in range(20):
            Bucket.store.clear()
            Bucket.store.update(kept)
            before = client(tmp_path, f"{name}{writes}-before").events()
            Bucket.left = writes
            victim = client(tmp_path, f"{name}{writes}")
            try:
                work(victim)
                is_whole = True
            except Killed:
                is_whole = False
            Bucket.left = None
            seen = client(tmp_path, f"{name}{writes}-after")
            events = seen.events()
            assert events[: len(before)] == before and len(events) - len(before) == is_whole
            if not is_whole:
                work(client(tmp_path, f"{name}{writes}"))  # the same machine goes on
            for version in seen.versions():
                seen.verify(version.name)
            if is_whole:
                break
        assert is_whole and writes > 0


def test_machines_share_one_salt_and_each_use_of_a_split_is_counted_once(
    tmp_path: Path, models: list[Path]
) -> None:
    def listed(name: str) -> Any:
        return client(tmp_path, name).list_patients(["10000001"])

    with ThreadPoolExecutor(8) as pool:
        lists = list(pool.map(listed, "abcdefgh"))
    assert len(set(lists)) == 1
    here = client(tmp_path, "a")
    here.register(models[0], lineage={})
    here.register(models[1], lineage={}, patients=lists[0])
    here.promote("v0001", reason="test")
    assert client(tmp_path, "new").patients_of("v0002") == lists[0]
    no = Decision(False, ("no",), {"difference": 0.0})

    def judge(name: str) -> int:
        slow = threading.Event()

        def decide(use: int) -> dict[str, Decision]:
            slow.wait(0.05)  # the others count meanwhile
            return {"v0002": no}

        event = client(tmp_path, name).judge("s", decide, champion="v0001")
        return int(event.details["use"])

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(judge, "abcd")) == [1, 2, 3, 4]
    assert here.count_uses("s") == 4


def test_where_nothing_was_registered_is_no_registry(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no registry at bucket://registry"):
        open_existing(URL)
    with pytest.raises(MissingError, match="no registry at bucket://registry"):
        client(tmp_path, "here").rollback(reason="test")


def test_a_flipped_bit_is_refused_in_the_store_and_mended_in_the_mirror(
    tmp_path: Path, models: list[Path]
) -> None:
    here = client(tmp_path, "here")
    path = here.register(models[0], lineage={}).path / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert here.verify("v0001").path.joinpath("model.safetensors").read_bytes() == whole
    (place,) = [name for name in Bucket.store if name.endswith("model.safetensors")]
    here._store.pipe_file(place, whole[:-1] + bytes([whole[-1] ^ 1]))
    there = client(tmp_path, "there")
    with pytest.raises(CheckpointError, match="differs from its manifest"):
        there.verify("v0001")
    with pytest.raises(CheckpointError):
        there.promote("v0001", reason="test")
    here._store.rm_file(place)
    with pytest.raises(CheckpointError, match="is gone from"):
        there.verify("v0001")


def test_a_store_that_cannot_be_reached_is_said_and_nothing_is_lost(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = client(tmp_path, "here")
    here.register(models[0], lineage={})
    monkeypatch.setattr(Bucket, "is_down", True)
    with pytest.raises(PromotionError, match="cannot be used: ConnectionError"):
        here.promote("v0001", reason="test")
    monkeypatch.setattr(Bucket, "is_down", False)
    here.promote("v0001", reason="test")


def test_a_manifest_that_names_files_elsewhere_is_not_followed(
    tmp_path: Path, models: list[Path]
) -> None:
    here = client(tmp_path, "here")
    here.register(models[0], lineage={})
    (place,) = [name for name in Bucket.store if name.endswith("manifest.json")]
    manifest = json.loads(here._store.cat_file(place))
    manifest["files"]["../../../../stolen.json"] = manifest["files"]["config.json"]
    here._store.pipe_file(place, json.dumps(manifest).encode())
    with pytest.raises(CheckpointError, match="outside of itself"):
        client(tmp_path, "there").verify("v0001")


def test_an_event_that_was_changed_in_the_store_is_found(
    tmp_path: Path, models: list[Path]
) -> None:
    here = client(tmp_path, "here")
    here.register(models[0], lineage={})
    here.promote("v0001", reason="test")
    (place,) = [name for name in Bucket.store if name.endswith("00000001.json")]
    row = json.loads(here._store.cat_file(place))
    here._store.pipe_file(place, json.dumps({**row, "time": 0}).encode())
    with pytest.raises(PromotionError, match="does not follow"):
        client(tmp_path, "there").events()


def test_commands_take_a_url_and_say_what_cannot_be_one(
    tmp_path: Path, models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    open_registry(URL).register(models[0], lineage={"trial": "7"})

    def run(*arguments: str) -> Any:
        given = [*arguments, "--registry", URL, "--json"]
        return json.loads(CliRunner().invoke(cli.app, given, catch_exceptions=False).stdout)

    assert run("promote", "v0001", "--force")["version"] == "v0001"
    (row,) = run("registry", "list")
    assert (row["name"], row["alias"], row["lineage"]["trial"]) == ("v0001", "champion", "7")
    assert run("registry", "verify") == {"verified": ["v0001"]}
    assert not isinstance(open_registry(tmp_path), RemoteRegistry)
    assert isinstance(open_registry(str(tmp_path)), Registry)
    with pytest.raises(ConfigError, match="name it without"):
        open_registry("file:///x")
    with pytest.raises(ConfigError, match="no registry can be at"):
        open_registry("nothing://x")
