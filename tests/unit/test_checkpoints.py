"""Model folders: manifests find every change, and nothing that could run code gets in."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from deepicd import checkpoints
from deepicd.errors import CheckpointError, MissingError
from deepicd.files import write_atomically


def build_model(folder: Path, seed: int = 0) -> Path:
    """The files of a Hugging Face folder, with real safetensors, too small to load."""
    folder.mkdir(parents=True)
    weights = np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32)
    save_file({"embed.weight": weights}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return build_model(tmp_path / "model")


def test_a_folder_verifies_after_its_manifest_is_written(model: Path) -> None:
    written = checkpoints.write_manifest(model, {"step": 3})
    assert set(written["files"]) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert checkpoints.verify(model) == written
    assert checkpoints.verify(model)["facts"] == {"step": 3}


def test_the_hash_is_sha256_of_the_bytes(model: Path) -> None:
    # printf '{}' | sha256sum
    expected = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    files = checkpoints.write_manifest(model)["files"]
    assert files["tokenizer.json"] == {"sha256": expected, "bytes": 2}


def test_a_flipped_bit_is_refused(model: Path) -> None:
    checkpoints.write_manifest(model)
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model.safetensors differs from its manifest"):
        checkpoints.verify(model)


def test_a_missing_and_an_added_file_are_refused(model: Path) -> None:
    checkpoints.write_manifest(model)
    (model / "tokenizer.json").rename(model / "other.json")
    with pytest.raises(
        CheckpointError, match=r"missing \['tokenizer.json'\], added \['other.json'\]"
    ):
        checkpoints.verify(model)


def test_a_folder_without_manifest_is_unfinished(model: Path) -> None:
    with pytest.raises(CheckpointError, match="did not finish"):
        checkpoints.verify(model)
    with pytest.raises(MissingError, match="no model folder"):
        checkpoints.verify(model / "nowhere")


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"a": 1}}', "{not json"])
def test_a_broken_manifest_is_refused(model: Path, text: str) -> None:
    (model / checkpoints.MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match="is broken"):
        checkpoints.verify(model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optim.pt", "x.pkl", "modeling.py", "noend"])
def test_pickles_and_scripts_are_refused_by_kind(model: Path, name: str) -> None:
    (model / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="is refused: only"):
        checkpoints.write_manifest(model)
    with pytest.raises(CheckpointError, match="is refused: only"):
        checkpoints.check_layout(model)


@pytest.mark.parametrize(
    "data",
    [pickle.dumps({"a": [1] * 99}), b"", b"\x02\0\0\0\0\0\0\0{}tail", b"\xff" * 64],
    ids=["pickle", "empty", "tail", "length"],
)
def test_a_weight_file_that_is_something_else_is_refused(model: Path, data: bytes) -> None:
    (model / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        checkpoints.refuse_unsafe_files(model)


def test_a_cut_off_weight_file_is_refused(model: Path) -> None:
    weights = model / "model.safetensors"
    os.truncate(weights, weights.stat().st_size - 1)
    with pytest.raises(CheckpointError, match="does not fit its header"):
        checkpoints.write_manifest(model)


def test_a_link_is_refused(model: Path) -> None:
    (model / "extra.json").symlink_to(model / "config.json")
    with pytest.raises(CheckpointError, match="is a link"):
        checkpoints.write_manifest(model)


def as_the_hub_leaves_it(model: Path) -> Path:
    """Files as links into a store of blobs, and what lies beside a model there."""
    blobs = model.with_name("blobs")
    blobs.mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(Path("..") / "blobs" / str(number))
    (model / "LICENSE").write_text("Apache License")
    (model / ".gitattributes").write_text("*.safetensors filter=lfs")
    cache = model / ".cache" / "huggingface" / "download"
    cache.mkdir(parents=True)
    (cache / "model.safetensors.metadata").write_text("etag")
    return model


def test_a_folder_as_the_hub_leaves_it_is_copied_without_what_is_no_model(model: Path) -> None:
    checkpoints.check_layout(as_the_hub_leaves_it(model))
    target = checkpoints.export(model, model.with_name("out"))
    names = {file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file()}
    assert names == {"config.json", "manifest.json", "model.safetensors", "tokenizer.json"}
    assert not any(file.is_symlink() for file in target.rglob("*"))
    checkpoints.verify(target)


def test_a_link_into_nothing_and_a_pickle_beside_a_model_of_the_hub_are_refused(
    model: Path,
) -> None:
    as_the_hub_leaves_it(model)
    (model / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match="is refused: only"):
        checkpoints.check_layout(model)
    (model / "pytorch_model.bin").unlink()
    (model.with_name("blobs") / "1").unlink()
    with pytest.raises(CheckpointError, match=r"leads to no file. Fetch the model again: hf down"):
        checkpoints.export(model, model.with_name("out"))


def test_a_folder_that_is_not_there_says_how_a_model_is_fetched(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"nothing is fetched from a hub here.*hf download"):
        checkpoints.check_layout(tmp_path / "none")


def test_an_export_is_a_verified_copy_and_replaces_the_one_before(tmp_path: Path) -> None:
    first, second = build_model(tmp_path / "a", 1), build_model(tmp_path / "b", 2)
    target = tmp_path / "out" / "best"
    for source in (first, second):
        checkpoints.export(source, target, facts={"source": source.name})
        found = checkpoints.verify(target)
        assert found["facts"] == {"source": source.name}
        weights = "model.safetensors"
        assert (target / weights).read_bytes() == (source / weights).read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["best"]


def test_a_refused_export_leaves_the_target_as_it_was(tmp_path: Path, model: Path) -> None:
    target = checkpoints.export(model, tmp_path / "out")
    before = checkpoints.verify(target)
    bad = build_model(tmp_path / "bad", 2)
    (bad / "optim.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="is refused"):
        checkpoints.export(bad, target)
    assert checkpoints.verify(target) == before


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("config.json", MissingError, "no config.json"),
        ("model.safetensors", CheckpointError, "no weights"),
        ("tokenizer.json", CheckpointError, "no tokeniser"),
    ],
)
def test_an_incomplete_model_is_not_exported(
    model: Path, tmp_path: Path, name: str, error: type[Exception], match: str
) -> None:
    (model / name).unlink()
    with pytest.raises(error, match=match):
        checkpoints.export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_content_digests_are_equal_exactly_when_contents_are(tmp_path: Path) -> None:
    folders = [build_model(tmp_path / name, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    a, b, c = (checkpoints.content_digest(checkpoints.write_manifest(f)) for f in folders)
    assert a == b != c


def test_a_killed_writer_leaves_the_old_text(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_atomically(path, json.dumps({"old": 1}))
    pid = os.fork()
    if pid == 0:
        os.fsync = lambda descriptor: os._exit(9)  # dies before the rename
        write_atomically(path, json.dumps({"new": 2}))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert json.loads(path.read_text()) == {"old": 1}


def test_a_trainers_checkpoint_may_hold_pickles_and_is_checked_all_the_same(model: Path) -> None:
    (model / "optim.pt").write_bytes(pickle.dumps({"moments": [0.0]}))
    written = checkpoints.write_trainer_manifest(model, {"step": 5})
    assert "optim.pt" in written["files"]
    assert checkpoints.verify_trainer_manifest(model) == written
    with pytest.raises(CheckpointError, match=r"optim\.pt is refused"):
        checkpoints.verify(model)
    (model / "optim.pt").write_bytes(b"other")
    with pytest.raises(CheckpointError, match=r"optim\.pt differs from its manifest"):
        checkpoints.verify_trainer_manifest(model)


def test_the_size_of_a_folder_is_that_of_all_files_in_its_manifest(model: Path) -> None:
    (model / "nested").mkdir()
    (model / "nested" / "more.json").write_text("[1, 2]")
    checkpoints.write_manifest(model)
    files = [path for path in model.rglob("*") if path.is_file()]
    sizes = [path.stat().st_size for path in files if path.name != checkpoints.MANIFEST]
    assert len(sizes) == 4 and checkpoints.total_bytes(model) == sum(sizes)
    assert "nested/more.json" in checkpoints.read_manifest(model)["files"]
