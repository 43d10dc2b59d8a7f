"""verl's vLLM replica on CPU: the stock server with another worker extension.

In: verl's rollout configuration. Out: replica class for `RolloutReplicaRegistry`. The extension is
named by its module path and lives in `cpu_weights.py`, so that the engine process does not import
the server.
"""

from typing import Any

import ray
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica

from deepicd.training.verl_plugin.verl_version import require_verl


class CPUServer(vLLMHttpServer):
    """vLLM server whose workers reload weights in the way that is right on CPU."""

    def _get_worker_extension_cls(self) -> str:
        return "deepicd.training.verl_plugin.cpu.weights.CPUWorkerExtension"


class CPUReplica(vLLMReplica):
    """Replica that starts `CPUServer`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        require_verl("the vLLM server on CPU")
        super().__init__(*args, **kwargs)
        # Replaced after verl has chosen its own: the constructor takes no class.
        self.server_class = ray.remote(CPUServer)
