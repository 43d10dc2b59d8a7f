"""Model folders: hashed in a manifest, free of code, and checked by loading.

In: a Hugging Face folder as a trainer left it. Out: a copy whose `manifest.json` names the SHA-256
of every file; `write_trainer_manifest` does the same for a trial's own checkpoint, pickles
included. Decided here: a folder without a manifest is unfinished (it is written last, so a killed
writer leaves none); only file kinds that cannot hold code are let in (an allow-list; a pickle under
another name fails its header check); of a folder that the hub left, licences and dot files stay
behind and links are followed, so that the copy holds files of its own; an export counts only after
transformers has loaded it, found every weight in it and computed finite logits. A copy is made
beside the target and renamed.
"""

import hashlib
import json
import os
import shutil
import struct
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deepicd.errors import CheckpointError, ConfigError, MissingError
from deepicd.files import put_in_place, sync, write_json

MANIFEST = "manifest.json"
_ALLOWED_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model", ".md")
"""File kinds of a model folder; none of them is executed or unpickled by anything that loads it."""
_PASSED_OVER = frozenset({"LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY"})
"""Texts without an ending that the hub keeps beside a model; nothing loads them."""
_FETCH = "hf download ORGANISATION/NAME --local-dir FOLDER"
_PROBE_TOKENS = 32
"""Length of the token sequence on which logits are computed and compared."""

_CHUNK = 1 << 20
_NUM_HASHERS = 8
"""Files hashed at a time; hashing releases the interpreter's lock."""


def write_manifest(folder: Path, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Hash every file of `folder` and write its manifest, last and atomically.

    Returns the manifest: `files` (relative name → `sha256`, `bytes`) and `facts` (as given).

    Raises:
        CheckpointError: the folder holds a file of a kind that is refused.
    """
    refuse_unsafe_files(folder)
    return write_trainer_manifest(folder, facts)


def write_trainer_manifest(folder: Path, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """As `write_manifest`, for files of any kind: a checkpoint of our own trainer, whose optimiser
    state is a pickle.
    """
    # Every file must be on disk before the manifest says that the folder is whole.
    for path in (folder, *folder.rglob("*")):
        sync(path)
    manifest = {"format": 1, "files": describe_files(folder), "facts": dict(facts or {})}
    write_json(folder / MANIFEST, manifest)
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Manifest of `folder`, after every file has been hashed again.

    Raises:
        MissingError: there is no such folder.
        CheckpointError: no manifest (unfinished write), a missing, added, changed or refused file.
    """
    # First: an unfinished folder is told as one, and not by some file of it.
    read_manifest(folder)
    refuse_unsafe_files(folder)
    return verify_trainer_manifest(folder)


def verify_trainer_manifest(folder: Path) -> dict[str, Any]:
    """As `verify`, for files of any kind."""
    manifest = read_manifest(folder)
    described_now = describe_files(folder)
    expected, present = set(manifest["files"]), set(described_now)
    if expected != present:
        raise CheckpointError(
            f"{folder} is not what its manifest lists: missing {sorted(expected - present)}, "
            f"added {sorted(present - expected)}. Restore the folder or export it again."
        )
    for name, described in manifest["files"].items():
        if described_now[name] != described:
            raise CheckpointError(
                f"{folder / name} differs from its manifest: SHA-256 "
                f"{described_now[name]['sha256'][:12]}… ({described_now[name]['bytes']} bytes) "
                f"instead of {described['sha256'][:12]}… ({described['bytes']}). Restore it or "
                "export it again."
            )
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Manifest of `folder` as written, nothing hashed.

    Raises:
        MissingError: there is no such folder.
        CheckpointError: no manifest, or one that cannot be read.
    """
    if not folder.is_dir():
        raise MissingError(f"no model folder at {folder}. Give the folder that holds config.json.")
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        if not all(set(entry) == {"sha256", "bytes"} for entry in files.values()):
            # Caught below, with the other ways in which a manifest is broken.
            raise KeyError("files")
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} has no {MANIFEST}: its writer did not finish. Export the checkpoint again."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / MANIFEST} is broken ({error!r}). Export the checkpoint again."
        ) from error
    return manifest


def total_bytes(folder: Path) -> int:
    """Bytes of all files that a folder's manifest lists."""
    return sum(int(entry["bytes"]) for entry in read_manifest(folder)["files"].values())


def content_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over names and hashes of a manifest's files: equal exactly when the contents are
    equal.
    """
    lines = (f"{name} {entry['sha256']}\n" for name, entry in sorted(manifest["files"].items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def weights_digest(manifest: Mapping[str, Any]) -> str:
    """As `content_digest`, of the weights alone: what lies beside them does not count."""
    files = {name: e for name, e in manifest["files"].items() if name.endswith(".safetensors")}
    return content_digest({"files": files})


def refuse_unsafe_files(folder: Path) -> None:
    """Raise CheckpointError for a file that could run code when loaded (pickles, scripts), a link
    or a fake weight.
    """
    names = _file_names(folder)
    for path in (folder / name for name in names):
        if path.is_symlink():
            raise CheckpointError(
                f"{path} is a link; a model folder holds its own files. Copy the target in its "
                "place."
            )
    _refuse_kinds(folder, names)


def _refuse_kinds(folder: Path, names: Iterable[str]) -> None:
    """Of each file: one of the kinds that are let in, there, and a weight where it says so."""
    for path in (folder / name for name in names):
        if not path.is_file():
            raise CheckpointError(
                f"{path} is a link that leads to no file. Fetch the model again: {_FETCH}."
            )
        if path.suffix not in _ALLOWED_SUFFIXES:
            raise CheckpointError(
                f"{path} is refused: only {', '.join(_ALLOWED_SUFFIXES)} are let in, because a "
                "pickle or script can run "
                "code when loaded. Save the weights with save_pretrained(safe_serialization=True)."
            )
        if path.suffix == ".safetensors":
            _check_safetensors(path)


def export(source: Path, target: Path, *, facts: Mapping[str, Any] | None = None) -> Path:
    """Copy a Hugging Face folder to `target` (replaced if it is there), with its manifest; returns
    `target`.

    Raises:
        MissingError: `source` is not a Hugging Face folder.
        CheckpointError: what would be copied holds a refused file, or no safetensors weights or
            tokeniser.
    """
    check_layout(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target: a rename is one step within one file system only.
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        copy_files(source, aside)
        write_manifest(aside, facts)
        put_in_place(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def check_layout(folder: Path) -> None:
    """Raise unless `folder` is a Hugging Face model: configuration, tokeniser, safetensors weights,
    nothing unsafe; as the hub leaves it or as `export` does.
    """
    if not folder.is_dir():
        raise MissingError(
            f"there is no folder {folder}. Give a Hugging Face model folder; nothing is fetched "
            f"from a hub here, so fetch it first: {_FETCH}."
        )
    if not (folder / "config.json").is_file():
        raise MissingError(f"{folder} has no config.json. Give a Hugging Face model folder.")
    _refuse_kinds(folder, _names_to_copy(folder))
    for kind, pattern in (("weights", "*.safetensors"), ("tokeniser", "tokenizer*.json")):
        if not any(folder.glob(pattern)):
            raise CheckpointError(
                f"{folder} has no {kind} ({pattern}). Save model and tokeniser in one folder."
            )


def copy_files(source: Path, target: Path) -> None:
    """Copy what a model consists of into `target`, each file flushed to disk, links as what they
    lead to.
    """
    for name in _names_to_copy(source):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        with (source / name).open("rb") as reader, copy.open("wb") as writer:
            shutil.copyfileobj(reader, writer, _CHUNK)
            writer.flush()
            os.fsync(writer.fileno())


def verify_by_loading(
    folder: Path, *, reference: Path | None = None, tolerance: float = 1e-4, dtype: str = "float32"
) -> dict[str, float]:
    """Load the export as every later user will, and compute logits on a fixed probe of token ids.

    Returns `num_parameters`, `vocab_size` and, with a `reference` folder, `max_logit_difference`
    against it.

    Raises:
        CheckpointError: unsafe or missing files, weights missing from the file (transformers would
        fill them with
            random numbers), a vocabulary smaller than the tokeniser's, logits that are not finite,
            or logits that differ from the reference's by more than `tolerance`.
    """
    import torch

    model, num_tokens = _load(folder, dtype)
    vocab_size = int(model.config.vocab_size)
    if vocab_size < num_tokens:
        raise CheckpointError(
            f"{folder}: the tokeniser has {num_tokens} tokens and the model only {vocab_size}. "
            "Export both from one run."
        )
    # A small vocabulary begins again.
    probe = torch.arange(_PROBE_TOKENS).remainder(num_tokens).unsqueeze(0)
    with torch.inference_mode():
        logits = model(input_ids=probe).logits
    if not bool(torch.isfinite(logits).all()):
        raise CheckpointError(
            f"{folder}: logits are not finite; the weights hold NaN or infinity. Use an earlier "
            "step."
        )
    figures = {
        "num_parameters": float(sum(p.numel() for p in model.parameters())),
        "vocab_size": float(vocab_size),
    }
    if reference is not None:
        other, _ = _load(reference, dtype)
        with torch.inference_mode():
            figures["max_logit_difference"] = float(
                (other(input_ids=probe).logits - logits).abs().max()
            )
        if not figures["max_logit_difference"] <= tolerance:  # NaN fails too
            raise CheckpointError(
                f"{folder}: logits differ from {reference} by "
                f"{figures['max_logit_difference']:.3g}, more than "
                f"{tolerance:g}. The export changed the weights (precision, tied layers): export "
                f"again in {dtype}."
            )
    return figures


def _load(folder: Path, dtype: str) -> tuple[Any, int]:
    """Model in evaluation mode and number of tokens; anything wrong is a CheckpointError."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not hasattr(torch, dtype):
        raise ConfigError(f"dtype must be a torch type such as float32 or bfloat16; got {dtype!r}")
    check_layout(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            # Neither the network nor a pickle.
            local_files_only=True,
            use_safetensors=True,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
    except Exception as error:  # whatever the library raises: the folder cannot be used
        raise CheckpointError(
            f"{folder} cannot be loaded by transformers: {type(error).__name__}: {error}. Export "
            "the checkpoint again."
        ) from error
    # transformers fills what is missing with random numbers, and raises nothing.
    wrong = {
        kind: sorted(map(str, info.get(kind) or ())) for kind in ("missing_keys", "mismatched_keys")
    }
    if any(wrong.values()):
        raise CheckpointError(
            f"{folder}: weights do not fit the configuration ({wrong}). Export the checkpoint "
            "again."
        )
    return model.eval(), len(tokenizer)


def _file_names(folder: Path) -> list[str]:
    """Relative names of the files to hash, sorted; the manifest itself is left out."""
    names = (
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        # A link that leads nowhere is no file, and has to be refused like any other.
        if path.is_file() or path.is_symlink()
    )
    return sorted(name for name in names if name != MANIFEST)


def _names_to_copy(folder: Path) -> list[str]:
    """Of these names all but licences and whatever lies under a name with a leading dot."""
    return [
        name
        for name in _file_names(folder)
        if name not in _PASSED_OVER and not any(p.startswith(".") for p in name.split("/"))
    ]


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Relative name → `sha256`, `bytes` of every file, without the manifest: as a manifest has
    them.
    """
    names = _file_names(folder)
    with ThreadPoolExecutor(_NUM_HASHERS) as pool:
        described = pool.map(_describe, (folder / name for name in names))
        return dict(zip(names, described, strict=True))


def _describe(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with path.open("rb") as reader:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
    return {"sha256": digest.hexdigest(), "bytes": path.stat().st_size}


def _check_safetensors(path: Path) -> None:
    """Raise unless the file starts with a safetensors header (JSON) whose tensors end where the
    file ends.
    """
    try:
        with path.open("rb") as reader:
            (length,) = struct.unpack("<Q", reader.read(8))
            if length > path.stat().st_size:
                raise ValueError("header longer than the file")
            header = json.loads(reader.read(length))
        end = max(
            (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
            default=0,
        )
        # Eight bytes of length, the header, then the tensors to the last byte.
        if 8 + length + end != path.stat().st_size:
            raise ValueError("length of the file does not fit its header")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}). It is cut off or something else: "
            "export it again."
        ) from error
