"""Who wins a sweep: hand-worked rankings, and what must hold for any."""

import json
import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepicd.config import parse_experiment
from deepicd.errors import ConfigError, SweepError
from deepicd.paths import trial_folder, validation_file
from deepicd.records import Checkpoint, Prediction, Trial
from deepicd.scoring import format_predictions, score_predictions
from deepicd.sweeps.results.decision import (
    decide,
    rank_trials,
    read_decision,
    write_decision,
)
from deepicd.sweeps.results.ranking import is_fresh

RATE = "training.learning_rate"


def experiment(**sweep):
    return parse_experiment({"seed": 1, "sweep": sweep}, "here")


def write_trial(sweep, name, hits, *, rate, seed=None, step=4):
    """A trial whose validation answers are right (`hits`) or of another chapter; its hierarchical
    F1 is the share that is right."""
    rows = [
        Prediction(f"n{at}", f"p{at}", "I10", "I10" if hit else "J189")
        for at, hit in enumerate(hits)
    ]
    file = validation_file(trial_folder(sweep, name), step)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(format_predictions(rows))
    params = {RATE: rate} if seed is None else {RATE: rate, "seed": seed}
    return trial_of(name, params, score_predictions(rows), step)


def trial_of(name, params, scores, step=4):
    return Trial(name, params, "finished", step, scores, Checkpoint("folder", step))


def hits(number, of=10):
    return [at < number for at in range(of)]


def test_the_best_mean_over_seeds_wins_and_its_best_trial_is_promoted(tmp_path):
    trials = [
        write_trial(tmp_path, "a1", hits(9), rate=0.1, seed=1),
        write_trial(tmp_path, "a2", hits(1), rate=0.1, seed=2),
        write_trial(tmp_path, "b1", hits(6), rate=0.2, seed=1),
        write_trial(tmp_path, "b2", hits(8), rate=0.2, seed=2),
    ]
    decision = decide(trials, experiment(num_seeds=2), sweep=tmp_path)
    first, second = decision.configurations
    assert decision.winner == "b2" and not decision.is_confirmed
    assert first.params == {RATE: 0.2} and first.trials == ["b1", "b2"] and first.seeds == [1, 2]
    assert (first.mean, second.mean) == (pytest.approx(0.7), pytest.approx(0.5))
    assert first.scores == [0.6, 0.8] and first.low < 0.7 < first.high
    assert first.difference == pytest.approx(0.2) == -second.difference
    assert (first.difference_low, first.difference_high) == pytest.approx(
        (-second.difference_high, -second.difference_low)
    )
    assert first.p_best + second.p_best == pytest.approx(1) and first.p_best > 0.5
    assert "over 2 seeds; +0.200" in decision.why


def test_a_confirmed_configuration_is_judged_by_its_fresh_seeds_alone(tmp_path):
    trials = [
        write_trial(tmp_path, "lucky", hits(9), rate=0.1, seed=1),
        write_trial(tmp_path, "solid", hits(8), rate=0.2, seed=1),
        write_trial(tmp_path, "third", hits(7), rate=0.3, seed=1),
        write_trial(tmp_path, "lucky2", hits(4), rate=0.1, seed=2),
        write_trial(tmp_path, "lucky3", hits(5), rate=0.1, seed=3),
        write_trial(tmp_path, "solid2", hits(6), rate=0.2, seed=2),
        write_trial(tmp_path, "solid3", hits(7), rate=0.2, seed=3),
    ]
    decision = decide(trials, experiment(confirm_top=2), sweep=tmp_path)
    solid, lucky, third = decision.configurations
    assert decision.winner == "solid3" and decision.is_confirmed
    assert solid.trials == ["solid2", "solid3"] and solid.mean == pytest.approx(0.65)
    assert lucky.mean == pytest.approx(0.45) and lucky.proposed_mean == pytest.approx(0.9)
    assert third.mean == pytest.approx(0.7) and third.difference is None is third.p_best
    assert "2 fresh seeds (0.800 by the seeds it was chosen by)" in decision.why
    assert [is_fresh(trial.params, experiment(confirm_top=2)) for trial in trials] == [
        *([False] * 3),
        *([True] * 4),
    ]


def test_a_searched_seed_is_no_confirmation():
    assert not is_fresh({"seed": 9}, experiment())


def test_the_first_of_equals_wins(tmp_path):
    trials = [
        write_trial(tmp_path, name, hits(10, 20), rate=rate) for rate, name in enumerate("ab")
    ]
    decision = decide(trials, experiment(), sweep=tmp_path)
    assert decision.winner == "a" and decision.configurations[0].p_best == 0.5
    assert decision.configurations[0].difference_low == 0 and "cannot tell apart" in decision.why
    assert decide(trials[::-1], experiment(), sweep=tmp_path).winner == "b"


def test_the_order_of_trials_does_not_matter(tmp_path):
    rng = random.Random(1)
    trials = [
        write_trial(tmp_path, name, rng.sample(hits(number, 40), 40), rate=rate, seed=seed)
        for name, number, rate, seed in (
            *(("a1", 20, 0.1, 1), ("a2", 24, 0.1, 2)),
            *(("b1", 23, 0.2, 1), ("b2", 25, 0.2, 2), ("c1", 30, 0.3, 1)),
        )
    ]
    settings_ = experiment(num_seeds=2)
    expected = decide(trials, settings_, sweep=tmp_path)
    for order in list(permutations(trials))[::17]:
        found = decide(order, settings_, sweep=tmp_path)
        assert found.winner == expected.winner == "c1"
        for one, other in zip(found.configurations, expected.configurations, strict=True):
            assert one.params == other.params and one.p_best == other.p_best
            assert (one.mean, one.low, one.high) == pytest.approx(
                (other.mean, other.low, other.high)
            )


answers = st.lists(st.booleans(), min_size=20, max_size=40)


@pytest.mark.parametrize(("num_patients", "is_few"), [(1, True), (19, True), (20, False)])
def test_a_decision_by_few_patients_is_wide_and_says_so(tmp_path, num_patients, is_few):
    trials = [
        write_trial(tmp_path, "good", [True] * num_patients, rate=0.1),
        write_trial(tmp_path, "bad", [False] * num_patients, rate=0.2),
    ]
    decision = decide(trials, experiment(), sweep=tmp_path)
    first, last = decision.configurations
    assert (decision.num_patients, decision.has_few_patients) == (num_patients, is_few)
    for row in (first, last):
        assert (row.low < row.high) == is_few
        assert (row.difference_low < row.difference_high) == is_few
    words = f"{num_patients} patients are few, so intervals are widened"
    assert (words in decision.why) == is_few
    assert ("cannot tell apart" in decision.why) == (num_patients == 1)
    write_decision(decision, tmp_path / "decision.json")
    assert json.loads((tmp_path / "decision.json").read_text())["has_few_patients"] is is_few


@settings(max_examples=25)
@given(answers, st.data())
def test_what_is_better_on_every_note_always_wins(tmp_path_factory, weak, data):
    sweep = tmp_path_factory.mktemp("sweep")
    strong = [hit or data.draw(st.booleans()) for hit in weak]
    if strong == weak:
        strong, weak = [True] * len(weak), [False] * len(weak)
    trials = [
        write_trial(sweep, "weak", weak, rate=0.1),
        write_trial(sweep, "strong", strong, rate=0.2),
    ]
    decision = decide(trials, experiment(), sweep=sweep)
    first, _ = decision.configurations
    assert decision.winner == "strong" and first.p_best >= 0.5 and first.difference_low >= 0


@pytest.mark.parametrize("metric", ["hierarchical_f1", "macro_f1_chapter"])
def test_the_metric_of_the_sweep_is_ranked(tmp_path, metric):
    trials = [write_trial(tmp_path, name, hits(n), rate=n) for n, name in enumerate("abc", start=6)]
    decision = decide(trials, experiment(metric=metric), sweep=tmp_path)
    row = decision.configurations[0]
    assert decision.metric == metric and decision.winner == "c"
    assert row.low <= row.mean == trials[2].validation[metric] <= row.high


def test_without_predictions_there_are_point_values_and_the_sentence_says_so(tmp_path):
    trials = [
        trial_of("old", {RATE: 0.1}, {"hierarchical_f1": 0.6}),
        write_trial(tmp_path, "new", hits(5), rate=0.2),
        write_trial(tmp_path, "other", hits(4, of=9), rate=0.3),  # other notes
    ]
    decision = decide(trials, experiment(), sweep=tmp_path)
    first, second, third = decision.configurations
    assert decision.winner == "old" and first.difference == pytest.approx(0.1)
    assert first.low is first.difference_low is first.p_best is None
    assert second.low is not None and second.difference_low is None is third.low
    assert "2 of the trials have no predictions of these notes" in decision.why


def test_behind_the_winner_stand_the_best_trials_of_the_other_configurations(tmp_path):
    rates = {"a": (5, 0.1), "b": (9, 0.2), "c": (7, 0.3)}
    trials = [write_trial(tmp_path, n, hits(k), rate=rate) for n, (k, rate) in rates.items()]
    decision = decide(trials, experiment(), sweep=tmp_path)
    assert [trial.id for trial in rank_trials(trials, decision)] == ["b", "c", "a"]


def test_a_trial_without_a_checkpoint_is_no_candidate(tmp_path):
    nothing = Trial("a", {RATE: 1}, "failed", 0, {}, None)
    decision = decide([nothing], experiment(), sweep=tmp_path)
    assert decision.winner is None
    with pytest.raises(SweepError, match="no trial reached a validation"):
        rank_trials([nothing], decision)
    trial = write_trial(tmp_path, "b", hits(5), rate=2)
    decision = decide([nothing, trial], experiment(), sweep=tmp_path)
    assert rank_trials([nothing, trial], decision) == [trial]
    assert "nothing to compare it with" in decision.why


def test_a_decision_is_read_as_it_was_written(tmp_path):
    trials = [write_trial(tmp_path, name, hits(n), rate=n) for n, name in enumerate("ab", start=5)]
    decision = decide(trials, experiment(), sweep=tmp_path)
    write_decision(decision, tmp_path / "decision.json")
    assert read_decision(tmp_path / "decision.json") == decision
    row = json.loads((tmp_path / "decision.json").read_text())["configurations"][0]
    assert {"params", "trials", "seeds", "mean", "low", "high", "difference", "p_best"} <= set(row)


def test_repetitions_that_cannot_be_are_refused():
    assert experiment(num_trials=3, num_seeds=2, confirm_top=2).sweep.total_trials == 10
    with pytest.raises(ConfigError, match=r"confirm_top \(3\) is more than num_trials \(2\)"):
        experiment(num_trials=2, confirm_top=3)
    search = {"seed": {"type": "int", "low": 1, "high": 3}}
    with pytest.raises(ConfigError, match="seed is searched and repeated"):
        experiment(search=search, num_seeds=2)
