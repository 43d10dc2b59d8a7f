"""The page about the road, and its picture, say what the code does."""

import re
import sys
from pathlib import Path

from deepicd.cli import COMMANDS
from deepicd.pipeline.stage import STAGES


def test_the_picture_is_drawn_from_the_stages(root: Path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(root / "scripts"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    from draw_stages import PICTURE, draw

    assert PICTURE.read_text(encoding="utf-8") == draw(), "python scripts/draw_stages.py"


def test_every_command_of_the_page_exists_and_every_stage_is_in_the_picture(root: Path) -> None:
    page = (root / "docs" / "road.md").read_text(encoding="utf-8")
    used = set(re.findall(r"deepicd (\w+)", page))
    assert used <= {*COMMANDS, "notes"} and {"run", "train", "resume", "sweep", "serve"} <= used
    picture = (root / "docs" / "pictures" / "stages.svg").read_text(encoding="utf-8")
    assert all(f">{name}</text>" in picture for name in STAGES)
