"""The section that sets a model beside everything else that answered the same notes."""

import pytest

from deepicd.report.context import context_section, describe_context
from deepicd.report.html import page_values
from deepicd.scoring import HEADLINE


def row(name, score, *, is_model=False, difference=None, **changes):
    scores = dict.fromkeys(HEADLINE, score) | {"share_unparsable": 0.125}
    for level in HEADLINE:
        scores |= {f"{level}_low": score - 0.05, f"{level}_high": score + 0.05}
    paired = None
    if difference is not None:
        paired = {"num_notes": 1194, "hierarchical_f1": 0.570, "difference": difference}
        paired |= {"low": difference - 0.02, "high": difference + 0.02, "p": 0.002}
        paired |= {"verdict": "worse by 0.277 [0.257, 0.297]"}
    values = {"name": name, "title": name.upper(), "what": f"What {name} is.", "split": "test"}
    values |= {"num_notes": 1194, "scores": scores, "is_model": is_model, "paired": paired}
    return values | changes


ROWS = [
    row("majority", 0.1, difference=0.47),
    row("tfidf_linear", 0.847, difference=-0.277),
    row("best", 0.570, is_model=True),
    row("ceiling", 0.9, difference=-0.33, paired=None),
]


def test_a_report_says_that_the_linear_baseline_is_better():
    (sentence,) = [line for line in describe_context(ROWS) if "TFIDF" in line]
    assert sentence == (
        "BEST against TFIDF_LINEAR, on the same 1194 notes: 0.570, worse by 0.277 [0.257, 0.297] "
        "in hierarchical F1."
    )
    assert len(describe_context(ROWS)) == 2


def test_the_table_has_every_row_with_its_interval_and_the_paired_difference():
    (values,) = page_values([context_section("Test split", ROWS)])
    rows = values["tables"][0]["rows"]
    assert [cells["who"] for cells in rows] == ["MAJORITY", "TFIDF_LINEAR", "BEST", "CEILING"]
    assert rows[1]["hierarchical F1"] == "0.847 [0.797, 0.897]"
    assert rows[1]["BEST minus this, paired"] == "-0.277 [-0.297, -0.257] (1194 notes)"
    assert rows[2]["BEST minus this, paired"] is None and rows[2]["unparsable"] == "12.5%"
    assert rows[0]["what"] == "What majority is."


def test_intervals_of_few_patients_say_so_in_the_table():
    rows = [row("majority", 0.1, difference=0.47), row("best", 0.570, is_model=True)]
    rows[0]["paired"]["has_few_patients"] = rows[1]["scores"]["has_few_patients"] = True
    (values,) = page_values([context_section("Test split", rows)])
    first, last = values["tables"][0]["rows"]
    assert first["BEST minus this, paired"].startswith("0.470 [0.450, 0.490] (few patients)")
    assert first["hierarchical F1"] == "0.100 [0.050, 0.150]"
    assert last["hierarchical F1"] == "0.570 [0.520, 0.620] (few patients)"


def test_the_picture_has_a_dot_with_its_interval_for_each_row_and_a_line_at_the_ceiling():
    section = context_section("Test split", ROWS)
    dots, levels = (figure.plot for figure in section.figures)
    assert [trace.x[0] for trace in dots.data] == [0.1, 0.847, 0.570, 0.9]
    assert [trace.y[0] for trace in dots.data] == ["MAJORITY", "TFIDF_LINEAR", "BEST", "CEILING"]
    assert dots.data[1].error_x.array[0] == pytest.approx(0.05)
    assert len({trace.marker.color for trace in dots.data[:2]}) == 1
    assert dots.data[2].marker.color != dots.data[1].marker.color
    assert [shape.x0 for shape in dots.layout.shapes] == [0.9]
    assert [bars.name for bars in levels.data] == [dot.y[0] for dot in dots.data]


def test_scores_without_intervals_and_levels_are_drawn_as_far_as_they_are_known():
    bare = row("best", 0.5, is_model=True, scores={"hierarchical_f1": 0.5})
    section = context_section("Context", [bare])
    assert section.tables[0].rows[0]["hierarchical F1"] == "0.500"
    assert section.tables[0].rows[0]["unparsable"] is None
    assert section.figures[0].plot.data[0].error_x.array[0] == 0


def test_without_a_context_the_section_says_so():
    section = context_section("Context", [])
    assert section.text == ["Nothing else was scored on these notes in this run."]
