"""A sweep on paper: counts that can be worked by hand, and the command."""

import json
from random import Random

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.config import Choice, FloatRange, IntRange, load_experiment, parse_experiment
from deepicd.errors import CapacityError, ConfigError, MissingError
from deepicd.sweeps.planning.memory import check_memory, count_parameters, estimate_memory
from deepicd.sweeps.planning.plan import draw, hours_at_most, plan_sweep
from deepicd.sweeps.planning.prices import find_machines, read_prices

SWEEP_PLAN = ("sweep", "plan")
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
    demo = load_experiment(root / "experiments" / "demo.toml")
    planned = plan_sweep(demo, step_s=12.0)
    assert planned.trials == {"number": 4, "at_once": 1, "steps": 15, "first_stop_at_step": 5}
    assert planned.step == {
        "prompts": 16,
        "answers": 128,
        "updates": 1,
        "max_tokens": 128 * (192 + 48),
    }
    assert planned.resources == {"slots_per_node": 1, "nodes": 1, "slots": 1, "slots_at_once": 1}
    assert planned.memory_gb["logits"] == pytest.approx(
        4 * demo.training.ppo_micro_batch_size_per_gpu * 240 * 1024 * 4 / 1e9, abs=0.01
    )
    assert planned.hours == {"clock": 0.2, "slot": 0.2}
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
    assert planned.memory_gb["logits"] == pytest.approx(0.93, abs=0.01)  # a chunk of 512 tokens
    trained = [planned.memory_gb[part] for part in ("weights", "gradients", "optimiser")]
    assert sum(trained) == pytest.approx(7.6 * 16 / 4, rel=0.02)  # sharded over four GPUs
    assert planned.memory_gb["reference"] == 0
    assert planned.memory_gb["host_reference"] == pytest.approx(15.2, rel=0.02)  # bfloat16
    assert "engine" not in planned.memory_gb  # a share of a GPU that nobody named


@pytest.fixture
def published(root, tmp_path):
    def load(*overrides):
        (tmp_path / "config.json").write_text(json.dumps(QWEN_7B))
        given = [f"model.path={tmp_path}", *overrides]
        return load_experiment(root / "experiments" / "deepicd_r1_7b.toml", given)

    return load


def test_what_fits_a_gpu_and_what_surely_does_not(published):
    check_memory(published(), 80, gpu="A100-80GB")
    parts = estimate_memory(published(), 80)
    assert parts["engine"] == pytest.approx(0.4 * 80 * 2**30 / 1e9, abs=0.01)
    assert parts["kv_cache"] == pytest.approx(parts["engine"] - 15.2, abs=0.1)
    with pytest.raises(CapacityError, match=r"an update takes at least .* A30 has 25\.8"):
        check_memory(published(), 24, gpu="A30")
    share = "verl.actor_rollout_ref.rollout.gpu_memory_utilization"
    greedy = published(f"{share}=0.9")
    with pytest.raises(CapacityError, match=r"rollouts take at least"):
        check_memory(greedy, 80, gpu="A100-80GB")
    meagre = published(f"{share}=0.1")
    with pytest.raises(CapacityError, match=r"vLLM's weights take 15\.2 GB"):
        check_memory(meagre, 80, gpu="A100-80GB")
    searched = (
        'sweep.search={"training.ppo_micro_batch_size_per_gpu"={type="choice",values=[1,64]}}'
    )
    check_memory(published(searched), 80, gpu="A100-80GB")
    # Sixteen sequences of logits were 15 GB, and the loss held four of them: 60 GB. Without fused
    # kernels what was said to fit does not.
    plain = "verl.actor_rollout_ref.model.use_fused_kernels=false"
    with pytest.raises(CapacityError, match="logits 59"):
        check_memory(published("training.ppo_micro_batch_size_per_gpu=16", plain), 80, gpu="A100")
    with pytest.raises(CapacityError, match="logits 239"):
        check_memory(published(searched, plain), 80, gpu="A100-80GB")


def test_the_disk_of_a_sweep_is_counted_over_all_of_its_trials(published):
    planned = plan_sweep(published("sweep.num_trials=32", "sweep.max_concurrent=2"))
    assert planned.disk_gb["checkpoint"] == pytest.approx(122, rel=0.01)
    assert planned.disk_gb["trial"] == pytest.approx(244, rel=0.01)  # the best and the last
    assert planned.disk_gb["sweep"] == pytest.approx(32 * 244 + 2 * 122, rel=0.01)
    more = plan_sweep(published("sweep.num_trials=32", "sweep.keep_top=3"))
    assert more.disk_gb["trial"] == pytest.approx(4 * 122, rel=0.01)


def test_trials_at_once_shorten_the_clock_and_not_the_gpu_hours(published):
    experiment = published(
        "sweep.num_trials=5", "sweep.max_concurrent=2", "training.total_steps=60"
    )
    hours = hours_at_most(experiment, 60.0, steps=60, at_once=2)
    assert hours == pytest.approx({"clock": 3.0, "gpu": 20.0})
    planned = plan_sweep(experiment)
    assert planned.resources["gpus_at_once"] == 8


def test_a_machine_is_found_by_its_name_or_by_its_gpu(tmp_path):
    table = read_prices()
    assert table.as_of and all(machine.usd_per_hour > 0 for machine in table.machines)
    assert {machine.provider for machine in table.machines} == {"aws", "gcp", "azure"}
    (machine,) = find_machines(table, "P4DE.24xlarge")
    assert machine.usd_per_gpu_hour == pytest.approx(machine.usd_per_hour / 8)
    rates = [found.usd_per_gpu_hour for found in find_machines(table, "a100-80gb")]
    assert len(rates) == 3 and rates == sorted(rates)
    with pytest.raises(ConfigError, match=r"no machine or GPU 'H100' .*H100-"):
        find_machines(table, "H100")
    with pytest.raises(MissingError, match="no price table"):
        read_prices(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text('as_of = "2026"')
    with pytest.raises(ConfigError, match="no price table like"):
        read_prices(tmp_path / "bad.toml")


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
    assert "usd" not in shown.output
    cost = [*SWEEP_PLAN, file, "--step-s", "60", "--gpu", "H100-94GB"]
    priced = CliRunner().invoke(cli.app, cost)
    assert "usd 6.98" in priced.output and "prices of 2026-" in priced.output
    values = CliRunner().invoke(cli.app, ["sweep", "plan", file, "--json"])
    assert json.loads(values.output)["trials"]["number"] == 4
    open_to_all = [*SWEEP_PLAN, file, "--set", "serving.host=0.0.0.0"]
    refused = CliRunner().invoke(cli.app, open_to_all, env={"DEEPICD_TOKEN": ""})
    assert "DEEPICD_TOKEN is not set" in str(refused.exception)
    wrong = ["sweep", "plan", file, "--set", "sweep.grace_steps=6"]
    assert "grace_steps (6) must be" in str(CliRunner().invoke(cli.app, wrong).exception)
