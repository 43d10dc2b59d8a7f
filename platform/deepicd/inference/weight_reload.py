"""New weights in a running vLLM, in the process of its worker, right on CPU too.

In: named tensors in buckets, or a folder of safetensors. Out: a vLLM model that computes with them.
vLLM's CPU linear layers repack their weight for oneDNN and drop the original
(vllm/model_executor/layers/utils.py, `remove_weight=True`), so a plain `load_weights` meets empty
tensors on the second load. The order here is the one that is right:

1. vLLM's layer-wise reload: restore the parameters, load, repack each layer.
2. Repack the embeddings: where the sender has no entry of its own for a tied lm_head (a module's
   state holds one, a saved checkpoint does not), layer-wise reload leaves it the packed copy of the
   OLD embedding with no more than a warning, and the model is as wrong as with random weights.

`tests/ray/test_weight_reload.py` compares with transformers after the first and the second update.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from deepicd.errors import CheckpointError
from deepicd.upstream import require_version

_VLLM = ("0.29.0+cpu", "0.29.0")
"""Of the CPU and of the GPU lock."""

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
        require_version("vllm", _VLLM, "the weight reload")
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self._model)

    def load(self, bucket: Bucket) -> None:
        """Take one bucket; cloned, because a sender's tensors may alias shared memory that goes
        away.
        """
        cloned = [(name, tensor.clone()) for name, tensor in bucket]
        self._loaded |= self._model.load_weights(cloned) or set()

    def end(self) -> None:
        """Repack.

        Raises:
            CheckpointError: some parameters were not in any bucket.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        # The layers first: this is what leaves a tied head with the old embedding, mended below.
        finalize_layerwise_reload(self._model, self._model_config)
        for module in self._model.modules():
            if isinstance(module, VocabParallelEmbedding):
                module.quant_method.process_weights_after_loading(module)
        missing = sorted(self._expected - self._loaded)
        if missing:
            raise CheckpointError(
                f"{len(missing)} of {len(self._expected)} parameters of vLLM's model got no new "
                f"weight, first {missing[0]}; it would answer from a mixture. Check that both "
                "sides have the same model."
            )


def reload_weights(model: Any, model_config: Any, buckets: Iterable[Bucket]) -> None:
    """Load a complete set of weights into a vLLM model that is in use.

    Raises:
        CheckpointError: it is not complete.
    """
    with torch.no_grad():
        update = WeightReload(model, model_config)
        update.begin()
        for bucket in buckets:
            update.load(bucket)
        update.end()


class SwapExtension:
    """Extension of vLLM's worker: another version's weights in the place of the present ones."""

    model_runner: Any

    def swap_weights(self, folder: str) -> dict[str, str]:
        """Load the safetensors of a folder; file name → SHA-256 of what was read.

        Nothing is changed before every tensor has been seen and is finite.

        Raises:
            CheckpointError: a tensor holds NaN or infinity, or some parameters are not there.
        """
        files = sorted(Path(folder).glob("*.safetensors"))
        # A pass of its own: once a bucket is loaded, the old weights are gone.
        for name, tensor in _tensors(files):
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise CheckpointError(f"{name} of {folder} holds NaN or infinity. Train it again.")
        runner = self.model_runner
        # Tensor by tensor: the files are never in memory as a whole.
        buckets = ([named_tensor] for named_tensor in _tensors(files))
        reload_weights(runner.model, runner.vllm_config.model_config, buckets)
        return {file.name: _digest(file) for file in files}


def _tensors(files: Iterable[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import safe_open

    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (no mapping)
                yield name, opened.get_tensor(name)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
