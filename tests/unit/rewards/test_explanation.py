"""Why an answer earned what it earned."""

import adversarial as cases

from deepicd.answers import FAULTS
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
