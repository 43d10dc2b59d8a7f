"""What a run knows of a version for its model card."""

import json
from pathlib import Path

import pytest

from deepicd.config import parse_experiment
from deepicd.evaluation import evaluate
from deepicd.paths import RunPaths
from deepicd.pipeline.context import START_MODEL, card_facts
from deepicd.promotion.model_card import model_card

REPORT = {
    "source": "embedded",
    "num_notes": 200,
    "num_labels": 3,
    "splits": {
        "train": {"num_notes": 60, "num_patients": 30, "num_labels": 3, "characters_max": 9},
        "test": {"num_notes": 80, "num_patients": 40, "num_labels": 3, "characters_max": 9},
    },
    "identity": {
        "codes": {"release": "FY2026"}, "seed": 4, "splits": {"train": "abcdef0123456789"},
    },
}  # fmt: skip


@pytest.fixture
def facts(tmp_path, write_run, answer_split):
    paths, experiment = write_run(tmp_path / "run")
    (paths.notes / "report.json").write_text(json.dumps(REPORT))
    paths.model.mkdir()
    sizes = {"model_type": "qwen2", "num_hidden_layers": 2, "vocab_size": 1024}
    (paths.model / "config.json").write_text(json.dumps(sizes))
    scores = evaluate(answer_split(paths.split("test"), 3), paths.evaluation / "sft")
    return card_facts(paths, experiment, {**START_MODEL, "scores": scores})


def test_the_card_of_a_run_holds_context_groups_data_and_base_model(facts):
    assert [row["name"] for row in facts["context"]] == [
        "majority", "tfidf_linear", "zero_shot", "sft", "ceiling",
    ]  # fmt: skip
    assert [row["name"] for row in facts["context"] if row["is_model"]] == ["sft"]
    assert {row["group"]: row["num_notes"] for row in facts["subgroups"]} == {"F": 40, "M": 40}
    assert all(row["gap_low"] <= row["gap"] <= row["gap_high"] for row in facts["subgroups"])
    said = " ".join(facts["data"]["facts"])
    assert "200 notes with 3 principal codes" in said and "release FY2026" in said
    assert "a seed (4)" in said and "train `abcdef012345`" in said
    assert facts["data"]["splits"]["test"] == {"num_notes": 80, "num_patients": 40, "num_labels": 3}
    base = facts["base_model"]
    assert "nothing was pre-trained" in base["facts"][0] and base["licence"] is None
    assert base["facts"][1] == "Architecture qwen2: 2 layers, 1,024 tokens."
    assert "generated notes alone" in facts["limitations"][1]


def test_the_card_of_a_winner_names_the_best_trials(tmp_path, write_run):
    paths, experiment = write_run(tmp_path / "run")
    scored = [{"hierarchical_f1": 0.1 * number, "hierarchical_f1_low": 0.0} for number in range(12)]
    rows = [
        {"id": f"t{number}", "status": "finished", "steps": 5, "validation": scores}
        for number, scores in enumerate([{}, *scored])
    ]
    paths.trials.write_text(json.dumps(rows))
    model = {**START_MODEL, "scores": {"hierarchical_f1": 0.5}}
    assert card_facts(paths, experiment, model)["trials"] == []
    trials = card_facts(paths, experiment, {**model, "name": "trial-t9"})["trials"]
    assert [row["trial"] for row in trials] == [f"t{number}" for number in range(12, 2, -1)]
    assert trials[0]["scores"] == {
        "hierarchical_f1": pytest.approx(1.1), "hierarchical_f1_low": 0.0,
        "hierarchical_f1_high": None,
    }  # fmt: skip


def test_the_facts_are_plain_values_that_a_card_is_made_of(facts):
    plain = json.loads(json.dumps(facts))
    assert plain == facts
    card = model_card("v0001", {"created": "now", "lineage": {}, "scores": {}, "card": plain})
    assert "**SFT start**" in card and "| sex | F | 40 |" in card and "testp1" not in card


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# Qwen", "apache-2.0"),
        ("---\nlicense: [a, b]\n---\n", None),
        ("---\n: {broken\n---\n", None),
        ("# no front matter", None),
    ],
)
def test_the_licence_of_a_base_model_is_read_from_its_own_card(
    tmp_path: Path, card: str, licence: str | None
) -> None:
    base = tmp_path / "Qwen2.5-7B-Instruct"
    base.mkdir()
    (base / "README.md").write_text(card)
    table = {"model": {"path": str(base)}, "data": {"source": "mimic", "root": "mimic"}}
    model = {**START_MODEL, "scores": {"hierarchical_f1": 0.5}}
    facts = card_facts(RunPaths(tmp_path / "run"), parse_experiment(table, "here"), model)
    assert facts["base_model"]["licence"] == licence
    assert facts["base_model"]["facts"][0].startswith("Qwen2.5-7B-Instruct, as it was given")
    shown = licence or "not known: ask before you share anything"
    assert facts["licence"][0] == (
        f"Weights: derived from Qwen2.5-7B-Instruct, whose licence is {shown}."
    )
    assert "PhysioNet Credentialed Health Data License" in facts["licence"][1]
    assert facts["data"] is None and facts["subgroups"] == []
