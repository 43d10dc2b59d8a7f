"""What a served version's trial answered while it trained, as verl wrote it."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from deepicd.errors import MissingError
from deepicd.paths import RunPaths, rollouts_folder, trial_folder
from deepicd.promotion.lineage import Lineage, ModelFiles
from deepicd.promotion.registry import Registry
from deepicd.serving.ingress.registry_views import NUM_ROLLOUTS, read_rollouts


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """v0001 is an SFT start, v0002 comes from trial 7 of a run that lies elsewhere."""
    made = Registry(tmp_path / "registry")
    checkpoint = ModelFiles(str(trial_of(made.root) / "global_step_10"), step=10)
    lineages = [Lineage(stage="sft"), Lineage(trial="7", checkpoint=checkpoint)]
    for name, lineage in zip(("sft", "trial"), lineages, strict=True):
        folder = tmp_path / name
        folder.mkdir()
        save_file({"embed": np.ones(3, np.float32)}, folder / "model.safetensors")
        for file in ("config.json", "tokenizer.json"):
            (folder / file).write_text(json.dumps({"model_type": name}))
        made.register(folder, lineage=lineage.as_dict())
    return made.root


def trial_of(registry: Path) -> Path:
    return trial_folder(RunPaths(registry.with_name("run")).sweep, "7")


def write(registry: Path, step: int, num: int) -> None:
    folder = rollouts_folder(trial_of(registry))
    folder.mkdir(parents=True, exist_ok=True)
    answer = "Pain.</think>\n<diagnosis>I25.10</diagnosis>"
    row = {"input": "a note", "output": answer, "gts": "I2510", "score": 1.5, "step": step}
    (folder / f"{step}.jsonl").write_text((json.dumps(row) + "\n") * num)


def test_the_latest_step_is_shown_without_its_prompts_unless_they_are_allowed(
    registry: Path,
) -> None:
    write(registry, 9, 1)
    write(registry, 10, NUM_ROLLOUTS + 5)
    found = read_rollouts(registry, "v0002", has_prompts=False)
    assert (found["trial"], found["step"], len(found["rollouts"])) == ("7", 10, NUM_ROLLOUTS)
    assert found["rollouts"][0] == {
        "gold": "I2510", "code": "I2510", "reason": None, "score": 1.5,
        "response": "Pain.</think>\n<diagnosis>I25.10</diagnosis>",
    }  # fmt: skip
    assert "a note" not in json.dumps(found)
    allowed = read_rollouts(registry, "v0002", has_prompts=True)
    assert allowed["rollouts"][0]["prompt"] == "a note"


def test_a_version_without_a_trial_or_kept_rollouts_has_none(registry: Path) -> None:
    assert read_rollouts(registry, "v0001", has_prompts=True)["trial"] is None
    found = read_rollouts(registry, "v0002", has_prompts=True)
    assert (found["trial"], found["step"], found["rollouts"]) == ("7", None, [])
    with pytest.raises(MissingError):
        read_rollouts(registry, "v0009", has_prompts=True)
