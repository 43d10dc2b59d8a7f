"""FSDP2 leaves the output layer with the model's root, so that fused kernels can read its weight.

Upstream: verl/utils/fsdp_utils.py (0.9.1), `_select_fsdp2_wrap_targets`, gives `lm_head` of an
untied model a group of its own, whose weight is whole only while `lm_head` itself is called. verl's
fused kernels (verl/models/transformers/dense_common.py) never call it: they read `lm_head.weight`
and meet a shard ("aten.mm got mixed torch.Tensor and DTensor"). In the root's group the weight is
whole from the root's forward on, as that of a tied model is. It costs one copy of that weight on
each GPU during an update: 1.1 GB in bfloat16 at a vocabulary of 152,000 and a width of 3,584.
"""

import functools
from collections.abc import Sequence
from typing import Any

from deepicd.training.verl_plugin.verl_version import require_verl

_OUTPUT = "lm_head"


def apply() -> None:
    """Replace the function in `verl.utils.fsdp_utils`; a second call changes nothing.

    Raises:
        UpstreamError: another version of verl is installed.
    """
    require_verl("the patch of the output layer")
    from verl.utils import fsdp_utils

    original = fsdp_utils._select_fsdp2_wrap_targets
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def select(model: Any, layers: Sequence[str]) -> list[Any]:
        output = getattr(model, _OUTPUT, None)
        return [module for module in original(model, layers) if module is not output]

    fsdp_utils._select_fsdp2_wrap_targets = select
