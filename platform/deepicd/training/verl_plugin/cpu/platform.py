"""A CPU platform for verl's `PlatformRegistry`, which ships CUDA, ROCm and Ascend only.

In: nothing. Out: platform `cpu` in verl's registry, chosen by `VERL_PLATFORM=cpu`. Decided here,
and why:

- `current_device()` is the string "cpu": verl calls `tensor.to(get_device_id())`, where a number
means an accelerator.
- The device module is `torch.cpu` plus what verl reads from `torch.cuda`; memory readings are
those of the process.
- Weights travel through POSIX shared memory (`is_ipc_supported` is False).
- Ray slots are logical GPUs (`ray.init(num_gpus=N)`): verl counts only "GPU" and "NPU"
  (verl/single_controller/ray/base.py). The visible-devices variable must therefore not be CUDA's.
"""

import os
import resource
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from deepicd.training.verl_plugin.platform_choice import is_cpu_platform

_KIB = 1024


def register() -> None:
    """Put platform `cpu` into verl's registry."""
    PlatformRegistry.register(platform="cpu")(CPUPlatform)


def _nothing(*_args: object, **_kwargs: object) -> None:
    """Stand in for accelerator calls that have no meaning on a CPU."""


def _resident_bytes(*_args: object) -> int:
    return int(psutil.Process().memory_info().rss)


def _peak_resident_bytes(*_args: object) -> int:
    # Linux counts it in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _memory_info(*_args: object) -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return int(memory.available), int(memory.total)


def _device_module() -> types.ModuleType:
    """Module with `torch.cpu`'s members and those that verl expects of `torch.cuda`."""
    module = types.ModuleType("deepicd_torch_cpu")
    members = {
        name: getattr(torch.cpu, name) for name in dir(torch.cpu) if not name.startswith("__")
    }
    silent = ("set_device", "synchronize", "empty_cache", "ipc_collect", "reset_peak_memory_stats")
    members |= dict.fromkeys(silent, _nothing)
    members |= {
        # False keeps verl.utils.memory_utils away from calls that only CUDA has
        "is_available": lambda: False,
        "current_device": lambda: "cpu",
        "device_count": lambda: 1,
        "get_device_name": lambda *_: "CPU",
        "memory_allocated": _resident_bytes,
        "memory_reserved": _resident_bytes,
        "max_memory_allocated": _peak_resident_bytes,
        "max_memory_reserved": _peak_resident_bytes,
        "mem_get_info": _memory_info,
        "manual_seed": torch.manual_seed,
        "manual_seed_all": torch.manual_seed,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: torch.set_rng_state(state),
    }
    module.__dict__.update(members)
    return module


class CPUPlatform(PlatformBase):
    """verl's hardware interface, answered for a machine without accelerator."""

    _module: types.ModuleType | None = None

    @property
    def device_name(self) -> str:
        """torch's device type."""
        return "cpu"

    @property
    def vendor_name(self) -> str:
        """Vendor by which engines may be looked up."""
        return "cpu"

    @property
    def device_module(self) -> types.ModuleType:
        """What verl uses in place of `torch.cuda`."""
        if CPUPlatform._module is None:
            CPUPlatform._module = _device_module()
        return CPUPlatform._module

    def is_available(self) -> bool:
        """Always: there is a CPU."""
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        """Only when asked for by name: auto-detection must keep choosing an accelerator."""
        return is_cpu_platform()

    def current_device(self) -> str:  # verl annotates int, see the module docstring
        """Device that `tensor.to()` accepts."""
        return "cpu"

    def device_count(self) -> int:
        """One device a process."""
        return 1

    def set_device(self, device_index: int) -> None:
        """Nothing to choose."""

    def synchronize(self, device_index: int | None = None) -> None:
        """CPU work is done when the call returns."""

    def manual_seed(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        """The allocator has no settings."""

    def empty_cache(self) -> None:
        """The allocator has no cache."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        """No compute capability."""
        return None, None

    def communication_backend_name(self) -> str:
        """Collectives of torch.distributed."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Variable that verl writes slot numbers to; nothing reads it."""
        return "DEEPICD_CPU_SLOTS"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """No profiler ranges."""
        yield

    def profiler_start(self) -> None:
        """No profiler."""

    def profiler_stop(self) -> None:
        """No profiler."""

    def ray_resource_name(self) -> str:
        """Logical GPUs, see the module docstring."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """Ray sets nothing that must be kept from it."""
        return []

    def is_ipc_supported(self) -> bool:
        """Weights go through POSIX shared memory."""
        return False

    def rollout_env_vars(self) -> dict[str, str]:
        """vLLM's CPU settings, carried on to the server process."""
        return {name: value for name, value in os.environ.items() if name.startswith("VLLM_CPU_")}

    def cudart(self) -> Any:
        """No CUDA runtime."""
        return None
