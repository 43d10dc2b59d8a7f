"""Whether there is capacity for one more engine beside those that run.

In: a model and the settings. Out: yes or no, or what is missing. Decided here: on GPU Ray's free
GPUs count. On CPU the free memory of the machine that the endpoint was started on counts, against
the weights, the key-value cache and what the two processes of an engine hold besides; Ray's own
memory resource does not know what a process really holds.
"""

import os
from pathlib import Path

from deepicd.errors import CapacityError
from deepicd.serving.settings import ServedModel, ServingSettings

_PROCESS_BYTES = 2 << 30
"""Resident memory of an engine's two processes without model and cache (1.9 GB seen)."""
_GIB = 1 << 30


def has_capacity(model: ServedModel, settings: ServingSettings) -> bool:
    """Whether a further version fits beside those that run."""
    need, free, _ = _measure(model, settings)
    return free >= need


def check_capacity(model: ServedModel, settings: ServingSettings) -> None:
    """Raise CapacityError when a further version does not fit."""
    need, free, unit = _measure(model, settings)
    if free < need:
        raise CapacityError(
            f"version {model.version} needs {need:.1f} {unit} beside the versions that answer, and "
            f"{free:.1f} are free. Withdraw a challenger, lower engine.kv_cache_bytes or "
            "engine.num_replicas, or stop the endpoint and serve the new version alone."
        )


def engine_bytes(model: ServedModel, settings: ServingSettings) -> int:
    """Memory of one engine on CPU, in bytes."""
    weights = sum(file.stat().st_size for file in Path(model.path).glob("*.safetensors"))
    return weights + (settings.engine.kv_cache_bytes or 0) + _PROCESS_BYTES


def _measure(model: ServedModel, settings: ServingSettings) -> tuple[float, float, str]:
    engine = settings.engine
    if engine.num_gpus:
        import ray

        free = float(ray.available_resources().get("GPU", 0))
        return float(engine.num_gpus * engine.num_replicas), free, "GPUs"
    need = engine.num_replicas * engine_bytes(model, settings)
    return need / _GIB, free_bytes() / _GIB, "GiB"


def free_bytes() -> int:
    """Memory that can be had without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def count_cpus(settings: ServingSettings) -> int:
    """CPUs for a Ray of the endpoint's own: champion, challenger, former champion, gateway."""
    engine = settings.engine
    return max(os.cpu_count() or 1, int(3 * engine.num_replicas * engine.num_cpus) + 1)
