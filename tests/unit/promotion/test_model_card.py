"""The model card: what is known is on it, what is not known is said to be so."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepicd.promotion.model_card import model_card, usage_snippet
from deepicd.prompts import render_prompt

BARE: dict[str, Any] = {"created": "2026-11-30T00:00:00Z", "lineage": {}, "scores": {}}
SECTIONS = [
    "Intended use", "How to use it", "Scores in context", "Groups of patients", "Confidence",
    "Data and splits", "Base model", "Limits", "Ethics", "Licence", "All scores",
    "Where it comes from", "Identity",
]  # fmt: skip


def a_row(title: str, score: float, *, verdict: str = "") -> dict[str, Any]:
    scores = {"hierarchical_f1": score, "hierarchical_f1_low": score - 0.02}
    scores |= {"hierarchical_f1_high": score + 0.02}
    paired = {"verdict": verdict} if verdict else None
    row = {"title": title, "what": f"What {title} is.", "split": "test", "num_notes": 1194}
    return {**row, "scores": scores, "paired": paired, "is_model": paired is None}


CARD: dict[str, Any] = {
    "context": [
        a_row("TF-IDF | linear", 0.847, verdict="worse by 0.277 [0.250, 0.300]"),
        a_row("best trial", 0.570),
    ],
    "trials": [
        {"trial": "a1", "state": "stopped", "steps": 8, "scores": {"hierarchical_f1": 0.58}},
    ],
    "subgroups": [
        {"attribute": "sex", "group": "F", "num_notes": 600, "num_patients": 500}
        | {"hierarchical_f1": 0.5, "low": 0.45, "high": 0.55}
        | {"gap": -0.1, "gap_low": -0.2, "gap_high": 0.01},
    ],
    "data": {
        "facts": ["Source: the embedded corpus.", "Codes: ICD-10-CM, table up to release FY2026."],
        "splits": {"train": {"num_notes": 3583, "num_patients": 2900, "num_labels": 51}},
    },
    "base_model": {"name": "Qwen2.5-7B", "licence": "apache-2.0", "facts": ["Qwen2.5-7B."]},
    "limits": {"max_prompt_tokens": 192, "max_response_tokens": 48},
    "limitations": ["A note whose prompt is longer than 192 tokens loses words."],
    "licence": ["Weights: derived from Qwen2.5-7B, whose licence is apache-2.0."],
}


def body_of(card: str, section: str) -> str:
    _, _, rest = card.partition(f"\n## {section}\n")
    return rest.partition("\n## ")[0]


@pytest.mark.parametrize("facts", [BARE, {**BARE, "card": CARD}])
def test_every_card_has_every_section_with_something_in_it(facts: dict[str, Any]) -> None:
    card = model_card("v0001", facts)
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == SECTIONS
    for section in SECTIONS:
        assert len(body_of(card, section).strip()) > 10, section
    assert "Research only, never clinical decisions" in body_of(card, "Intended use")


def test_a_card_says_that_the_linear_baseline_is_better() -> None:
    context = body_of(model_card("v0002", {**BARE, "card": CARD}), "Scores in context")
    rows = [line for line in context.splitlines() if line.startswith("| ")]
    assert rows[1] == (
        "| TF-IDF \\| linear | 1194 | 0.847 [0.827, 0.867] | worse by 0.277 [0.250, 0.300] "
        "| What TF-IDF \\| linear is. |"
    )
    assert "### Trials" in context and "| a1 | stopped | 8 | 0.580 |" in rows
    assert "### Trials" not in model_card("v0001", BARE)
    assert rows[2].startswith("| **best trial** | 1194 | 0.570 [0.550, 0.590] |  |")


def test_groups_data_base_model_limits_and_licence_are_those_of_the_run() -> None:
    card = model_card("v0002", {**BARE, "card": CARD})
    groups = body_of(card, "Groups of patients")
    assert "| sex | F | 600 | 500 | 0.500 [0.450, 0.550] | -0.100 [-0.200, 0.010] |" in groups
    data = body_of(card, "Data and splits")
    assert "release FY2026" in data and "| train | 3583 | 2900 | 51 |" in data
    assert "Qwen2.5-7B." in body_of(card, "Base model")
    assert "longer than 192 tokens loses words" in body_of(card, "Limits")
    assert "whose licence is apache-2.0" in body_of(card, "Licence")
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["library_name"]) == ("apache-2.0", "transformers")


def test_intervals_of_few_patients_say_so_on_the_card() -> None:
    few = {"has_few_patients": True, "gap_has_few_patients": True}
    scores = {"hierarchical_f1": 0.5, "hierarchical_f1_low": 0.1, "hierarchical_f1_high": 0.9}
    trial = {"trial": "a1", "state": "finished", "steps": 8}
    card = {
        **CARD,
        "context": [{**a_row("best trial", 0.5), "scores": scores | {"has_few_patients": True}}],
        "trials": [{**trial, "scores": scores | {"has_few_patients": 1.0}}],
        "subgroups": [{**CARD["subgroups"][0], **few}],
    }
    lines = model_card("v1", {**BARE, "card": card}).splitlines()
    (group,) = [line for line in lines if line.startswith("| sex | F |")]
    assert group.count("] (few patients)") == 2
    marked = [line for line in lines if "0.500 [0.100, 0.900] (few patients)" in line]
    assert [line.split(" | ")[0] for line in marked] == ["| **best trial**", "| a1"]
    assert "few patients" not in model_card("v1", {**BARE, "card": CARD})


def test_what_is_not_known_is_said_to_be_so_and_claims_no_licence() -> None:
    card = model_card("v0001", BARE)
    assert "Nothing else is recorded" in body_of(card, "Scores in context")
    assert body_of(card, "Data and splits").strip() == "Not recorded."
    assert body_of(card, "Licence").strip() == "Not recorded."
    assert "license" not in yaml.safe_load(card.split("---\n")[1])


def test_the_snippet_asks_with_the_prompt_of_training_and_serving() -> None:
    snippet = usage_snippet(CARD)
    assert model_card("v1", {**BARE, "card": CARD}).count(snippet) == 1
    names: dict[str, Any] = {}
    # The lines before the first that needs a model, and the two that make the prompt.
    wanted = ("note", "system", "text", "prompt")
    tree = ast.parse(snippet)
    tree.body = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in wanted
    ]
    exec(compile(tree, str(Path("snippet")), "exec"), names)
    assert names["prompt"] == render_prompt(names["note"])
    assert "max_new_tokens=48," in snippet and "max_new_tokens=1024," in usage_snippet({})
