"""Metrics against hand-worked cases, identities, scikit-learn and HiClass."""

import numpy as np
import pytest
from hiclass.metrics import f1 as hiclass_f1
from hiclass.metrics import precision as hiclass_precision
from hiclass.metrics import recall as hiclass_recall
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_rows import POOL, build_rows
from sklearn.metrics import f1_score

from deepicd import codes, scoring
from deepicd.errors import ConfigError, DataError

pairs = st.lists(
    st.tuples(st.sampled_from(POOL), st.sampled_from([*POOL, None, "I25", "X9999", "nonsense"])),
    min_size=1,
    max_size=40,
)

valid_pairs = st.lists(
    st.tuples(st.sampled_from(POOL), st.sampled_from(POOL)), min_size=1, max_size=40
)


def level_names(code, level):
    """Class of a usable code at a level, else None, computed apart from the room under test."""
    if code is None or not codes.is_billable(code):
        return None
    return {"chapter": codes.chapter(code), "category": code[:3], "full": code}[level]


def test_a_hand_worked_split():
    # right; same category; same chapter; missing; other chapter
    rows = build_rows(
        [("I2510", "I2510"), ("I2510", "I252"), ("I10", "I214"), ("J189", None), ("J690", "R69")]
    )
    scores = scoring.score_predictions(rows)
    assert scores["accuracy_full"] == pytest.approx(1 / 5)
    assert scores["accuracy_category"] == pytest.approx(2 / 5)
    assert scores["accuracy_chapter"] == pytest.approx(3 / 5)
    assert scores["share_unparsable"] == pytest.approx(1 / 5)
    # full: I2510 has 1 hit, 2 gold, 1 predicted; I10, J189, J690 have none
    assert scores["macro_f1_full"] == pytest.approx((2 / 3) / 4)
    # category: I25 2 hits of 2 gold and 2 predicted; I10, J18, J69 none
    assert scores["macro_f1_category"] == pytest.approx(1 / 4)
    # chapter: IX 3 hits, 3 gold, 3 predicted; X none
    assert scores["macro_f1_chapter"] == pytest.approx(1 / 2)
    # shared nodes 3 + 2 + 1 + 0 + 0, predicted 4 x 3, gold 5 x 3
    assert scores["hierarchical_precision"] == pytest.approx(6 / 12)
    assert scores["hierarchical_recall"] == pytest.approx(6 / 15)
    assert scores["hierarchical_f1"] == pytest.approx(12 / 27)
    assert scores["micro_f1_full"] == pytest.approx(2 / 9)
    assert scoring.hierarchical_f1(rows) == scores["hierarchical_f1"]
    assert (scores["num_notes"], scores["num_patients"]) == (5, 5)


@settings(max_examples=8)
@given(pairs)
def test_macro_and_micro_f1_are_scikit_learns_for_all_three_label_sets(golds_and_predictions):
    rows = build_rows(golds_and_predictions)
    golds = [row.gold for row in rows]
    usable = [p for _, p in golds_and_predictions if p is not None and codes.is_billable(p)]
    together = scoring.labels_of([*golds, *usable])
    for labels in (None, together, scoring.labels_of([*POOL, "K7030"])):
        scores = scoring.score_predictions(rows, labels=labels)
        for level in scoring.LEVELS:
            gold = [level_names(code, level) for code in golds]
            predicted = [level_names(row.prediction, level) or "NIL" for row in rows]
            listed = (labels or scoring.gold_labels(rows))[level]
            oracle = f1_score(gold, predicted, labels=listed, average="macro", zero_division=0)
            assert scores[f"macro_f1_{level}"] == pytest.approx(oracle)
            oracle = f1_score(gold, predicted, labels=together[level], average="micro")
            assert scores[f"micro_f1_{level}"] == pytest.approx(oracle)


@settings(max_examples=25)
@given(valid_pairs)
def test_hierarchical_scores_are_hiclass_on_level_tagged_nodes(golds_and_predictions):
    def tag(code):
        return [f"{level}:{level_names(code, level)}" for level in scoring.LEVELS]

    gold = np.array([tag(gold) for gold, _ in golds_and_predictions])
    predicted = np.array([tag(prediction) for _, prediction in golds_and_predictions])
    scores = scoring.score_predictions(build_rows(golds_and_predictions))
    for name, oracle in [
        ("precision", hiclass_precision),
        ("recall", hiclass_recall),
        ("f1", hiclass_f1),
    ]:
        assert scores[f"hierarchical_{name}"] == pytest.approx(oracle(gold, predicted))


@given(valid_pairs)
def test_identities_without_nil(golds_and_predictions):
    scores = scoring.score_predictions(build_rows(golds_and_predictions))
    mean = sum(scores[f"accuracy_{level}"] for level in scoring.LEVELS) / 3
    for name in ("precision", "recall", "f1"):
        assert scores[f"hierarchical_{name}"] == pytest.approx(mean)
    assert scores["accuracy_full"] <= scores["accuracy_category"] <= scores["accuracy_chapter"]
    for level in scoring.LEVELS:
        assert scores[f"micro_f1_{level}"] == pytest.approx(scores[f"accuracy_{level}"])
    assert scores["share_unparsable"] == 0


@given(pairs, st.randoms(use_true_random=False))
def test_order_of_rows_and_spelling_do_not_matter(golds_and_predictions, rng):
    spelled = [
        (codes.dotted(gold).lower(), codes.dotted(prediction) if prediction else prediction)
        for gold, prediction in golds_and_predictions
    ]
    rng.shuffle(spelled)
    expected = scoring.score_predictions(build_rows(golds_and_predictions))
    assert scoring.score_predictions(build_rows(spelled)) == pytest.approx(expected)


@pytest.mark.parametrize("nil", [None, "", "I25", "I2599", "not sure", "IX", "I10 I11.0", 7])
def test_whatever_is_not_a_usable_code_is_nil_and_never_a_class(nil):
    rows = build_rows([("I10", nil), ("A009", nil)])
    scores = scoring.score_predictions(rows)
    assert scores["share_unparsable"] == 1
    assert {v for k, v in scores.items() if k.startswith(("acc", "m", "h"))} == {0.0}


@pytest.mark.parametrize("gold", ["I25", "X9999", "", "['I10']"])
def test_a_wrong_gold_label_is_an_error_and_not_a_miss(gold):
    with pytest.raises(DataError, match="gold label of note 0 is not a billable"):
        scoring.score_predictions(build_rows([(gold, "I10")]))
    with pytest.raises(DataError, match="is not a billable ICD-10-CM code"):
        scoring.labels_of([gold])


def test_wrong_options_are_refused():
    rows = build_rows([("I10", "I10")])
    with pytest.raises(DataError, match="nothing to score"):
        scoring.score_predictions([])
    with pytest.raises(DataError, match="unknown level 'block'"):
        scoring.score_predictions(rows, labels={"block": ["I10-I1A"]})
    with pytest.raises(DataError, match="label list of level 'full' is empty"):
        scoring.score_predictions(rows, labels={"full": []})
    with pytest.raises(ConfigError, match=r"num_bootstrap must be at least 1.*got -1"):
        scoring.score_predictions(rows, num_bootstrap=-1)
    with pytest.raises(ConfigError, match=r"between 0 and 1.*got 95"):
        scoring.score_predictions(rows, num_bootstrap=2, confidence=95)


SCORES = [
    *(
        f"{kind}_{level}"
        for kind in ("accuracy", "micro_f1", "macro_f1")
        for level in scoring.LEVELS
    ),
    *(f"hierarchical_{name}" for name in ("precision", "recall", "f1")),
    "share_unparsable",
]


@given(pairs, st.integers(2, 4))
def test_scores_do_not_change_when_every_note_is_there_several_times(golds_and_predictions, times):
    once = scoring.score_predictions(build_rows(golds_and_predictions))
    often = scoring.score_predictions(build_rows(golds_and_predictions * times))
    for name in SCORES:
        assert often[name] == pytest.approx(once[name])
    assert often["num_notes"] == times * once["num_notes"]


@given(pairs)
def test_every_score_is_a_share_and_hierarchical_f1_is_a_harmonic_mean(golds_and_predictions):
    scores = scoring.score_predictions(build_rows(golds_and_predictions))
    assert all(-1e-12 <= scores[name] <= 1 + 1e-12 for name in SCORES)
    precision, recall = scores["hierarchical_precision"], scores["hierarchical_recall"]
    mean = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    assert scores["hierarchical_f1"] == pytest.approx(mean)
    assert recall <= precision + 1e-12 or scores["share_unparsable"] == 0


@given(pairs, st.data())
def test_putting_one_answer_right_never_lowers_accuracy_or_hierarchical_f1(rows, data):
    index = data.draw(st.integers(0, len(rows) - 1))
    better = [*rows[:index], (rows[index][0], rows[index][0]), *rows[index + 1 :]]
    before = scoring.score_predictions(build_rows(rows))
    after = scoring.score_predictions(build_rows(better))
    for name in (*(f"accuracy_{level}" for level in scoring.LEVELS), "hierarchical_f1"):
        assert after[name] >= before[name] - 1e-12
    assert after["share_unparsable"] <= before["share_unparsable"]


@given(pairs)
def test_leaving_an_answer_out_costs_recall_and_never_precision(golds_and_predictions):
    """Answers that are wrong even in their chapter are withdrawn: what is left is more precise."""
    silent = [
        (gold, code if level_names(code, "chapter") == codes.chapter(gold) else None)
        for gold, code in golds_and_predictions
    ]
    before = scoring.score_predictions(build_rows(golds_and_predictions))
    after = scoring.score_predictions(build_rows(silent))
    assert after["hierarchical_precision"] >= before["hierarchical_precision"] - 1e-12
    assert after["hierarchical_recall"] == pytest.approx(before["hierarchical_recall"])
    assert after["accuracy_full"] == pytest.approx(before["accuracy_full"])


def test_a_perfect_and_an_empty_model_have_the_ends_of_the_scale():
    perfect = scoring.score_predictions(build_rows([(code, code) for code in POOL]))
    silent = scoring.score_predictions(build_rows([(code, None) for code in POOL]))
    assert {perfect[name] for name in SCORES} == {0.0, 1.0}
    assert perfect["share_unparsable"] == 0 and silent["share_unparsable"] == 1
    assert all(silent[name] == 0 for name in SCORES if name != "share_unparsable")


@pytest.mark.parametrize(
    ("prediction", "shared"),
    [("I2510", 3), ("I25110", 2), ("I252", 2), ("I214", 1), ("I10", 1), ("J189", 0), (None, 0)],
)
def test_one_answer_shares_the_nodes_that_its_path_has_in_common_with_the_gold(prediction, shared):
    scores = scoring.score_predictions(build_rows([("I2510", prediction)]))
    assert scores["hierarchical_recall"] == pytest.approx(shared / 3)
    predicted = 3 if prediction else 0
    assert scores["hierarchical_f1"] == pytest.approx(2 * shared / (3 + predicted))
