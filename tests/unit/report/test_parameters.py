"""A trial's values against its score: importance, axes and the surface over two of them."""

import pytest

from deepicd.config import parse_experiment
from deepicd.report.contour import draw_pair, pair_of
from deepicd.report.parameters import axis, importance

SEARCH = {
    "rewards.preset": {"type": "choice", "values": ["strict", "default"]},
    "rewards.weights.hierarchy": {"type": "uniform", "low": 0.0, "high": 1.0},
    "training.learning_rate": {"type": "loguniform", "low": 1e-5, "high": 1e-3},
}
DOMAINS = parse_experiment({"sweep": {"search": SEARCH}}, "here").sweep.search


def test_importance_finds_the_value_that_decides_and_knows_chance():
    params = {
        f"t{i}": {"rewards.weights.hierarchy": i / 19, "training.learning_rate": 1e-5 * (i % 7 + 1)}
        for i in range(20)
    }
    scores = {trial: own["rewards.weights.hierarchy"] for trial, own in params.items()}
    first, second = importance(params, scores, search=DOMAINS)
    assert first.address == "rewards.weights.hierarchy" and first.share > first.chance
    assert first.share + second.share == pytest.approx(1)
    few = {trial: scores[trial] for trial in list(scores)[:9]}
    assert importance(params, few, search=DOMAINS) == []


def test_a_trial_without_a_conditional_value_stands_below_the_axis():
    drawn = axis("training.learning_rate", [1e-5, None, 1e-3], DOMAINS["training.learning_rate"])
    assert drawn["values"] == pytest.approx([-5, -5.2, -3]) and "–" in drawn["ticktext"]
    chosen = axis("rewards.preset", ["default", None], DOMAINS["rewards.preset"])
    assert chosen["values"] == [1, -1]


def test_a_surface_is_drawn_between_enough_trials_only():
    pair = ["rewards.weights.hierarchy", "training.learning_rate"]
    params = {f"t{i}": {pair[0]: (i % 4) / 4, pair[1]: 1e-5 * (1 + i)} for i in range(12)}
    scores = {trial: float(i) for i, trial in enumerate(params)}

    def kinds(scored: dict[str, float]) -> list[str]:
        figure = draw_pair(params, scored, pair, search=DOMAINS, metric="hierarchical_f1")
        return [trace.type for trace in figure.plot.data]

    assert pair_of(["rewards.preset", *pair], DOMAINS) == pair
    assert kinds(scores) == ["contour", "scatter"]
    assert kinds(dict(list(scores.items())[:6])) == ["scatter"]
