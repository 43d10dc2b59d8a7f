"""What commands print: the outcome on standard output, progress on standard error."""

import json
import logging

from deepicd.cli.console import (
    Outcome,
    configure_logging,
    print_outcome,
    print_replies,
    print_table,
)
from deepicd.config import SweepConfig
from deepicd.records import Trial

REPLY = {
    "source": "a.txt",
    "code_dotted": "I25.10",
    "title": "Heart [disease]",
    "chapter": "IX",
    "confidence": 0.5,
    "model_version": "v1",
    "prediction_id": "p-1",
    "reasoning": "Chest pain [at rest].",
}
BUDGET = {"num_started": 2, "num_trials": 4, "num_steps": 9, "max_steps": 60, "seconds": 90.0}
SWEEP = SweepConfig(
    search={"training.learning_rate": {"type": "choice", "values": [1e-4, 2e-4]}}, num_trials=4
)


def a_trial(name, score):
    return Trial(
        id=name,
        params={"training.learning_rate": 1e-4},
        status="finished",
        steps=5,
        validation={SWEEP.metric: score},
        checkpoint=None,
    )


def test_an_outcome_is_json_or_lines(capsys):
    print_outcome({"a": 1}, ["first", "second"], as_json=True)
    print_outcome({"a": 1}, ["first", "second"], as_json=True, indent=None)
    print_outcome({"a": 1}, iter(["first", "second"]), as_json=False)
    assert capsys.readouterr().out == '{\n  "a": 1\n}\n{"a": 1}\nfirst\nsecond\n'


def test_lines_are_not_made_where_json_is_asked_for(capsys):
    def lines():
        raise AssertionError("nobody reads them")
        yield

    print_outcome([], lines(), as_json=True)
    assert capsys.readouterr().out == "[]\n"


def test_a_table_prints_square_brackets_as_they_are(capsys):
    print_table(("name", "value"), [["a [bold]", "1"]])
    assert "a [bold]" in capsys.readouterr().out


def test_replies_are_json_lines_in_order_and_refusals_are_counted(capsys):
    rows = [REPLY, {"source": "b.txt", "error": "too long"}]
    assert print_replies(iter(rows), 2, as_json=True) == 1
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows


def test_a_single_reply_shows_its_reasoning_and_several_do_not(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert print_replies(iter([REPLY]), 1, as_json=False) == 0
    alone = capsys.readouterr().out
    assert "Heart [disease]" in alone and "Chest pain [at rest]." in alone
    print_replies(iter([REPLY, REPLY]), 2, as_json=False)
    assert "Chest pain" not in capsys.readouterr().out


def test_a_line_is_plain_or_begins_with_the_minutes_and_seconds(capsys):
    log = logging.getLogger("deepicd.somewhere")
    configure_logging()
    log.info("a line")
    configure_logging(has_clock=True)
    log.warning("trouble %d", 1)
    assert capsys.readouterr().err == "a line\n  0:00 trouble 1\n"


def test_details_below_a_line_and_other_loggers_are_not_printed(capsys):
    configure_logging()
    logging.getLogger("deepicd.somewhere").debug("a detail")
    logging.getLogger("library").info("chatter")
    assert capsys.readouterr().err == ""


def test_a_second_call_does_not_print_lines_twice(capsys):
    configure_logging()
    configure_logging()
    logging.getLogger("deepicd.somewhere").info("once")
    assert capsys.readouterr().err == "once\n"


def test_the_trials_of_a_sweep_are_shown_with_their_cost(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    trials = [a_trial("a1", 0.4), a_trial("b2", 0.6)]
    Outcome(as_json=False).show_trials(trials, SWEEP, budget=BUDGET)
    shown = capsys.readouterr().out
    assert shown.index("b2") < shown.index("a1"), "best first"
    assert "2 of 4 trials, 9 of at most 60 steps, 1.5 minutes" in shown
    assert "GPU-hours" not in shown
    capped = {**BUDGET, "gpu_hours": 0.75, "stage_gpu_hours": 0.25, "max_gpu_hours": 2.0}
    Outcome(as_json=False).show_trials(trials, SWEEP, budget=capped)
    assert "1.00 of 2.00 GPU-hours" in capsys.readouterr().out


def test_the_trials_of_a_sweep_as_json_hold_budget_and_decision(capsys):
    Outcome(as_json=True).show_trials([a_trial("a1", 0.4)], SWEEP, budget=BUDGET)
    shown = json.loads(capsys.readouterr().out)
    assert shown["budget"] == BUDGET and shown["decision"] is None
    assert [row["id"] for row in shown["trials"]] == ["a1"] and shown["context"] == []


def a_row(name, score, *, is_model=False, **paired):
    """One row of a context, as `pipeline.context` makes it."""
    scores = {"hierarchical_f1": score, "share_unparsable": 0.25}
    scores |= {"hierarchical_f1_low": score - 0.1, "hierarchical_f1_high": score + 0.1}
    row = {"title": name, "num_notes": 40, "scores": scores, "is_model": is_model}
    return {**row, "paired": paired or None}


def test_the_best_trial_is_shown_among_what_else_answered_the_same_notes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    context = [
        a_row("TF-IDF", 0.847, verdict="worse by 0.277 [0.200, 0.350]"),
        a_row("trial a1", 0.57, is_model=True),
    ]
    trials = [a_trial("a1", 0.57)]
    Outcome(as_json=False).show_trials(trials, SWEEP, budget=BUDGET, context=context)
    shown = " ".join(capsys.readouterr().out.split())
    assert "trial a1, on the same notes" in shown and "0.847 [0.747, 0.947]" in shown
    assert "worse by 0.277 [0.200, 0.350]" in shown and "25.0%" in shown
    Outcome(as_json=True).show_trials(trials, SWEEP, budget=BUDGET, context=context)
    assert json.loads(capsys.readouterr().out)["context"] == context


def test_a_run_ends_with_its_context_champion_and_report(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "140")
    summary = {
        "experiment": "demo",
        "context": {"test": [a_row("majority code", 0.1), a_row("best", 0.57, is_model=True)]},
        "champion": {"run": "first", "stage": "sft", "trial": None},
        "decision": {"accepted": False},
        "version": "v0001",
        "monitor": {"hierarchical_f1": 0.5, "labelled": 24},
    }
    Outcome(as_json=False).show_run(summary, tmp_path)
    shown = capsys.readouterr().out
    assert "test split" in shown and "majority code" in shown and "0.570 [0.470, 0.670]" in shown
    who = "champion: v0001, the SFT start of run first (stays: no trial won)"
    assert who in shown and "report.html" in shown
