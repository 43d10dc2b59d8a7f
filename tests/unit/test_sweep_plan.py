"""A sweep on paper: counts that can be worked by hand, and the command."""

import json
from random import Random

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.config import Choice, FloatRange, IntRange, load_experiment, parse_experiment
from deepicd.sweeps.plan import count_parameters, draw, plan_sweep

QWEN_7B = {
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}


def test_the_demo_on_paper(root):
    planned = plan_sweep(load_experiment(root / "experiments" / "demo.toml"), step_s=12.0)
    assert planned.trials == {"number": 4, "at_once": 1, "steps": 15, "first_stop_at_step": 5}
    assert planned.step == {
        "prompts": 16,
        "answers": 128,
        "updates": 1,
        "max_tokens": 128 * (192 + 48),
    }
    assert planned.resources == {"gpus_per_node": 1, "gpus": 1}
    assert planned.memory_gb["logits"] == pytest.approx(64 * 240 * 1024 * 4 / 1e9, abs=0.01)
    assert planned.hours == {"clock": 0.2, "gpu": 0.2}
    assert len(planned.samples) == 3 and len({str(row) for row in planned.samples}) == 3


@pytest.mark.parametrize(("name", "step"), [("asha", 5), ("median", 5), ("none", 15)])
def test_whoever_may_stop_a_trial_does_so_after_the_grace_period(root, name, step):
    file = root / "experiments" / "demo.toml"
    planned = plan_sweep(load_experiment(file, [f"sweep.scheduler={name}"]))
    assert planned.trials["first_stop_at_step"] == step


def test_the_published_run_on_paper(root, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B))
    file = root / "experiments" / "deepicd_r1_7b.toml"
    experiment = load_experiment(file, [f"model.path={tmp_path}"])
    planned = plan_sweep(experiment)
    assert planned.resources["gpus"] == 4 and planned.hours == {}
    assert planned.memory_gb["logits"] == pytest.approx(15, abs=0.3)  # 16 x 3072 x 152k in bf16
    assert planned.memory_gb["training"] == pytest.approx(7.6 * 16, rel=0.02)


def test_parameters_are_counted_from_the_configuration():
    assert count_parameters(QWEN_7B) == pytest.approx(7.615e9, rel=0.001)
    assert count_parameters({"hidden_size": 8}) == 0


def test_values_are_drawn_from_their_domains():
    rng = Random(1)
    for _ in range(50):
        assert draw(Choice(type="choice", values=(0.8, 1.0)), rng) in (0.8, 1.0)
        assert draw(IntRange(type="int", low=2, high=3), rng) in (2, 3)
        assert 0 <= draw(FloatRange(type="uniform", low=0, high=1), rng) <= 1
        assert 1e-5 <= draw(FloatRange(type="loguniform", low=1e-5, high=1e-3), rng) <= 1e-3


def test_trials_on_paper_heed_conditions():
    search = {
        "training.use_kl_in_reward": {"type": "choice", "values": [False, True]},
        "training.kl_coef": {
            "type": "uniform",
            "low": 0,
            "high": 1,
            "when": {"training.use_kl_in_reward": True},
        },
    }
    experiment = parse_experiment({"sweep": {"search": search}}, "here")
    samples = plan_sweep(experiment, num_samples=20).samples
    assert {len(values) for values in samples} == {1, 2}
    for values in samples:
        assert ("training.kl_coef" in values) == values["training.use_kl_in_reward"]


def test_the_command_prints_the_plan_and_refuses_what_cannot_run(root):
    file = str(root / "experiments" / "demo.toml")
    shown = CliRunner().invoke(cli.app, ["sweep", "plan", file, "--step-s", "12"])
    assert shown.exit_code == 0 and "answers 128" in shown.output and "clock 0.2" in shown.output
    values = CliRunner().invoke(cli.app, ["sweep", "plan", file, "--json"])
    assert json.loads(values.output)["trials"]["number"] == 4
    wrong = ["sweep", "plan", file, "--set", "sweep.max_concurrent=2"]
    assert "max_concurrent is 2" in str(CliRunner().invoke(cli.app, wrong).exception)
