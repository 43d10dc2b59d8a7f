"""What commands write is its owner's alone, whatever umask they are started with."""

import stat
import subprocess
import sys
from pathlib import Path

from deepicd.config import ModelConfig
from deepicd.training.start_model import build_model


def test_files_are_0600_and_folders_0700_whatever_the_umask(tmp_path: Path) -> None:
    model = tmp_path / "model"
    size = ModelConfig(vocab_size=400, hidden_size=64, num_layers=2, num_heads=2)
    build_model(size, ["Chest pain on effort."], model, seed=1)
    out = tmp_path / "out"
    out.mkdir()
    commands = [
        ["init", str(out / "mine.toml")],
        ["registry", "add", str(model), "--registry", str(out / "registry")],
        ["promote", "v0001", "--force", "--registry", str(out / "registry")],
    ]
    for arguments in commands:
        done = subprocess.run(
            [sys.executable, "-m", "deepicd", *arguments],
            capture_output=True,
            text=True,
            check=False,
            umask=0o022,
        )
        assert done.returncode == 0, done.stderr
    written = list(out.rglob("*"))
    open_to_others = {
        str(path): oct(path.lstat().st_mode)
        for path in written
        if path.lstat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    }
    assert len(written) > 8 and not open_to_others
