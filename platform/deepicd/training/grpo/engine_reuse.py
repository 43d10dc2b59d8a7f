"""Engine reuse: what of verl stays between two trials, and how everything in it starts anew.

In: the configuration of the next trial. Out: a trainer ready to fit, and the workers of its
rollouts. What stays are processes and what is in them whatever the trial: imports, process groups,
Ray actors, vLLM's engine, the TransferQueue. Every object that holds a trial's settings or state is
built again by its own constructor in the process where it lives: the actor and reference models
(weights, optimiser, learning-rate schedule) from the start model, the workers of rollouts and
rewards, the replay buffer, the dataset's position, the trainer. vLLM gets the new actor's weights
and an empty cache before the first rollout, as after every step; its answers are seeded one by one
(`agent_loop`), so that it has no random state to reset.

`tests/ray/test_engine_reuse.py` holds the steps of a trial with a reused engine against those of
one with a new engine. Everything here knows verl 0.9.1 from inside; `restart` refuses another.
"""

import asyncio
import gc
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
import transfer_queue as tq
from omegaconf import DictConfig, OmegaConf
from verl.single_controller.ray.base import ResourcePoolManager
from verl.trainer.ppo.v1 import AgentLoopManagerTQ
from verl.utils.py_functional import temp_env_var

from deepicd.errors import TrainingError
from deepicd.training.grpo.trainer import ReportingTrainer
from deepicd.training.verl_plugin.patches.transfer_queue import check_queue
from deepicd.training.verl_plugin.verl_version import require_verl

_MakePools = Callable[[ResourcePoolManager], ResourcePoolManager]
_FREE_ROLLOUT_KEYS = ("n", "temperature", "top_p", "top_k", "val_kwargs", "prompt_logprobs", "seed")
_FREE_PREFIXES = ("log_prob_",)
"""Settings of the rollout that its workers read request by request; all others built the engine."""


@dataclass(frozen=True)
class Engines:
    """verl, started, with the trainer of the latest trial."""

    key: str
    env: Mapping[str, str]
    trainer: ReportingTrainer
    rollouts: AgentLoopManagerTQ

    def fits(self, config: DictConfig, env: Mapping[str, str]) -> bool:
        """Whether a trial can run in these processes."""
        return self.key == engine_key(config, env)


def engine_key(config: DictConfig, env: Mapping[str, str]) -> str:
    """Digest of all settings that processes and engines were built from."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    actor_rollout, trainer, reward = (
        values[name] for name in ("actor_rollout_ref", "trainer", "reward")
    )
    rollout = {
        key: value
        for key, value in actor_rollout["rollout"].items()
        if key not in _FREE_ROLLOUT_KEYS and not key.startswith(_FREE_PREFIXES)
    }
    built = {
        "env": dict(env),
        "rollout": rollout,
        "model": actor_rollout["model"],
        "strategy": [actor_rollout[role]["strategy"] for role in ("actor", "ref")],
        # With a KL term verl gives its workers the role that has a reference model too; a role is
        # the key in `worker_dict` and cannot be added later.
        "reference": [
            values["algorithm"]["use_kl_in_reward"],
            actor_rollout["actor"]["use_kl_loss"],
        ],
        "world": [trainer[name] for name in ("nnodes", "n_gpus_per_node", "device")],
        "reward": [reward["num_workers"], reward["reward_model"]],
        "queue": values["transfer_queue"],
    }
    return hashlib.sha256(json.dumps(built, sort_keys=True, default=str).encode()).hexdigest()


def start(config: DictConfig, env: Mapping[str, str], *, make_pools: _MakePools) -> Engines:
    """Start verl's workers and vLLM's engine.

    Args:
        make_pools: makes of verl's resource pools those that wait for free GPUs.

    Raises:
        CapacityError: the GPUs were not free in time, or the TransferQueue is another run's.
    """
    key = engine_key(config, env)  # before anything below changes the configuration
    config.transfer_queue.enable = True  # as verl's own entry does for its V1 trainer
    OmegaConf.resolve(config)
    # The queue first, as in that entry: what is started below attaches to it.
    tq.init(config.transfer_queue)
    check_queue()
    trainer = ReportingTrainer(config=config)
    trainer.make_pools = make_pools
    trainer.init()
    seed_workers(trainer)
    rollouts = AgentLoopManagerTQ.create(config=config, **_clients(trainer))
    return Engines(key, env, trainer, rollouts)


def restart(engines: Engines, config: DictConfig) -> Engines:
    """Begin another trial in the same processes.

    Raises:
        TrainingError: the trial before has left rows in the TransferQueue.
    """
    require_verl("the reuse of verl's engine")
    left = {name: len(rows) for name, rows in (tq.kv_list() or {}).items() if rows}
    if left:
        raise TrainingError(f"the trial before left rows in verl's TransferQueue: {left}")
    config.transfer_queue.enable = True
    OmegaConf.resolve(config)
    trainer = ReportingTrainer(config=config)
    trainer.set_up_by(lambda new: _take_over(new, engines.trainer))
    trainer.init()
    seed_workers(trainer)
    # The constructor alone: `create` would start workers beside those that are there.
    rollouts = AgentLoopManagerTQ(config=config, **_clients(trainer))
    rollouts.agent_loop_workers = engines.rollouts.agent_loop_workers
    arguments = (config, *_clients(trainer).values())
    _rebuild(rollouts.agent_loop_workers, *arguments)
    return Engines(engines.key, engines.env, trainer, rollouts)


def _take_over(new: ReportingTrainer, old: ReportingTrainer) -> None:
    """What verl's `PPOTrainer._setup` does, with the workers, servers and pools of `old`."""
    # In the order of `_setup`: the data loader wants the tokeniser, and the checkpoint is loaded
    # into models that are there.
    new._init_tokenizer()
    new._init_dataloader()
    new._init_dump_executor()
    # Handles of processes and engines: all that `_setup` starts, and nothing that holds a setting
    # of the old trial but `distillation_config`, which is part of the engine's key.
    for name in (
        *("role_worker_mapping", "mapping", "resource_pool_manager", "resource_pool_to_cls"),
        *("ref_in_actor", "actor_rollout_wg", "reward_loop_manager", "llm_server_manager"),
        *("checkpoint_manager", "teacher_model_manager", "distillation_config"),
    ):
        setattr(new, name, getattr(old, name))
    actors = new.actor_rollout_wg
    new.checkpoint_manager.sleep_replicas()  # room for the models on a GPU that they share
    settings = {
        "config": new.config.actor_rollout_ref,
        "distillation_config": new.config.get("distillation"),
    }
    ray.get([worker.__ray_call__.remote(_rebuild_roles, settings) for worker in actors.workers])
    actors.init_model()
    if new.use_reference_policy:
        new.ref_policy_wg = actors
    rewards = new.reward_loop_manager
    # The manager only holds the configuration; reward functions live in its workers.
    rewards.config = new.config
    _rebuild(rewards.reward_loop_workers, new.config, rewards.reward_router_address)
    # Without a checkpoint too: it begins the count of steps.
    new._load_checkpoint()


def _rebuild(actors: Sequence[Any], *arguments: Any) -> None:
    """Run the constructor of Ray actors again, in their processes."""
    # Every Ray actor has `__ray_call__`: it calls a function with the actor, in its process.
    ray.get([actor.__ray_call__.remote(_construct, *arguments) for actor in actors])


def _rebuild_roles(workers: Any, settings: Mapping[str, Any]) -> None:
    """Replace the workers of verl's colocated actor by new ones, without models yet."""
    for role, worker in list(workers.worker_dict.items()):
        # As verl's own constructor of the colocated worker does: its roles share the process group
        # that is there and must not make one of their own.
        with temp_env_var("DISABLE_WORKER_INIT", "1"):
            workers.worker_dict[role] = type(worker)(role=role, **settings)
        del worker  # the loop variable would keep the old model while the new one is built
    # Models and their hooks refer to each other, so counting references does not free them; what
    # torch then keeps on a GPU would be missing for vLLM, which is another process.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def seed_workers(trainer: ReportingTrainer) -> None:
    """Give the processes that hold the actor the experiment's seed, rank by rank."""
    seed = int(trainer.config.data.seed or 0)
    workers = trainer.actor_rollout_wg.workers
    ray.get([worker.__ray_call__.remote(_seed, seed + rank) for rank, worker in enumerate(workers)])


def _clients(trainer: ReportingTrainer) -> dict[str, Any]:
    """What the workers of rollouts need besides the configuration."""
    return {
        "llm_client": trainer.get_llm_client(),
        "teacher_client": trainer.get_teacher_client(),
        "reward_loop_worker_handles": trainer.get_reward_handles(),
    }


def _construct(actor: Any, *arguments: Any) -> None:
    """Runs in the actor's process, beside its event loop: what asks for one gets the actor's."""
    if hasattr(actor, "loop"):
        asyncio.set_event_loop(actor.loop)
    actor.__init__(*arguments)


def _seed(_: Any, seed: int) -> None:
    import random

    import numpy

    random.seed(seed)
    # numpy takes no larger seed.
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
