"""What a trial ran with, as plain values: code, lock, versions, data, start model, machine.

In: the paths a trial is given, this process and its checkout. Out: dicts for `record.json` and for
the summary of a run. Decided here: which packages count, and that nothing is guessed: what is not
there (a checkout, a GPU, an image named by `DEEPICD_IMAGE`) is None or empty. No environment, no
note and no token gets in; the difference to the commit is of code only.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from deepicd import __version__
from deepicd.checkpoints import MANIFEST, content_digest, read_manifest
from deepicd.files import write_json
from deepicd.notes.build_report import REPORT, read_build_report
from deepicd.notes.identity import hash_split
from deepicd.paths import DIFF, RECORD

IMAGE_VARIABLE = "DEEPICD_IMAGE"
"""Environment variable that names the digest of the container image."""

_PACKAGES = (
    *("ray", "verl", "vllm", "torch", "transformers", "optuna", "tensordict", "TransferQueue"),
    *("numpy", "pyarrow", "safetensors", "tokenizers"),
)
# `:/` is git's word for the top of the checkout.
_CODE = (":/platform", ":/pyproject.toml", ":/requirements")
_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_GPU_FIELDS = ("name", "driver_version", "memory.total")
_TIMEOUT_S = 20.0


def versions() -> dict[str, str]:
    """Versions of what runs."""
    own = {"deepicd": __version__, "code": code_commit(), "python": platform.python_version()}
    return own | {package: metadata.version(package) for package in _PACKAGES}


def code_commit() -> str:
    """Commit of the code, marked when it was changed; empty outside a checkout."""
    return _git("describe", "--always", "--dirty", "--abbrev=12").strip() if _is_checkout() else ""


def read_code() -> tuple[dict[str, Any], str]:
    """Commit and state of the checkout the code runs from, and what was changed in it as a diff
    (new files by name). None and empty where the package was installed.
    """
    if not _is_checkout():
        return {"commit": None, "is_changed": None, "new_files": []}, ""
    diff = _git("diff", "HEAD", "--", *_CODE)
    # Full names: else they would count from this folder, unlike those of the diff.
    new = _git("ls-files", "--others", "--exclude-standard", "--full-name", "--", *_CODE)
    state = {"commit": _git("rev-parse", "HEAD").strip(), "is_changed": bool(diff or new)}
    return {**state, "new_files": new.splitlines()}, diff


def read_lock(profile: str) -> dict[str, str]:
    """Name and SHA-256 of the profile's lock, or of the list of installed packages outside a
    checkout.
    """
    lock = _ROOT / "requirements" / f"{profile}.lock"
    if lock.is_file():
        return {"name": f"requirements/{lock.name}", "sha256": sha256(lock.read_bytes())}
    installed = {
        f"{package.name.lower()}=={package.version}" for package in metadata.distributions()
    }
    return {"name": "installed packages", "sha256": sha256("\n".join(sorted(installed)).encode())}


def read_machine() -> dict[str, Any]:
    """This node: system, processor, GPUs with their driver, none where `nvidia-smi` is not."""
    return {
        "os": platform.platform(),
        "python": platform.python_version(),
        "cpu": _cpu_model(),
        "num_cpus": os.cpu_count(),
        **read_gpus(),
    }


def read_gpus() -> dict[str, Any]:
    """GPUs (name, driver, memory), and the newest CUDA version that the driver serves."""
    if shutil.which("nvidia-smi") is None:
        return {"gpus": [], "cuda": None}
    query = f"--query-gpu={','.join(_GPU_FIELDS)}"
    rows = _run("nvidia-smi", query, "--format=csv,noheader").splitlines()
    gpus = [dict(zip(_GPU_FIELDS, row.split(", "), strict=False)) for row in rows]
    # Newer drivers say `CUDA UMD Version`.
    cuda = re.search(r"CUDA (?:UMD )?Version: *([\d.]+)", _run("nvidia-smi"))
    return {"gpus": gpus, "cuda": cuda[1] if cuda else None}


def describe_data(train: Path, validation: Path) -> dict[str, Any] | None:
    """Identity of the build of notes, as a resumed sweep checks it, and the hash of the training
    notes that are used; None where the splits lie beside no report of a build.
    """
    if not (validation.parent / REPORT).is_file():
        return None
    identity: dict[str, Any] = read_build_report(validation.parent).get("identity", {})
    return {**identity, "train": hash_split(train)}


def describe_model(folder: Path) -> dict[str, Any]:
    """Where trials start: the path, and the digest of its manifest where it has one."""
    has_manifest = (folder / MANIFEST).is_file()
    digest = content_digest(read_manifest(folder)) if has_manifest else None
    return {"path": str(folder), "sha256": digest}


def write_record(folder: Path, record: Mapping[str, Any], *, diff: str) -> None:
    """Write a trial's record, and the diff of the code beside it; the record of an earlier start of
    the trial is kept under a number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, diff_file = folder / RECORD, folder / DIFF
    if path.exists():
        number = len(list(folder.glob(f"{path.stem}-*{path.suffix}")))
        path.rename(path.with_stem(f"{path.stem}-{number:03}"))
    diff_file.unlink(missing_ok=True)
    if diff:
        diff_file.write_text(diff, encoding="utf-8")
    _write(path, {**record, "diff_sha256": sha256(diff.encode()) if diff else None})


def add_to_record(folder: Path, **values: Any) -> None:
    """Put more values into a trial's record, which begins with them where there is none."""
    path = folder / RECORD
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    _write(path, {**record, **values})


def sha256(content: bytes) -> str:
    """In hex."""
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, record: Mapping[str, Any]) -> None:
    write_json(path, record, sort_keys=False)


def _is_checkout() -> bool:
    """Whether git tracks this package: one installed below a checkout is not its code."""
    return bool(_git("ls-files", "--", "__init__.py"))


def _git(*arguments: str) -> str:
    return _run("git", "-C", str(_HERE), *arguments)


def _run(*command: str) -> str:
    """What a command prints; nothing where it fails or is not there."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _cpu_model() -> str:
    """Name of the processor (Linux), else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
