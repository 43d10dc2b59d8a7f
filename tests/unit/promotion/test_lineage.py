"""Lineage: what is kept, read back, shown and compared."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.promotion.lineage import (
    GRPO,
    Lineage,
    ModelFiles,
    TrainedPatients,
    compare_lineages,
    describe_lineage,
    name_origin,
    read_lineage,
    same_origin,
)
from deepicd.promotion.registry import Registry
from deepicd.promotion.versions import compare
from deepicd.records import Limits

WHOLE = Lineage(
    stage=GRPO,
    experiment="tiny",
    run="a",
    seed=2,
    profile="cpu",
    trial="40a2f963",
    params={"training.learning_rate": 8.9e-05},
    checkpoint=ModelFiles("runs/a/sweep/trials/40a2f963/global_step_4", "c" * 64, 4),
    start_model=ModelFiles("runs/a/sft", "5" * 64),
    base_model=ModelFiles("runs/a/model", None),
    data={
        "splits": {"train": "a" * 64, "promotion": "b" * 64},
        "codes": {"release": "FY2026", "sha256": "214433e3d704814f"},
        "settings": {"source": "embedded", "num_notes": 1500},
        "seed": 1,
        "train": "7" * 64,
    },
    patients=TrainedPatients(612, "9" * 64),
    limits=Limits(192, 48, "truncate"),
    temperature=1.0,
    code={"commit": "bcc8ecba1c86e8305c", "is_changed": False, "release": "0.1.0"},
    environment={
        "lock": {"name": "requirements/cpu.lock", "sha256": "a4a176b4"},
        "versions": {"ray": "2.60.0"},
        "machines": [{"os": "Linux", "cpu": "Xeon", "num_cpus": 2, "gpus": []}, None],
    },
)


def test_a_lineage_survives_json() -> None:
    assert read_lineage(json.loads(json.dumps(WHOLE.as_dict()))) == replace(
        WHOLE, base_model=ModelFiles("runs/a/model")
    )
    assert read_lineage({}) == Lineage() and Lineage().as_dict() == {}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.text(max_size=8), inner, max_size=3) | st.lists(inner),
    max_leaves=5,
)
names = st.sampled_from(
    ["stage", "trial", "checkpoint", "data", "limits", "seed", "note", "params"]
)


@given(st.dictionaries(names, values, max_size=4))
def test_whatever_was_written_by_hand_is_read_shown_and_compared(
    written: dict[str, object],
) -> None:
    lineage = read_lineage(written)
    assert all(isinstance(text, str) for _, text in describe_lineage(lineage))
    assert isinstance(name_origin(lineage), str)
    assert compare_lineages(lineage, lineage) == []
    known = {"params", "data"}  # tables of ours, which an empty one is left out of
    kept = {
        name: value
        for name, value in written.items()
        if value not in (None, "", {}) or name not in known
    }
    assert {name for name, value in kept.items() if value not in (None, "", {})} <= set(
        lineage.as_dict()
    )


def test_every_step_from_the_run_to_the_machine_is_shown() -> None:
    rows = describe_lineage(WHOLE)
    assert [name for name, _ in rows] == [
        "made by", "run", "trial", "checkpoint", "start model", "base model", "data",
        "data settings", "data splits", "code table", "patients", "limits", "code", "lock",
        "packages", "machine", "machine",
    ]  # fmt: skip
    texts = dict(rows)
    assert texts["run"] == "a, experiment tiny, seed 2"
    assert texts["trial"] == "40a2f963, training.learning_rate = 8.9e-05"
    assert (
        texts["checkpoint"].startswith("step 4, ") and "SHA-256 cccccccccccc" in texts["checkpoint"]
    )
    assert texts["base model"] == "runs/a/model, SHA-256 not known"
    assert texts["data"] == "embedded, seed of the splits 1"
    assert texts["code table"] == "FY2026 (214433e3d704814f)"
    assert texts["patients"] == "trained on 612, kept as salted digests (999999999999)"
    assert texts["code"] == "release 0.1.0, commit bcc8ecba1c86"
    assert texts["machine"] == "one that did not answer"
    assert name_origin(WHOLE) == "grpo, run a, trial 40a2f963, step 4"


def test_what_is_not_known_is_said_of_patients_and_left_out_elsewhere() -> None:
    rows = describe_lineage(read_lineage({"source": "somebody's disk"}))
    assert rows == [
        ("patients", "not recorded: nobody can say which patients it was trained on"),
        ("source", "somebody's disk"),
    ]


def test_two_lineages_differ_field_by_field() -> None:
    other = replace(
        WHOLE, seed=3, data={**WHOLE.data, "seed": 2}, limits=Limits(256, 48), params={}
    )
    assert compare_lineages(WHOLE, other) == [
        ("seed", 2, 3),
        ("params.training.learning_rate", 8.9e-05, None),
        ("data.seed", 1, 2),
        ("limits.max_prompt_tokens", 192, 256),
    ]


@pytest.mark.parametrize(
    ("changed", "is_same"), [("code", True), ("environment", True), ("run", False)]
)
def test_a_model_is_the_same_on_another_machine_and_not_in_another_run(
    changed: str, is_same: bool
) -> None:
    value = "b" if changed == "run" else {"machines": []}
    other = replace(WHOLE, **{changed: value})
    assert same_origin(WHOLE.as_dict(), other.as_dict()) is is_same


def test_versions_are_compared_by_their_lineage(registry: Registry, models: list[Path]) -> None:
    made = registry.register(models[2], lineage=WHOLE.as_dict())
    rows = {name: (left, right) for name, left, right in compare(registry.get("v0001"), made)}
    assert rows["lineage.trial"] == ("t1", "40a2f963")
    assert rows["lineage.checkpoint.step"] == (None, 4)
    assert rows["scores.hierarchical_f1"] == (0.5, None)
