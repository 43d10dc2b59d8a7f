"""Outcomes as lines: each holds the numbers that a person looks for."""

from dataclasses import replace

import pytest

from deepicd import codes
from deepicd.cli import text
from deepicd.config import parse_experiment
from deepicd.errors import Fault
from deepicd.monitoring.alerts import RULES
from deepicd.pipeline.planning import plan_experiment
from deepicd.pipeline.validation import Verdict
from deepicd.records import Decision

LEARNING_RATE = {"type": "loguniform", "low": 1e-5, "high": 1e-3}
REPLY = {
    "source": "note.txt",
    "code_dotted": "I25.10",
    "title": "Atherosclerotic heart disease",
    "chapter": "IX",
    "confidence": 0.8125,
    "model_version": "v0002",
    "prediction_id": "p-1",
    "reason": None,
}
NOTES = {
    "source": "embedded",
    "seed": 1,
    "num_labels": 2,
    "splits": {
        "train": {"num_notes": 80, "num_patients": 70, "num_labels": 2, "num_chapters": 1},
        "test": {"num_notes": 20, "num_patients": 18, "num_labels": 2, "num_chapters": 1},
    },
    "dropped": {"too short": 3},
    "labels": {"I2510": {"train": 50, "test": 12}, "I10": {"train": 30, "test": 8}},
}


@pytest.fixture
def plan():
    experiment = parse_experiment(
        {"sweep": {"num_trials": 2, "search": {"training.learning_rate": LEARNING_RATE}}}, "here"
    )
    return plan_experiment(experiment, step_s=12.0, gpu="", prices=None)


def test_a_reply_shows_code_confidence_and_version():
    assert text.reply_cells(REPLY) == (
        "note.txt",
        "I25.10",
        "Atherosclerotic heart disease",
        "IX",
        "0.81",
        "v0002",
        "p-1",
    )


def test_an_unusable_answer_and_a_refused_note_say_why():
    unusable = {**REPLY, "code_dotted": None, "title": None, "chapter": None, "confidence": None}
    cells = text.reply_cells({**unusable, "reason": "unknown_code"})
    assert cells[1:5] == ("–", "unusable answer: unknown_code", "–", "–")
    refused = text.reply_cells({"source": "long.txt", "error": "the note is too long"})
    assert refused == ("long.txt", "–", "the note is too long", "–", "–", "–", "–")


def test_a_build_of_notes_shows_splits_reasons_and_labels():
    lines = list(text.notes_lines(NOTES))
    assert lines[0] == "source embedded, seed 1, 2 labels"
    assert lines[1].split() == ["split", "notes", "patients", "labels", "chapters"]
    assert lines[2].split() == ["train", "80", "70", "2", "1"]
    assert "left out: too short 3" in lines
    assert any(
        line.split() == ["I2510", "50", "in", "train,", "12", "in", "test"] for line in lines
    )


def test_a_check_for_leaks_shows_verdict_share_limit_and_examples():
    row = {"check": "gold_title", "verdict": "leak", "count": 7, "share": 0.07, "limit": 0.05}
    judge = {"threshold": 2.5, "recall": 0.61}
    head, line, told = text.audit_lines([{**row, "examples": ["n1", "n2"]}], judge)
    assert head.split() == ["check", "verdict", "count", "share", "limit", "examples"]
    assert line.split() == ["gold_title", "leak", "7", "7.00%", "5%", "n1,", "n2"]
    assert "score above 2.50, which finds 61% of the passages of the stay" in told


def test_a_check_that_was_not_made_is_not_called_clean_and_one_that_only_warns_says_so():
    none = {"count": 0, "share": 0.0, "examples": []}
    overlap = {"check": "trace_overlap", "verdict": "not checked", "limit": 0.0, **none}
    overlap["why"] = "no traces: --traces FILE names those of SFT"
    wording = {"check": "late_wording", "verdict": "clean", "limit": 1.0, **none}
    _, first, second, told = text.audit_lines([overlap, wording], None)
    assert first.split() == ["trace_overlap", "not", "checked", "–", "–", "0%"]
    assert second.split() == ["late_wording", "clean", "0", "0.00%", "only", "warns"]
    assert told == "trace_overlap was not looked for: no traces: --traces FILE names those of SFT"


@pytest.mark.parametrize(("number", "rarest"), [(2, 0), (3, 0), (4, 1), (6, 3), (9, 3)])
def test_a_label_is_listed_once_under_its_heading(number, rarest):
    labels = {f"I{10 + each}": {"train": 50 - each, "test": 1} for each in range(number)}
    lines = list(text.notes_lines({**NOTES, "labels": labels}))
    told = lines[lines.index("most frequent:") + 1 :]
    most, _, rest = "\n".join(told).partition("\nrarest:\n")
    assert [row.split()[0] for row in most.splitlines()] == list(labels)[:3]
    named = [row.split()[0] for row in rest.splitlines()]
    assert named == list(labels)[number - rarest :]


def test_rules_of_alerts_are_told_whole_in_eighty_columns():
    lines = list(text.rule_lines(RULES))
    for rule in RULES:
        assert f"{rule.name}  ({rule.severity})" in lines and f"  {rule.runbook}" in lines
    assert max(map(len, lines)) <= 80


def test_a_node_of_the_tree_shows_words_for_truth_and_cuts_long_lists():
    lines = dict(
        line.split(maxsplit=1)
        for line in text.code_lines({"is_billable": True, "children": [], "siblings": list("abc")})
    )
    assert lines == {"is_billable": "yes", "children": "none", "siblings": "a, b, c"}
    (line,) = text.code_lines({"children": [f"A{number}" for number in range(20)]})
    assert line.endswith("A11 ... (20 in all)")
    (path,) = text.code_lines({"path": {"IX": "Circulatory", "I25": "Chronic"}})
    assert [part.split() for part in path.splitlines()[1:]] == [
        ["IX", "Circulatory"],
        ["I25", "Chronic"],
    ]


def test_every_field_of_a_real_node_takes_a_line():
    node = codes.describe("M51.16")
    lines = "\n".join(text.code_lines(node))
    assert all(name in lines for name in node)


def test_scores_show_intervals_and_stand_beside_the_other_model():
    scores = {"num_notes": 5, "accuracy": 0.5, "accuracy_low": 0.25, "accuracy_high": 0.75}
    lines = list(text.score_lines(scores))
    assert [line.split() for line in lines] == [
        ["num_notes", "5"],
        ["accuracy", "0.5000", "[0.2500,", "0.7500]"],
    ]
    paired = {"difference": 0.1, "low": -0.2, "high": 0.4, "p": 0.5, "has_few_patients": True}
    compared = {**scores, "against": {**scores, "accuracy": 0.4}, "paired": paired}
    lines = list(text.score_lines(compared))
    assert lines[1].endswith("against 0.4000 [0.2500, 0.7500]")
    assert lines[-1] == (
        "hierarchical F1, paired: difference 0.1000, low -0.2000, high 0.4000, p 0.5000 "
        "(few patients)"
    )
    group = {"attribute": "sex", "group": "F", "num_notes": 40, "hierarchical_f1": 1.0}
    ends = {"low": 0.1, "high": 1.0, "gap": 0.5, "gap_low": -0.4, "gap_high": 1.0}
    few = {"has_few_patients": True, "gap_has_few_patients": True}
    for flags, marked in (({}, 0), ({"gap_has_few_patients": True}, 1), (few, 2)):
        _, line = text.subgroup_lines([{**group, **ends, **flags}])
        assert line.count("(few patients)") == marked
    assert text.score_cells({**scores, "has_few_patients": True}, "accuracy")[2] == (
        "0.2500 to 0.7500 (few patients)"
    )


def test_a_plan_names_its_trials_and_samples(plan):
    lines = list(text.plan_lines(plan))
    (trials,) = [line for line in lines if line.startswith("trials ")]
    assert "number 2" in trials and f"steps {plan.trials['steps']}" in trials
    samples = [line for line in lines if line.startswith("samples ")]
    assert samples and all("training.learning_rate" in line for line in samples)
    assert not any("estimate, by on-demand prices" in line for line in lines)


def test_a_plan_names_units_and_says_what_it_does_not_know(plan):
    lines = dict(line.split(maxsplit=1) for line in text.plan_lines(plan))
    clock, slot = plan.hours["clock"], plan.hours["slot"]
    assert lines["hours"] == f"clock {clock:.4g} hours, slot {slot:.4g} slot-hours"
    assert "weights 10.6 MB" in lines["memory"] and "logits 1.21 GB" in lines["memory"]
    missing = ({"place": "model.path", "rule": "there is no model"},)
    unknown = replace(plan, memory_gb={}, hours={}, missing=missing)
    told = list(text.plan_lines(unknown))
    assert "memory     not known: model.path is missing" in told
    assert "hours      not known: give --step-s, the measured seconds of one step" in told
    (sizes,) = [line for line in text.plan_lines(replace(plan, memory_gb={})) if "sizes" in line]
    assert (
        sizes == "memory     not known: config.json of model.path does not give the model's sizes"
    )


def test_one_fault_is_one_fault(tmp_path):
    fault = Fault("data.root", "no such folder")
    for number, words in ((1, "1 fault;"), (2, "2 faults;")):
        verdict = Verdict(tmp_path / "a.toml", None, (fault,) * number, ())
        assert words in list(text.verdict_lines(verdict))[-1]


def test_a_plan_with_a_machine_says_that_its_cost_is_an_estimate():
    experiment = parse_experiment(
        {"sweep": {"num_trials": 2, "search": {"training.learning_rate": LEARNING_RATE}}}, "here"
    )
    plan = plan_experiment(experiment, step_s=12.0, gpu="H100-80GB", prices=None)
    *_, last = text.plan_lines(plan)
    assert last == f"The cost is an estimate, by on-demand prices of {plan.prices['as_of']}."


def test_differences_have_a_column_a_trial():
    lines = list(text.difference_lines({"actor.optim.lr": [0.000123456, 2]}, 2))
    assert lines == ["verl's key: trial 1 | trial 2", "actor.optim.lr: 0.0001235 | 2"]


@pytest.mark.parametrize(
    ("is_accepted", "verdict"),
    [(True, "is champion now"), (False, "was not promoted; nothing changed")],
)
def test_a_decision_names_the_version_and_each_reason(is_accepted, verdict):
    decision = Decision(is_accepted, ("met: a", "NOT met: b"), {})
    lines = list(text.decision_lines("v0003", decision))
    assert lines == [f"v0003 {verdict}", "  met: a", "  NOT met: b"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0.5, "0.5000"),
        (3, "3"),
        ("text", "text"),
        ({"b": 0.25, "a": {"deep": 1}}, "a deep 1\nb 0.2500"),
    ],
)
def test_a_cell_shows_numbers_with_four_digits_and_tables_line_by_line(value, shown):
    assert text.cell(value) == shown
