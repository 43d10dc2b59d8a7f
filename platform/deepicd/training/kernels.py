"""Which attention, and which road to log-probabilities, a run on GPUs takes.

In: what the experiment asks for, and what this process can import. Out: the choice, the settings of
verl's models that follow from it, and why it was made, for the trial's record. Decided here:

- flash-attn is no part of the lock (PyPI holds its source alone). Where it imports it is taken and
  sequences are packed; else attention is torch's own (`sdpa`) and sequences are padded to the
  longest of their micro-batch: torch's attention over packed ones builds a mask of all tokens
  squared.
- Log-probabilities come from verl's fused kernel in torch, chunk by chunk: float32, and no tensor
  of tokens x vocabulary. verl's plain road without flash-attn loops over tokens in Python and
  answers in bfloat16.
- A package that is there and does not import is said. Where it was asked for by name that is an
  error.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from deepicd.errors import ConfigError

_FLASH, _SDPA = "flash_attention_2", "sdpa"
# What transformers needs, and what verl takes from it besides.
_FLASH_MODULES = ("flash_attn", "flash_attn.bert_padding")
_LOG_PROBS = "fused, in torch"

Import = Callable[[str], Any]


@dataclass(frozen=True)
class Kernels:
    """What a run computes attention and log-probabilities with."""

    attention: str
    """As transformers calls it."""
    why: str
    """What decided it."""
    log_probs: str = _LOG_PROBS

    @property
    def is_packed(self) -> bool:
        """Whether the sequences of a micro-batch are one row without padding."""
        return self.attention == _FLASH

    def settings(self, model: str) -> dict[str, Any]:
        """verl's keys of the model at the dotted key `model`."""
        return {
            f"{model}.override_config": {"attn_implementation": self.attention},
            f"{model}.use_remove_padding": self.is_packed,
            f"{model}.use_fused_kernels": True,
            f"{model}.fused_kernel_options.impl_backend": "torch",
        }


def choose_kernels(wanted: str, import_module: Import = importlib.import_module) -> Kernels:
    """The kernels of a run on GPUs.

    Args:
        wanted: `training.attention`: auto, flash_attention_2 or sdpa.
        import_module: what imports a module by its name.

    Raises:
        ConfigError: flash-attn was asked for and does not import.
    """
    if wanted == _SDPA:
        return Kernels(_SDPA, 'training.attention = "sdpa"')
    if not (missing := _why_not(import_module)):
        return Kernels(_FLASH, "flash-attn imports")
    if wanted == _FLASH:
        raise ConfigError(
            f'training.attention = "{_FLASH}" needs the package flash-attn: {missing}. Build it '
            "for the torch that is installed (pip install flash-attn --no-build-isolation), or set "
            'training.attention = "sdpa"'
        )
    return Kernels(_SDPA, missing)


def _why_not(import_module: Import) -> str:
    """Why flash-attn cannot be used; empty where it can."""
    for name in _FLASH_MODULES:
        try:
            import_module(name)
        # Also an OSError of its library, or what its own start raises: half installed all the same.
        except Exception as error:
            if isinstance(error, ModuleNotFoundError) and find_spec("flash_attn") is None:
                return "flash-attn is not installed"
            return f"flash-attn is there and does not import ({type(error).__name__}: {error})"
    return ""
