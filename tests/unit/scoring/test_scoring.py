"""Metrics against hand-worked cases, identities, scikit-learn and HiClass."""

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from hiclass.metrics import f1 as hiclass_f1
from hiclass.metrics import precision as hiclass_precision
from hiclass.metrics import recall as hiclass_recall
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from typer import Typer
from typer.testing import CliRunner

from deepicd import codes, scoring
from deepicd.cli.score import command
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.records import Prediction

# Siblings, one category, one chapter and others, so that every level can be right or wrong.
POOL = [
    "I2510",
    "I25110",
    "I252",
    "I10",
    "I214",
    "J189",
    "J690",
    "C4A9",
    "O9A111",
    "S0262XA",
    "R69",
]

pairs = st.lists(
    st.tuples(st.sampled_from(POOL), st.sampled_from([*POOL, None, "I25", "X9999", "nonsense"])),
    min_size=1,
    max_size=40,
)
valid_pairs = st.lists(
    st.tuples(st.sampled_from(POOL), st.sampled_from(POOL)), min_size=1, max_size=40
)


def build_rows(golds_and_predictions, notes_per_patient=1):
    return [
        Prediction(str(i), f"p{i // notes_per_patient}", gold, prediction)
        for i, (gold, prediction) in enumerate(golds_and_predictions)
    ]


def build_random_rows(size, seed, share_right=0.4):
    gold_rng, rng = random.Random(11), random.Random(seed)
    rows = []
    for _ in range(size):
        gold = gold_rng.choice(POOL)
        rows.append((gold, gold if rng.random() < share_right else rng.choice([*POOL, None])))
    return build_rows(rows, notes_per_patient=2)


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


def test_labels_are_frozen_by_level():
    rows = build_rows([("i25.10", "I2510"), ("O9A111", None)])
    assert scoring.gold_labels(rows) == {
        "chapter": ["IX", "XV"],
        "category": ["I25", "O9A"],
        "full": ["I2510", "O9A111"],
    }
    frozen = {"full": [*scoring.gold_labels(rows)["full"], "J189", "K7030"]}
    assert scoring.score_predictions(rows, labels=frozen)["macro_f1_full"] == pytest.approx(1 / 4)
    assert scoring.score_predictions(rows, labels=frozen)["macro_f1_chapter"] == pytest.approx(0.5)


def test_intervals_hold_the_point_and_depend_on_the_seed_alone():
    rows = build_random_rows(200, seed=1)
    scores = scoring.score_predictions(rows, num_bootstrap=200, seed=3)
    names = [n for n in scores if not n.startswith("num_") and not n.endswith(("_low", "_high"))]
    assert len(names) == 13
    for name in names:
        assert 0 <= scores[f"{name}_low"] <= scores[name] <= scores[f"{name}_high"] <= 1
    assert scores == scoring.score_predictions(rows, num_bootstrap=200, seed=3)
    assert scores != scoring.score_predictions(rows, num_bootstrap=200, seed=4)
    wide = scoring.score_predictions(rows, num_bootstrap=200, seed=3, confidence=0.99)
    assert wide["hierarchical_f1_low"] < scores["hierarchical_f1_low"]


def test_notes_of_one_patient_are_drawn_together():
    # All notes of a patient agree, so that there are 4 independent facts however many notes.
    rows = [
        Prediction(f"{p}-{n}", f"p{p}", "I10", "I10" if p % 2 else None)
        for p in range(4)
        for n in range(50)
    ]
    by_patient = scoring.score_predictions(rows, num_bootstrap=400)
    by_note = scoring.score_predictions(
        [Prediction(r.note_id, r.note_id, r.gold, r.prediction) for r in rows], num_bootstrap=400
    )
    assert by_patient["accuracy_full_high"] - by_patient["accuracy_full_low"] > 0.7
    assert by_note["accuracy_full_high"] - by_note["accuracy_full_low"] < 0.2


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, covered = np.random.default_rng(5), 0
    for trial in range(50):
        rows = build_rows([("I10", "I10" if hit else None) for hit in rng.random(120) < 0.6])
        scores = scoring.score_predictions(rows, num_bootstrap=60, seed=trial, confidence=0.9)
        covered += scores["accuracy_full_low"] <= 0.6 <= scores["accuracy_full_high"]
    assert 0.75 <= covered / 50 <= 0.97


@pytest.mark.parametrize("metric", ["hierarchical_f1", "macro_f1_category"])
def test_replicates_agree_with_the_intervals_of_score_predictions(metric):
    rows = build_random_rows(60, 1)
    scores = scoring.score_predictions(rows, num_bootstrap=1000)
    expected = (scores[f"{metric}_low"], scores[f"{metric}_high"])
    assert scoring.interval(rows, metric) == pytest.approx(expected, abs=1e-12)


def test_replicates_of_several_models_are_paired():
    one, other = build_random_rows(60, 1), build_random_rows(60, 2)
    columns = scoring.replicate([one, list(reversed(other)), one], num_bootstrap=300)
    assert columns.shape == (300, 3) and (columns[:, 0] == columns[:, 2]).all()
    low, high = np.quantile(columns[:, 0] - columns[:, 1], [0.025, 0.975])
    paired = scoring.paired_bootstrap(one, other, num_bootstrap=300)
    assert (low, high) == pytest.approx((paired["low"], paired["high"]), abs=1e-12)
    with pytest.raises(DataError, match="missing on the other side"):
        scoring.replicate([one, build_random_rows(59, 2)])


def test_predictions_that_are_written_are_read_again(tmp_path):
    rows = build_random_rows(5, 1)
    (tmp_path / "rows.jsonl").write_text(scoring.format_predictions(rows))
    assert scoring.read_predictions(tmp_path / "rows.jsonl") == rows


def test_paired_comparison_sees_a_difference_and_none():
    champion = build_random_rows(400, seed=1, share_right=0.3)
    candidate = build_random_rows(400, seed=2, share_right=0.6)
    better = scoring.paired_bootstrap(candidate, champion, num_bootstrap=300)
    assert better["difference"] == pytest.approx(
        scoring.hierarchical_f1(candidate) - scoring.hierarchical_f1(champion)
    )
    assert 0 < better["low"] < better["difference"] < better["high"]
    assert better["p"] == pytest.approx(2 / 301)
    worse = scoring.paired_bootstrap(champion, candidate, num_bootstrap=300)
    assert worse["difference"] == pytest.approx(-better["difference"])
    assert worse["low"] == pytest.approx(-better["high"])
    same = scoring.paired_bootstrap(champion, list(reversed(champion)), num_bootstrap=50)
    assert same == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_a_comparison_refuses_different_notes():
    rows = build_rows([("I10", "I10"), ("J189", None)])
    with pytest.raises(DataError, match="same notes; got 1 and 2"):
        scoring.paired_bootstrap(rows[:1], rows)
    with pytest.raises(DataError, match="note 1 is missing on the other side"):
        scoring.paired_bootstrap(rows, rows[:1])
    with pytest.raises(DataError, match=r"note 1 .* another gold label"):
        scoring.paired_bootstrap(rows, [rows[0], Prediction("1", "p1", "J690", None)])
    with pytest.raises(DataError, match="a note id occurs twice"):
        scoring.paired_bootstrap([rows[0], rows[0]], rows)


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


def test_thirds_go_by_frequency_in_training():
    training = ["I10"] * 9 + ["J18.9"] * 5 + ["R69"]
    rows = build_rows([("I10", "I10"), ("I10", None), ("J189", "J189"), ("R69", "I10")])
    thirds = scoring.score_thirds(rows, training)
    assert list(thirds) == ["head", "middle", "tail"]
    # I10: 1 hit, 2 gold, 2 predicted
    assert thirds["head"] == {
        "num_labels": 1,
        "num_notes": 2,
        "macro_f1_full": pytest.approx(0.5),
        "accuracy_full": pytest.approx(0.5),
    }
    assert thirds["middle"]["macro_f1_full"] == 1
    assert thirds["tail"]["accuracy_full"] == 0
    assert list(scoring.score_thirds(rows[:1], training)) == ["head"]


def test_chapters_come_in_order_with_their_own_scores():
    rows = build_rows([("R69", "R69"), ("I2510", "I252"), ("I10", "R69"), ("J189", None)])
    table = scoring.score_chapters(rows)
    assert [row["chapter"] for row in table] == ["IX", "X", "XVIII"]
    assert table[0]["title"] == "Diseases of the circulatory system"
    assert (table[0]["num_notes"], table[0]["accuracy_category"]) == (2, 0.5)
    assert table[0]["f1"] == pytest.approx(2 / 3)
    assert table[2]["f1"] == pytest.approx(2 / 3)
    assert (table[2]["accuracy_full"], table[0]["accuracy_full"]) == (1, 0)


def test_small_subgroups_are_left_out():
    rows = build_rows([("I10", "I10")] * 40)
    groups = {str(i): "F" if i < 31 else "M" if i < 39 else None for i in range(39)}
    scored = scoring.score_groups(rows, groups)
    assert {name: scores["num_notes"] for name, scores in scored.items()} == {"F": 31}
    assert list(scoring.score_groups(rows, groups, min_notes=1)) == ["F", "M"]


ROWS = [
    {"patient_id": 1, "gold": "I25.10", "prediction": "i25.9", "note_id": "n1"},
    {"patient_id": "b", "gold": "J18.9", "prediction": None, "reason": "truncated"},
    {"patient_id": "b", "gold": "J18.9", "prediction": ["J18.9"], "reason": 4},
]


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


def test_prediction_files_are_read_as_written(tmp_path):
    rows = scoring.read_predictions(write(tmp_path / "p.jsonl", ROWS))
    assert rows == [
        Prediction("n1", "1", "I2510", "I259"),
        Prediction("2", "b", "J189", None, "truncated"),
        Prediction("3", "b", "J189", None),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", r"p.jsonl:2: not a JSON object: '\{not json'"),
        ("[1, 2]", r"p.jsonl:2: a row needs patient_id, gold and prediction; got '\[1, 2\]'"),
        ('{"gold": "I10", "prediction": null}', "p.jsonl:2: a row needs"),
        (
            '{"patient_id": 1, "gold": ["I10"], "prediction": 1}',
            r"p.jsonl:2: gold must be one billable .* got \['I10'\]",
        ),
        ('{"patient_id": 1, "gold": "I25", "prediction": 1}', "gold must be one billable"),
    ],
)
def test_a_broken_line_is_refused_with_its_place(tmp_path, line, message):
    path = write(tmp_path / "p.jsonl", ROWS[:1])
    path.write_text(path.read_text().strip() + "\n" + line)
    with pytest.raises(DataError, match=message):
        scoring.read_predictions(path)


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(MissingError, match="no predictions file at"):
        scoring.read_predictions(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="holds no predictions"):
        scoring.read_predictions(write(tmp_path / "empty.jsonl", []))


def run(*arguments):
    app = Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command_prints_every_promised_key(tmp_path):
    path = write(tmp_path / "p.jsonl", ROWS)
    scores = json.loads(run(path, "--json", "--num-bootstrap", "20").stdout)
    promised = [
        *(f"{metric}_{level}" for metric in ("accuracy", "macro_f1") for level in scoring.LEVELS),
        *(f"hierarchical_{name}" for name in ("precision", "recall", "f1")),
        "share_unparsable",
    ]
    for name in promised:
        assert {name, f"{name}_low", f"{name}_high"} <= set(scores)
    assert scores["hierarchical_f1"] == pytest.approx(2 * 2 / (3 + 9))


def test_command_compares_two_files(tmp_path):
    path = write(tmp_path / "p.jsonl", ROWS)
    other = write(tmp_path / "o.jsonl", [ROWS[0] | {"prediction": "I25.10"}, *ROWS[1:]])
    result = json.loads(run(path, "--against", other, "--json", "--num-bootstrap", 20).stdout)
    assert result["paired"]["difference"] < 0
    assert result["against"]["accuracy_full"] == pytest.approx(1 / 3)
    shown = run(path, "--against", other, "--num-bootstrap", 20).stdout
    assert "hierarchical F1, paired: difference -0." in shown
    assert "num_notes                3   against 3" in shown
    bare = json.loads(run(path, "--against", other, "--json", "--num-bootstrap", 0).stdout)
    assert "paired" not in bare and "accuracy_full_low" not in bare["against"]
    assert "accuracy_full            0.0000\n" in run(path, "--num-bootstrap", 0).stdout


# Calibration


def test_calibration_errors_by_hand():
    # two bins: 0.5 and 0.7 right once in two (mean 0.6), 0.9 right twice in two
    confidences, right = [0.5, 0.7, 0.9, 0.9], [True, False, True, True]
    found = scoring.expected_calibration_error(confidences, right, num_bins=2)
    assert found == pytest.approx((abs(1.2 - 1) + abs(1.8 - 2)) / 4)
    assert scoring.expected_calibration_error([1.0] * 4, [True, True, True, False]) == 0.25
    assert scoring.expected_calibration_error([0.0], [False]) == 0.0


answers = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(answers, st.randoms(), st.integers(1, 12))
def test_a_calibration_error_knows_no_order_and_lies_above_the_overall_gap(rows, rng, num_bins):
    shuffled = rng.sample(rows, len(rows))
    found = [
        scoring.expected_calibration_error(*zip(*given, strict=True), num_bins=num_bins)
        for given in (rows, shuffled)
    ]
    assert found[0] == pytest.approx(found[1]) and 0 <= found[0] <= 1
    overall = abs(np.mean([c for c, _ in rows]) - np.mean([right for _, right in rows]))
    assert found[0] >= overall - 1e-9


def test_confidences_that_mean_what_they_say_have_almost_no_error():
    rng = np.random.default_rng(1)
    confidences = rng.integers(0, 10, 20_000) / 9  # as of nine answers
    right = rng.random(20_000) < confidences
    assert scoring.expected_calibration_error(confidences, right) < 0.015
    assert scoring.expected_calibration_error(confidences, right[::-1]) > 0.2


@pytest.mark.parametrize(
    ("confidences", "right", "match"),
    [
        ([], [], "at least one"),
        ([0.5], [True, False], "got 1 and 2"),
        ([50], [True], "percentages"),
    ],
)
def test_what_is_no_confidence_has_no_calibration_error(confidences, right, match):
    with pytest.raises(DataError, match=match):
        scoring.expected_calibration_error(confidences, right)


def test_agreement_counts_every_answer_at_every_level():
    others = ["I2510", "I259", "J189", None]
    found = scoring.agreement("I2510", others)
    assert found == {"code": 2 / 5, "category": 3 / 5, "chapter": 3 / 5}
    assert scoring.agreement("I2510", []) == dict.fromkeys(found, 1.0)
    assert scoring.count_shares(["J189", None, "I2510", "J189"]) == {"J189": 0.5, "I2510": 0.25}


def sampled(*rows: tuple[float, bool], patients: int = 10**6) -> list[Prediction]:
    """Answers of (share, whether right); a wrong one is of another chapter."""
    return [
        Prediction(
            f"n{i}", f"p{i % patients}", "I2510", "I2510" if is_right else "J189",
            shares=dict.fromkeys(("code", "category", "chapter"), share),
        )
        for i, (share, is_right) in enumerate(rows)
    ]  # fmt: skip


def test_a_calibration_by_hand():
    rows = [(0.5, False)] * 9 + [(0.5, True)] + [(1.0, True)] * 40
    found = scoring.fit_calibration(sampled(*rows))
    rate = 41 / 50
    assert found.curves["code"].shares == (0.5, 1.0)
    assert found.curves["code"].accuracies == pytest.approx([(1 + rate) / 11, (40 + rate) / 41])
    assert scoring.calibrate(found.curves["chapter"], 0.75) == pytest.approx(
        np.mean(found.curves["code"].accuracies)
    )
    assert scoring.calibrate(found.curves["code"], 0.1) == found.curves["code"].accuracies[0]
    assert found.num_notes == 50 and found.errors["code"] < found.errors["code_raw"]


curves = st.lists(
    st.tuples(st.sampled_from([i / 9 for i in range(1, 10)]), st.booleans()),
    min_size=50,
    max_size=90,
)


@given(curves, st.integers(1, 60))
def test_a_calibration_never_falls_and_is_never_certain(rows, patients):
    found = scoring.fit_calibration(sampled(*rows, patients=patients))
    is_mixed = len({right for _, right in rows}) == 2
    for curve in found.curves.values():
        assert list(curve.accuracies) == sorted(curve.accuracies)
        assert all(0 < p < 1 for p in curve.accuracies) is is_mixed
    assert set(found.errors) == {
        f"{level}{kind}" for level in ("code", "category", "chapter") for kind in ("", "_raw")
    }


def test_overconfident_answers_are_put_right_on_other_notes():
    rng = np.random.default_rng(2)
    shares = rng.integers(3, 10, 4000) / 9
    right = rng.random(4000) < shares**3
    rows = list(zip(shares.tolist(), right.tolist(), strict=True))
    found = scoring.fit_calibration(sampled(*rows[:2000]))
    told = [scoring.calibrate(found.curves["code"], share) for share, _ in rows[2000:]]
    assert scoring.expected_calibration_error(told, right[2000:]) < 0.04
    assert scoring.expected_calibration_error(shares[2000:], right[2000:]) > 0.15


def test_too_few_usable_answers_calibrate_nothing():
    rows = [*sampled(*[(0.5, True)] * 49), Prediction("x", "x", "I2510", None)]
    with pytest.raises(DataError, match="got 49 of 50"):
        scoring.fit_calibration(rows)


def test_what_is_known_of_an_answer_survives_its_file(tmp_path):
    (row,) = sampled((0.5, True))
    full = replace(row, num_tokens=7, groups={"sex": "F"})
    path = tmp_path / "rows.jsonl"
    path.write_text(scoring.format_predictions([full, Prediction("a", "b", "I2510", None)]))
    read = [json.loads(line) for line in path.read_text().splitlines()]
    assert read[0]["shares"]["code"] == 0.5 and read[0]["num_tokens"] == 7
    assert set(read[1]) == {"note_id", "patient_id", "gold", "prediction", "reason"}
    assert [found.prediction for found in scoring.read_predictions(path)] == ["I2510", None]
