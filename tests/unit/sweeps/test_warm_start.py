"""Warm start: which trials of an earlier sweep count, and what is refused."""

import json
from pathlib import Path

import optuna
import pytest

from deepicd.config import (
    dump_experiment,
    parse_experiment,
    read_experiment,
    with_values,
)
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.paths import RunPaths
from deepicd.sweeps.search.validation import validate
from deepicd.sweeps.search.warm_start import apply_warm_start, check_notes

RATE, FLAG, COEF = "training.learning_rate", "training.use_kl_in_reward", "training.kl_coef"
SEARCH = {
    RATE: {"type": "uniform", "low": 0.01, "high": 1.0},
    FLAG: {"type": "choice", "values": [False, True]},
    COEF: {"type": "uniform", "low": 0.0, "high": 1.0, "when": {FLAG: True}},
}
TRIALS = {
    "worst": ({RATE: 0.9, FLAG: False}, 0.1),
    "best": ({RATE: 0.2, FLAG: True, COEF: 0.5}, 0.8),
    "middle": ({RATE: 0.5, FLAG: True, COEF: 0.01}, 0.4),
}
KEYS = ("hierarchical_f1", "macro_f1_full", "share_unparsable")


def write_run(root: Path, experiment, trials=TRIALS) -> Path:
    """An earlier run as a sweep leaves it, its checkpoints removed since."""
    paths = RunPaths(root)
    dump_experiment(experiment, paths.experiment)
    write_notes(paths)
    rows = []
    for name, (params, score) in trials.items():
        folder = paths.tune / name
        folder.mkdir(parents=True)
        row = {"step": 10, "checkpoint_path": str(root / "gone"), "cost/gpu_hours": score / 2}
        row |= {f"validation/{key}": score for key in KEYS}
        (folder / "result.json").write_text(json.dumps(row) + "\n")
        rows.append(
            {"id": name, "params": params, "status": "finished", "steps": 10, "validation": {}}
        )
    rows += [{**rows[0], "id": "crashed", "status": "failed"}]
    paths.trials.write_text(json.dumps(rows))
    return root


def write_notes(paths: RunPaths, *, hashed: str = "abc") -> None:
    paths.notes.mkdir(parents=True, exist_ok=True)
    report = {"identity": {"splits": {"validation": hashed}}}
    (paths.notes / "report.json").write_text(json.dumps(report))


def build(start=None, *, search=SEARCH, sweep=None, **more):
    given = {"search": search, "num_trials": 4, **(sweep or {})}
    if start is not None:
        given["start_from"] = str(start)
    return parse_experiment({"sweep": given, **more}, "here")


def sources_of(experiment):
    return [trial.source for trial in experiment.sweep.warm_start_trials]


@pytest.fixture
def first(tmp_path):
    return write_run(tmp_path / "first", build())


@pytest.fixture
def begin(collect_log_lines):
    def begin_and_listen(experiment):
        with collect_log_lines() as lines:
            begun = apply_warm_start(experiment)
        validate(begun)
        return begun, "\n".join(lines)

    return begin_and_listen


def test_trials_that_this_search_would_have_drawn_are_known_from_the_start(first, begin):
    begun, said = begin(build(first))
    assert {trial.source: trial.params for trial in begun.sweep.warm_start_trials} == {
        f"first/{name}": params for name, (params, _) in TRIALS.items()
    }
    assert begun.sweep.warm_start_trials[1].objectives == {"hierarchical_f1": 0.8}
    assert f"3 of 3 trials of {first} lie in this search space" in said


def test_a_narrower_search_takes_the_trials_that_lie_in_it(first, begin):
    narrow = {**SEARCH, RATE: {"type": "uniform", "low": 0.1, "high": 0.6}}
    begun, said = begin(build(first, search=narrow))
    assert sources_of(begun) == [
        "first/best",
        "first/middle",
    ]
    assert "2 of 3" in said


def test_a_setting_that_was_fixed_there_may_be_searched_here_and_the_other_way_round(first, begin):
    wider = {**SEARCH, "training.temperature": {"type": "uniform", "low": 0.5, "high": 1.0}}
    begun, _ = begin(build(first, search=wider))
    assert begun.sweep.warm_start_trials[0].params["training.temperature"] == 0.9
    fixed = {RATE: SEARCH[RATE]}
    training = {"use_kl_in_reward": True, "kl_coef": 0.5}
    begun, _ = begin(build(first, search=fixed, training=training))
    assert sources_of(begun) == ["first/best"]


@pytest.mark.parametrize(
    ("search", "more", "words"),
    [
        ({RATE: {"type": "uniform", "low": 0.91, "high": 1}}, {}, r"learning_rate is 0\.9 there"),
        ({}, {"training": {"total_steps": 99}}, "training.total_steps is 40 there and 99 here"),
        (
            {"rewards.weights.outcome": {"type": "uniform", "low": 0.1, "high": 1}},
            {},
            "rewards.weights.outcome was not set there",
        ),
    ],
)
def test_a_sweep_none_of_whose_trials_fits_is_refused_by_address(first, search, more, words, begin):
    with pytest.raises(ConfigError, match=rf"no trial of .* lies in this search space.*{words}"):
        begin(build(first, search={**SEARCH, **search}, **more))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"data": {"num_notes": 500}}, "data.num_notes is 6000 there and 500 here"),
        ({"model": {"num_layers": 2}}, "model.num_layers is 4 there and 2 here"),
        ({"sft": {"epochs": 1}}, "sft.epochs is 4 there and 1 here"),
        ({"seed": 2}, "seed is 1 there and 2 here"),
    ],
)
def test_scores_on_other_notes_or_from_another_start_are_refused(first, more, words, begin):
    with pytest.raises(ConfigError, match=f"do not compare with this experiment's: {words}"):
        begin(build(first, **more))


def test_another_metric_is_said_and_read_from_the_same_reports(first, begin):
    sweep = {"metric": "macro_f1_full", "objectives": ["macro_f1_full", "gpu_hours"]}
    begun, said = begin(build(first, sweep=sweep))
    assert "stopped its trials by hierarchical_f1; here macro_f1_full" in said
    assert begun.sweep.warm_start_trials[1].objectives == {"macro_f1_full": 0.8, "gpu_hours": 0.4}
    with pytest.raises(ConfigError, match=r"no trial in .* has hierarchical_f1, response_length"):
        begin(build(first, sweep={"objectives": ["hierarchical_f1", "response_length"]}))


def test_frozen_addresses_take_the_best_trials_values_and_decide_conditions(first, begin):
    begun, said = begin(build(first, sweep={"freeze": [FLAG]}))
    assert begun.training.use_kl_in_reward is True and list(begun.sweep.search) == [RATE, COEF]
    assert begun.sweep.search[COEF].when == {}
    assert sources_of(begun) == [
        "first/best",
        "first/middle",
    ]
    assert f"{FLAG} stays at True (first/best)" in said
    without = {**TRIALS, "best": ({RATE: 0.2, FLAG: False}, 0.8)}
    other = write_run(first.parent / "other", build(), without)
    begun, _ = begin(build(other, sweep={"freeze": [FLAG]}))
    assert list(begun.sweep.search) == [RATE], "a coefficient of what is off is not searched"


def test_a_begun_experiment_needs_the_earlier_folder_no_more(first, tmp_path, begin):
    begun, _ = begin(build(first, sweep={"freeze": [RATE]}))
    assert begun.training.learning_rate == 0.2
    first.rename(tmp_path / "moved")
    dump_experiment(begun, tmp_path / "experiment.json")
    read = read_experiment(tmp_path / "experiment.json")
    assert read == begun and begin(read) == (begun, "")
    assert with_values(read, {"training.temperature": 0.7}).sweep == begun.sweep


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"freeze": [RATE]}, "set start_from to its folder"),
        ({"start_from": "no/run"}, "no run in /.*/no/run; name the folder"),
    ],
)
def test_an_earlier_sweep_must_be_there(sweep, words, begin):
    with pytest.raises((ConfigError, MissingError), match=words):
        begin(build(sweep=sweep))


def test_an_unknown_address_to_freeze_names_the_nearest(first, begin):
    with pytest.raises(ConfigError, match=r"no training\.learning_rte \(nearest: training"):
        begin(build(first, sweep={"freeze": ["training.learning_rte"]}))


def test_notes_that_turn_out_to_be_others_are_refused(first, tmp_path, begin):
    begun, _ = begin(build(first))
    paths = RunPaths(tmp_path / "second")
    write_notes(paths)
    check_notes(paths, begun)
    write_notes(paths, hashed="other")
    with pytest.raises(DataError, match=r"are not those of .* scores do not compare"):
        check_notes(paths, begun)
    check_notes(RunPaths(tmp_path / "nowhere"), build())


def test_the_study_knows_earlier_trials_which_are_none_of_the_sweeps(first, tmp_path, begin):
    from deepicd.sweeps.search.searcher import Searcher

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    begun, _ = begin(build(first))
    searcher = Searcher(begun, storage=tmp_path / "second")
    fresh = Searcher(build(), storage=tmp_path / "fresh")
    assert searcher.suggest("t0") != fresh.suggest("t0"), "the earlier sweep had that already"
    trials = searcher._ot_study.trials
    assert [trial.user_attrs for trial in trials] == [
        *({"warm_start": f"first/{name}"} for name in TRIALS),
        {"trial": "t0"},
    ]
    assert [trial.value for trial in trials[:3]] == [0.1, 0.8, 0.4]
    again = Searcher(begun, storage=tmp_path / "again")
    assert again.suggest("t0") == trials[3].params


def test_a_grid_leaves_out_what_the_earlier_sweep_tried(tmp_path, begin):
    search = {
        RATE: {"type": "choice", "values": [0.2, 0.5, 0.9]},
        FLAG: {"type": "choice", "values": [False, True]},
    }
    tried = {"a": ({RATE: 0.2, FLAG: True}, 0.1), "b": ({RATE: 0.9, FLAG: False}, 0.2)}
    root = write_run(tmp_path / "first", build(search=search), tried)
    sweep = {"sampler": "grid", "num_trials": 4}
    begun, _ = begin(build(root, search=search, sweep=sweep))
    from deepicd.sweeps.search.space import grid_trials

    left = grid_trials(begun, 99)
    assert len(left) == 4 and not [one for one in left if one in [p for p, _ in tried.values()]]
    with pytest.raises(ConfigError, match="has 4 points left"):
        begin(build(root, search=search, sweep={**sweep, "num_trials": 5}))
