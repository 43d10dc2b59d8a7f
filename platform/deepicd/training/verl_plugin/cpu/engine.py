"""verl's FSDP2 engine on CPU (gloo). Importing this module registers it.

In: a Hugging Face module. Out: the same module, sharded with FSDP2. Only the wrapping differs from
verl's engine: it gives the forward-only reference model a CPU-offload policy with pinned memory
(verl 0.9.1, workers/engine/fsdp/transformer_impl.py, `_build_fsdp_module`), and memory can be
pinned only for an accelerator. FSDP1 cannot run here: it makes the device "cpu:cpu".
"""

from typing import Any

from verl.utils.fsdp_utils import MixedPrecisionPolicy, apply_fsdp2, fsdp2_load_full_state_dict
from verl.utils.torch_dtypes import PrecisionType
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

from deepicd.training.verl_plugin.verl_version import require_verl


@EngineRegistry.register(model_type="language_model", backend=["fsdp2"], device="cpu")
class CPUEngineWithLMHead(FSDPEngineWithLMHead):
    """verl's language-model engine without offloading."""

    def _build_fsdp_module(self, module: Any) -> Any:
        require_verl("the CPU engine")
        precision = self.engine_config.mixed_precision or {}
        # verl's own default is bfloat16, which has no fast kernel without AVX-512.
        param_dtype = PrecisionType.to_dtype(precision.get("param_dtype", "fp32"))
        reduce_dtype = PrecisionType.to_dtype(precision.get("reduce_dtype", "fp32"))
        # What verl's own method leaves behind for its forward pass and its optimiser step.
        self._autocast_dtype = param_dtype
        self.scaler = None
        self._is_offload_param = self._is_offload_optimizer = False
        policy = MixedPrecisionPolicy(
            param_dtype=param_dtype, reduce_dtype=reduce_dtype, cast_forward_inputs=True
        )
        options = {
            "mesh": self.device_mesh,
            "mp_policy": policy,
            "reshard_after_forward": self.engine_config.reshard_after_forward,
        }
        # Before the module is cut in place, since what is loaded afterwards is whole.
        full_state = module.state_dict()
        apply_fsdp2(module, options, self.engine_config)
        fsdp2_load_full_state_dict(module, full_state, self.device_mesh, None)
        return module
