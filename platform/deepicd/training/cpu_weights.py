"""Loading new weights into a running vLLM on CPU, in the worker process.

In: named tensors of the actor, in buckets. Out: a vLLM model that computes with them. vLLM's CPU
linear layers repack their weight for oneDNN and drop the original
(vllm/model_executor/layers/utils.py, `remove_weight=True`), so verl's plain `load_weights` meets
empty tensors on the second load. The order here is the one that is right:

1. vLLM's layer-wise reload: restore the parameters, load, repack each layer.
2. Repack the embeddings: where the actor sends no entry of its own for a tied lm_head (a module's
   state holds one, a saved checkpoint does not), layer-wise reload leaves it the packed copy of the
   OLD embedding with no more than a warning, and the rollout is as wrong as with random weights.

`tests/ray/test_weight_reload.py` compares with transformers after the first and the second update.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from deepicd.errors import TrainingError

Bucket = Sequence[tuple[str, torch.Tensor]]


class WeightReload:
    """One update of one model: `begin`, any number of `load`, `end`."""

    def __init__(self, model: Any, model_config: Any) -> None:
        self._model = model
        self._model_config = model_config
        self._expected = {name for name, _ in model.named_parameters()}
        self._loaded: set[str] = set()

    def begin(self) -> None:
        """Give every layer back the parameters that repacking dropped."""
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self._model)

    def load(self, bucket: Bucket) -> None:
        """Take one bucket; cloned, because on CPU its tensors alias shared memory that goes
        away."""
        cloned = [(name, tensor.clone()) for name, tensor in bucket]
        self._loaded |= self._model.load_weights(cloned) or set()

    def end(self) -> None:
        """Repack.

        Raises:
            TrainingError: some parameters were not in any bucket.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self._model, self._model_config)
        for module in self._model.modules():
            if isinstance(module, VocabParallelEmbedding):
                module.quant_method.process_weights_after_loading(module)
        missing = sorted(self._expected - self._loaded)
        if missing:
            raise TrainingError(
                f"{len(missing)} of {len(self._expected)} parameters of vLLM's model got no new "
                f"weight, first {missing[0]}; rollouts would come from a mixture. Check that actor "
                "and rollout load the same model."
            )


def reload_weights(model: Any, model_config: Any, buckets: Iterable[Bucket]) -> None:
    """Load a complete set of weights into a vLLM model that is in use."""
    with torch.no_grad():
        update = WeightReload(model, model_config)
        update.begin()
        for bucket in buckets:
            update.load(bucket)
        update.end()


class CPUWorkerExtension(vLLMColocateWorkerExtension):
    """verl's extension of the vLLM worker, with the weight load above."""

    def update_weights_from_ipc(
        self, peft_config: Any = None, base_sync_done: bool = False, use_shm: bool = False
    ) -> None:
        """Receive one update from the actor and load it; adapters (LoRA) go verl's way."""
        if peft_config:
            super().update_weights_from_ipc(peft_config, base_sync_done, use_shm)
            return
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
