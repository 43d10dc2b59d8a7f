"""Early stopping on recorded curves whose outcome can be worked out by hand."""

import json

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.config import parse_experiment
from deepicd.errors import ConfigError, MissingError
from deepicd.paths import RunPaths
from deepicd.sweeps.planning.replay import Curve, read_curves, replay

KEY = "validation/hierarchical_f1"
RATE = "training.learning_rate"


def experiment(**sweep):
    training = {"total_steps": 4, "validate_every": 1, "num_gpus": 2}
    training |= {"ppo_micro_batch_size_per_gpu": 4}
    table = {"training": training, "sweep": {"scheduler": "none", "grace_steps": 1, **sweep}}
    return parse_experiment(table, "here")


def curve(name, *scores, rate=None, seconds=10.0):
    """A trial with a score at every step, each of which took `seconds`."""
    rows = [{"step": 0, "time_this_iter_s": seconds}]
    rows += [
        {"step": step, KEY: score, "time_this_iter_s": seconds}
        for step, score in enumerate(scores, start=1)
    ]
    return Curve(name, {RATE: rate or name}, rows)


STEADY = curve("steady", 0.5, 0.5, 0.5, 0.5)
LATE = curve("late", 0.1, 0.3, 0.7, 0.9)
POOR = curve("poor", 0.2, 0.2, 0.2, 0.2)
GOOD = curve("good", 0.6, 0.7, 0.7, 0.8)


def test_asha_stops_the_late_bloomer_and_the_regret_says_so():
    # Rungs at 1, 2 and 4; the second trial at a rung must reach the median of those before it.
    found = replay([STEADY, LATE, GOOD], experiment(), {"scheduler": "asha"})
    assert found.stopped_at == {"steady": None, "late": 1, "good": None}
    assert found.steps == {"recorded": 12, "spent": 9, "saved": 3}
    assert found.gpu_seconds == {"recorded": 300, "spent": 240, "saved": 60}
    assert (found.chosen, found.best, found.is_best_stopped) == ("good", "late", True)
    assert (found.score, found.best_score) == (0.8, 0.9)
    assert found.regret == pytest.approx(0.1) and found.unknown == []


def test_a_longer_grace_period_spares_it():
    found = replay([STEADY, LATE, GOOD], experiment(), {"scheduler": "asha", "grace_steps": 3})
    assert found.stopped_at == dict.fromkeys(("steady", "late", "good"))
    assert found.chosen == "late" and found.regret == 0 == found.steps["saved"]


def test_the_order_of_the_record_counts_as_it_did_in_the_sweep():
    found = replay([LATE, STEADY, GOOD], experiment(), {"scheduler": "asha"})
    assert found.stopped_at == {"late": None, "steady": None, "good": None}
    harder = replay([LATE, GOOD, STEADY], experiment(), {"scheduler": "asha"})
    assert harder.stopped_at == {"late": None, "good": None, "steady": None}
    four = replay([GOOD, STEADY, POOR], experiment(), {"scheduler": "asha", "reduction_factor": 4})
    assert four.stopped_at == {"good": None, "steady": 1, "poor": 1}


def test_the_median_rule_stops_who_is_below_the_average_of_two_others():
    found = replay([STEADY, GOOD, POOR, LATE], experiment(), {"scheduler": "median"})
    # Averages from step 1 on: steady 0.5, good 0.6; their median 0.55 is above both others' best.
    assert found.stopped_at == {"steady": None, "good": None, "poor": 1, "late": 1}
    assert found.chosen == "good" and found.regret == pytest.approx(0.1)


def test_no_rule_saves_nothing():
    found = replay([STEADY, POOR], experiment(), {})
    assert found.settings["scheduler"] == "none" and found.steps["saved"] == 0 == found.regret


def test_trials_at_once_are_compared_in_the_order_of_the_clock():
    slow = curve("slow", 0.1, 0.3, 0.7, 0.9, seconds=10)
    fast = curve("fast", 0.5, 0.5, 0.5, 0.5, seconds=1)
    alone = replay([slow, fast], experiment(), {"scheduler": "asha"})
    assert alone.stopped_at == {"slow": None, "fast": None}
    together = replay([slow, fast], experiment(max_concurrent=2), {"scheduler": "asha"})
    assert together.stopped_at == {"slow": 1, "fast": None}


def test_the_rest_of_a_trial_that_was_really_stopped_is_unknown():
    short = curve("short", 0.4, 0.4)
    found = replay([STEADY, short], experiment(), {"scheduler": "asha", "grace_steps": 2})
    assert found.stopped_at == {"steady": None, "short": 2} and found.unknown == ["short"]
    assert found.steps["saved"] == 0


def test_a_configuration_is_chosen_by_the_mean_of_its_seeds():
    seeds = [curve(name, *[0.9, 0.1][at:][:1] * 4, rate=1) for at, name in enumerate("ab")]
    found = replay([*seeds, curve("c", 0.6, 0.6, 0.6, 0.6, rate=2)], experiment(num_seeds=2), {})
    assert found.best == "c" and found.best_score == 0.6


def test_settings_that_a_sweep_would_refuse_are_refused():
    with pytest.raises(ConfigError, match=r"grace_steps \(9\) leaves asha nothing to stop"):
        replay([STEADY], experiment(), {"scheduler": "asha", "grace_steps": 9})


def write(root, curves, **sweep):
    paths = RunPaths(root)
    paths.root.mkdir(parents=True)
    paths.experiment.write_text(experiment(**sweep).model_dump_json())
    rows = []
    for one in curves:
        folder = paths.tune / one.id
        folder.mkdir(parents=True)
        (folder / "result.json").write_text("".join(json.dumps(row) + "\n" for row in one.rows))
        row = {"id": one.id, "params": dict(one.params), "status": "finished"}
        rows.append(row | {"steps": one.steps, "validation": {}})
    paths.trials.write_text(json.dumps(rows))
    return paths


def test_the_command_replays_a_run_from_disk(tmp_path):
    fresh = Curve("again", {RATE: "late", "seed": 9}, GOOD.rows)
    curves = [STEADY, LATE, GOOD, fresh]
    paths = write(tmp_path / "run", curves, confirm_top=1)
    settings = parse_experiment(json.loads(paths.experiment.read_text()), "here")
    assert [one.id for one in read_curves(paths, settings)] == ["steady", "late", "good"]
    command = ["sweep", "replay", "run", "--runs", str(tmp_path), "--scheduler", "asha"]
    values = json.loads(CliRunner().invoke(cli.app, [*command, "--json"]).stdout)
    assert values["chosen"] == "good" and values["stopped_at"]["late"] == 1
    shown = CliRunner().invoke(cli.app, command).stdout
    assert "9 of 12 steps (25% saved)" in shown and "regret 0.100" in shown
    assert "trial late, the best of the full curves, would have been stopped at step 1" in shown
    empty = write(tmp_path / "empty", [Curve("a", {}, [{"step": 0}])])
    with pytest.raises(MissingError, match=r"no trial of .* has a validation yet"):
        read_curves(empty, settings)
