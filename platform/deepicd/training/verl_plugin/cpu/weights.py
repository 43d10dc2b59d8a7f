"""verl's extension of the vLLM worker on CPU: an update of the actor's weights, loaded rightly.

In: named tensors of the actor, in buckets, from verl's sender. Out: a vLLM model that computes with
them. Why verl's plain load is wrong there, and the order that is right, is in `weight_reload`.
"""

from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from deepicd.inference.weight_reload import WeightReload
from deepicd.training.verl_plugin.verl_version import require_verl


class CPUWorkerExtension(vLLMColocateWorkerExtension):
    """verl's extension of the vLLM worker, with another load."""

    def update_weights_from_ipc(
        self, peft_config: Any = None, base_sync_done: bool = False, use_shm: bool = False
    ) -> None:
        """Receive one update from the actor and load it; adapters (LoRA) go verl's way.

        Raises:
            CheckpointError: some parameters were not in the update.
        """
        if peft_config:
            super().update_weights_from_ipc(peft_config, base_sync_done, use_shm)
            return
        require_verl("the weight load on CPU")
        from verl.workers.rollout.vllm_rollout.bucketed_weight_transfer import (
            BucketedWeightReceiver,
        )

        receiver = BucketedWeightReceiver(
            zmq_handle=self._get_zmq_handle(), device=torch.device("cpu"), use_shm=use_shm
        )
        update = WeightReload(self.model_runner.model, self.model_runner.vllm_config.model_config)
        with torch.no_grad():
            update.begin()
            receiver.receive_weights(
                on_bucket_received=lambda weights, _is_last: update.load(weights)
            )
            update.end()
