"""Experiments composed with the installed verl and passed through its own checks."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from deepicd.config import (
    Experiment,
    flatten,
    known_addresses,
    load_experiment,
    parse_experiment,
    with_values,
)
from deepicd.errors import ConfigError, DataError
from deepicd.pipeline.validation import check
from deepicd.training import verl_settings
from deepicd.training.grpo import config as grpo_config
from deepicd.training.grpo.differences import differences, find_faults
from deepicd.training.kernels import choose_kernels
from deepicd.training.sft.config import compose_sft

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))


@pytest.fixture(scope="module", autouse=True)
def platform() -> Iterator[None]:
    """verl looks for its platform once a process, when it is imported first."""
    with verl_settings.platform_of(Experiment()):
        yield


def compose(experiment: Experiment, *, train: Path = Path("train.parquet"), **changes: Any) -> Any:
    given = {"model": Path("start"), "validation": Path("validation.parquet"), "out": Path("out")}
    return grpo_config.compose_grpo(experiment, train=train, **{**given, **changes})


def with_verl(**values: Any) -> Experiment:
    return Experiment(verl=values)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_every_experiment_composes_and_passes_verls_checks(path):
    experiment = load_experiment(path)
    config = compose(experiment)
    assert config.data.train_batch_size == experiment.training.train_batch_size
    assert compose_sft(
        experiment, model=Path("m"), traces=Path("t"), notes=Path("n"), out=Path("o")
    ).optim.lr == pytest.approx(experiment.sft.learning_rate)


def test_the_seven_billion_run_carries_the_model_cards_table():
    config = compose(load_experiment(EXPERIMENTS[0].with_name("deepicd_r1_7b.toml")))
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    model, data, trainer = config.actor_rollout_ref.model, config.data, config.trainer
    assert config.algorithm.adv_estimator == "grpo"
    assert (data.train_batch_size, data.max_prompt_length, data.max_response_length) == (
        64,
        2048,
        1024,
    )
    assert data.filter_overlong_prompts is True and data.truncation == "error"
    assert (actor.ppo_mini_batch_size, actor.ppo_micro_batch_size_per_gpu) == (64, 4)
    assert (actor.optim.lr, actor.optim.lr_warmup_steps) == (1e-6, 80)
    assert (actor.entropy_coeff, actor.use_kl_loss) == (0.001, False)
    assert (config.algorithm.use_kl_in_reward, config.algorithm.kl_ctrl.kl_coef) == (True, 0.001)
    assert actor.use_torch_compile is True and model.enable_gradient_checkpointing is True
    assert actor.fsdp_config.param_offload is False
    assert actor.fsdp_config.optimizer_offload is False
    assert actor.fsdp_config.mixed_precision.param_dtype == "bf16"
    assert (rollout.name, rollout.n, rollout.temperature, rollout.top_k) == ("vllm", 8, 0.9, -1)
    assert (rollout.dtype, rollout.tensor_model_parallel_size) == ("bfloat16", 1)
    assert rollout.gpu_memory_utilization == 0.4
    assert (trainer.n_gpus_per_node, trainer.nnodes, trainer.total_epochs) == (4, 1, 1)


def test_profiles_differ_by_profile_tables_alone():
    cpu, gpu = (raw_values(compose(Experiment(profile=profile))) for profile in ("cpu", "gpu"))
    different = {key for key in {*cpu, *gpu} if cpu.get(key) != gpu.get(key)}
    kernels = choose_kernels("auto").settings(grpo_config._MODEL)
    tables = {*grpo_config._CPU, *grpo_config._GPU, *kernels}
    assert different, "the profiles are the same"
    assert {key for key in different if not any(known.startswith(key) for known in tables)} == {
        key for key in different if any(key.startswith(f"{known}.") for known in tables)
    }


def raw_values(config: Any) -> dict[str, Any]:
    """Dotted key → value, references to other keys as they are written."""
    return flatten(OmegaConf.to_container(config, resolve=False))


def test_reward_weights_travel_as_values():
    experiment = Experiment(rewards={"weights": {"outcome": 2.0, "hierarchy": 0.5}})
    reward = compose(experiment).reward.custom_reward_function
    assert reward.path == "pkg://deepicd.rewards.verl_entry" and reward.name == "compute_score"
    assert reward.reward_kwargs == {
        "preset": "default",
        "weights": {"outcome": 2.0, "hierarchy": 0.5},
        "hierarchy_curve": 1.0,
    }
    assert not any("outcome" in value for value in verl_settings.worker_env(experiment).values())


def test_what_one_run_changes_is_not_the_next_ones_default():
    first = verl_settings.compose("ppo_trainer")
    before = raw_values(first)
    first.data.train_batch_size = 3
    assert raw_values(verl_settings.compose("ppo_trainer")) == before


def test_every_mapped_address_exists_and_reaches_verl():
    assert set(grpo_config.MAPPED.values()) <= set(known_addresses())
    experiment = Experiment(seed=7, training={"temperature": 0.7, "learning_rate": 3e-5})
    config = compose(experiment)
    assert config.actor_rollout_ref.rollout.temperature == 0.7
    assert config.actor_rollout_ref.actor.optim.lr == 3e-5
    assert config.data.seed == config.actor_rollout_ref.rollout.seed == 7


def test_the_verl_table_is_applied_last():
    experiment = with_verl(**{"actor_rollout_ref.actor.grad_clip": 0.5, "+trainer.note": "x"})
    config = compose(experiment)
    assert config.actor_rollout_ref.actor.grad_clip == 0.5
    assert config.trainer.note == "x"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("actor_rollout_ref.actor.grad_clp", 1.0, r"nearest: actor_rollout_ref\.actor\.grad_clip"),
        ("data.train_batch_size", 8, r"is set by training\.train_batch_size"),
        ("trainer.v1.trainer_mode", "sync", "is decided by the platform"),
        ("critic.ppo_epochs", 2, "GRPO has no critic"),
        ("actor_rollout_ref.actor", 1, "is a table"),
        ("+actor_rollout_ref.actor.grad_clip", 1.0, r"without the \+"),
        ("actor_rollout_ref.actor.grad_clip", "high", r"kind of its default 1\.0"),
        ("trainer.balance_batch", 1, "kind of its default True"),
    ],
)
def test_a_verl_key_that_cannot_work_is_refused(key, value, message):
    with pytest.raises(ConfigError, match=message):
        compose(with_verl(**{key: value}))


def test_what_verl_refuses_is_a_config_error():
    with pytest.raises(ConfigError, match="verl refuses the configuration: Invalid loss_agg_mode"):
        compose(with_verl(**{"actor_rollout_ref.actor.loss_agg_mode": "no-such-mode"}))


def notes_file(folder: Path, *, num_notes: int) -> Path:
    path = folder / "train.parquet"
    pq.write_table(pa.table({"note_id": [str(number) for number in range(num_notes)]}), path)
    return path


def test_training_ends_at_the_earlier_of_steps_and_epochs(tmp_path):
    train = notes_file(tmp_path, num_notes=200)  # 3 batches of 64
    by_epochs = Experiment(training={"total_steps": 40, "total_epochs": 2})
    by_steps = Experiment(training={"total_steps": 4, "total_epochs": 2})
    assert compose(by_epochs, train=train).trainer.total_training_steps == 6
    assert compose(by_steps, train=train).trainer.total_training_steps == 4


def test_fewer_notes_than_a_batch_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"10 notes, fewer than training\.train_batch_size = 64"):
        compose(Experiment(), train=notes_file(tmp_path, num_notes=10))


def test_a_run_resumes_from_a_given_checkpoint_and_from_no_other():
    assert compose(Experiment()).trainer.resume_mode == "disable"
    resumed = compose(Experiment(), resume=Path("old/global_step_10")).trainer
    assert (resumed.resume_mode, resumed.resume_from_path) == ("resume_path", "old/global_step_10")


def test_the_sft_micro_batch_divides_each_gpus_share():
    experiment = Experiment(
        sft={"batch_size": 48},
        training={"num_gpus": 2, "ppo_micro_batch_size_per_gpu": 16},
    )
    paths = {name: Path(name) for name in ("model", "traces", "notes", "out")}
    assert compose_sft(experiment, **paths).data.micro_batch_size_per_gpu == 12
    uneven = experiment.model_copy(
        update={"sft": experiment.sft.model_copy(update={"batch_size": 33})}
    )
    with pytest.raises(ConfigError, match=r"sft\.batch_size \(33\) must be a multiple"):
        compose_sft(uneven, **paths)


def test_only_the_cpu_profile_names_its_platform_in_the_environment():
    assert verl_settings.worker_env(Experiment(profile="cpu"))["VERL_PLATFORM"] == "cpu"
    assert "VERL_PLATFORM" not in verl_settings.worker_env(Experiment(profile="gpu"))


def test_trials_share_an_engine_unless_it_would_be_built_otherwise():
    from deepicd.training.grpo.engine_reuse import engine_key

    def key(**values: Any) -> str:
        changed = {name.replace("__", "."): value for name, value in values.items()}
        return engine_key(compose(with_values(Experiment(), changed)), {})

    same = [
        {"training__learning_rate": 1e-5, "training__rollout_n": 4, "training__temperature": 0.5},
        {"training__entropy_coeff": 0.1, "training__clip_ratio": 0.1, "training__total_steps": 7},
        {"training__train_batch_size": 16, "training__ppo_mini_batch_size": 16},
        {"rewards__weights__outcome": 0.5, "rewards__hierarchy_curve": 2.0},
        {"seed": 2},
    ]
    other = [
        {"training__max_response_tokens": 512},
        {"data__max_prompt_tokens": 1024},
        {"training__use_kl_loss": True},
        {"training__num_gpus": 2},
    ]
    assert {key(**values) for values in same} == {key()}
    assert len({key(**values) for values in other} | {key()}) == len(other) + 1
    assert engine_key(compose(Experiment()), {"OMP_NUM_THREADS": "1"}) != key()


def test_a_trials_seed_changes_seeds_and_nothing_else():
    one = Experiment()
    other = with_values(one, {"seed": one.seed + 1}, source="trial")
    first, second = (flat(OmegaConf.to_container(compose(trial))) for trial in (one, other))
    changed = {key for key in first if first[key] != second[key]}
    assert changed and changed == {key for key, at in grpo_config.MAPPED.items() if at == "seed"}
    assert {first[key] + 1 for key in changed} == {second[key] for key in changed}


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    rows = (flat(value, f"{prefix}.{key}".lstrip(".")) for key, value in values.items())
    return {key: value for row in rows for key, value in row.items()}


def test_only_what_is_searched_differs_between_trials():
    search = {
        "training.rollout_n": {"type": "choice", "values": [4, 8]},
        "rewards.weights.hierarchy": {"type": "uniform", "low": 0.1, "high": 1.0},
        "rewards.preset": {"type": "choice", "values": ["default", "strict"]},
    }
    experiment = parse_experiment({"sweep": {"search": search}}, "here")
    assert not list(find_faults(experiment))
    trials = [
        with_values(experiment, {"training.rollout_n": number, "rewards.weights.hierarchy": weight})
        for number, weight in ((4, 0.2), (8, 0.7))
    ]
    kwargs = "reward.custom_reward_function.reward_kwargs"
    assert differences(trials) == {
        "actor_rollout_ref.rollout.n": [4, 8],
        f"{kwargs}.weights.hierarchy": [0.2, 0.7],
    }


def test_a_searched_verl_key_reaches_verl():
    address = "verl.actor_rollout_ref.actor.optim.weight_decay"
    search = {address: {"type": "loguniform", "low": 1e-4, "high": 1e-1}}
    experiment = parse_experiment({"sweep": {"search": search}}, "here")
    check(experiment)
    trial = compose(with_values(experiment, {address: 0.03}))
    assert trial.actor_rollout_ref.actor.optim.weight_decay == 0.03


def test_a_searched_verl_key_that_the_installed_verl_lacks_is_refused():
    search = {"verl.actor_rollout_ref.actor.grad_clipp": {"type": "uniform", "low": 0, "high": 1}}
    with pytest.raises(ConfigError, match=r"unknown key .*grad_clipp \(nearest: .*grad_clip\)"):
        check(parse_experiment({"sweep": {"search": search}}, "here"))


def test_every_key_that_verl_would_refuse_is_told():
    actor = "actor_rollout_ref.actor"
    searched = {f"verl.{actor}.clp_ratio_c": {"type": "uniform", "low": 2, "high": 3}}
    keys = {f"{actor}.grad_clp": 1.0, "data.seed": 3, f"{actor}.loss_agg_mode": "no-such-mode"}
    faults = list(find_faults(parse_experiment({"verl": keys, "sweep": {"search": searched}}, "x")))
    assert [fault.place for fault in faults] == [
        f"verl.{actor}.grad_clp",
        "verl.data.seed",
        f"verl.{actor}.clp_ratio_c",
        "verl",
    ]
    assert "Invalid loss_agg_mode" in faults[-1].rule and faults[0].value == 1.0


SEVEN_B = [path for path in EXPERIMENTS if "7b" in path.name]


@pytest.mark.parametrize("path", SEVEN_B, ids=lambda path: path.name)
def test_the_installed_verl_finds_no_fault_in_the_large_runs(path):
    assert list(find_faults(load_experiment(path))) == []


def test_the_published_run_validates_and_is_planned_as_it_is(root):
    file = "experiments/deepicd_r1_7b.toml"

    def deepicd(*arguments: str) -> Any:
        command = [sys.executable, "-m", "deepicd", *arguments, "--json"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        assert "asking the installed verl" in done.stderr
        return json.loads(done.stdout)

    verdict = deepicd("validate", file)
    assert verdict["faults"] == [] and verdict["kind"] == "training"
    named = {"data.root", "model.path", "sft.traces", "training.num_gpus"}
    assert {row["place"] for row in verdict["missing"]} <= named
    assert deepicd("plan", file)["trials"]["number"] == 1
