"""Why an answer earned what it earned."""

import adversarial as cases
from adversarial import billable
from hypothesis import given
from hypothesis import strategies as st

from deepicd import codes
from deepicd.answers import FAULTS
from deepicd.rewards import PRESETS
from deepicd.rewards.explanation import FAULT_TEXTS, compare_paths, score_text


def test_every_fault_has_an_explanation():
    assert set(FAULT_TEXTS) == set(FAULTS)


def test_paths_are_shown_side_by_side():
    lines = compare_paths("I25.2", "I25.10")
    assert [line[6:8] for line in lines[:-1]] == ["= ", "= ", "= ", "  ", "  "]
    assert lines[-1] == "path    3 of 5 nodes of the gold path are right"


def test_a_whole_text_needs_no_prefill():
    whole = score_text("<think>" + cases.HONEST["exact"], "I25.10")
    assert whole.score.total == score_text(cases.HONEST["exact"], "I25.10").score.total == 1


@given(billable, billable)
def test_as_many_nodes_are_marked_as_two_paths_share(code, gold):
    lines = compare_paths(code, gold)
    depth = codes.shared_depth(codes.path(code), codes.path(gold))
    assert sum(line.startswith("path  = ") for line in lines) == depth
    assert len(lines) == max(len(codes.path(code)), len(codes.path(gold))) + 1
    assert lines[-1].startswith(f"path    {depth} of {len(codes.path(gold))} nodes")


@given(st.sampled_from(sorted(cases.HACKS.values())), billable, st.sampled_from(sorted(PRESETS)))
def test_an_explanation_names_every_fault_and_every_component_and_ends_in_the_total(
    text, gold, preset
):
    explanation = score_text(text, gold, preset=preset)
    answer, score = explanation.answer, explanation.score
    named = [line.split()[1].rstrip(":") for line in explanation.lines if line[:5] == "fault"]
    assert named == list(answer.faults)
    shown = [line.split()[1].rstrip(":") for line in explanation.lines if line[:6] == "reward"]
    assert shown == list(score.components) == list(explanation.as_dict()["parts"])
    assert explanation.lines[-1] == explanation.summary[-1] == f"total   {score.total:.4g}"
    assert len(explanation.summary) == len(score.components) + 1
