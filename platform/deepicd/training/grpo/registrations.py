"""What verl imports because `actor_rollout_ref.model.external_lib` names it (task runner, workers,
vLLM server, SFT).

In: nothing. Out: the agent loop is registered and the output layer stays with the model's root
(`patches.output_layer`); on the CPU platform also the engine and the vLLM replica. On a GPU verl's
own stay in place, so that one configuration key serves both profiles.
"""

from typing import Any

from deepicd.training.grpo import agent_loop  # noqa: F401  (registers itself)
from deepicd.training.verl_plugin.patches import output_layer
from deepicd.training.verl_plugin.platform_choice import is_cpu_platform


def register() -> None:
    """Fill verl's registries for this process."""
    output_layer.apply()
    if is_cpu_platform():
        _register_cpu()


def _register_cpu() -> None:
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    from deepicd.training.verl_plugin.cpu import engine  # noqa: F401  (registers itself)

    RolloutReplicaRegistry.register("vllm", _load_replica)


def _load_replica() -> Any:
    from deepicd.training.verl_plugin.cpu.rollout import CPUReplica

    return CPUReplica


register()
