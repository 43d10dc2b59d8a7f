"""Rendered files: beside their description byte for byte, and the same in every process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepicd.clusters.description import read_cluster
from deepicd.pipeline.cluster.rendering import rendered_files

FOLDER = Path(__file__).parents[4] / "cluster"
DESCRIPTIONS = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.stem)
def test_what_a_description_renders_to_lies_beside_it_byte_for_byte(path):
    folder = path.with_suffix("")
    found = {
        str(each.relative_to(folder)): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file()
    }
    made = {name: text.encode() for name, text in rendered_files(read_cluster(path)).items()}
    assert made == found, f"deepicd cluster render {path} --out {folder} --yes"


def test_another_process_with_another_hash_seed_renders_the_same_bytes():
    code = (
        "import hashlib, pathlib; from deepicd.clusters.description import read_cluster; "
        "from deepicd.pipeline.cluster.rendering import rendered_files; "
        f"paths = sorted(pathlib.Path({str(FOLDER)!r}).glob('*.yaml')); "
        "made = repr([rendered_files(read_cluster(path)) for path in paths]); "
        "print(hashlib.sha256(made.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
