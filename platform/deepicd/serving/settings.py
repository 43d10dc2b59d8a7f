"""What can be chosen about serving: the endpoint, the engine in it, the log it writes to.

In: an experiment's `[serving]`, `[data]` and `[training]` parts, or values. Out: frozen settings
that travel to the replicas as plain JSON. Decided here: the CPU and the GPU profile differ in these
values only.
"""

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field

from deepicd.config import Experiment, Part, Scalar


class ServedModel(Part):
    """A model folder and the name under which it answers."""

    path: Path
    """Hugging Face layout: config, safetensors, tokeniser."""
    version: str = Field(min_length=1)
    """Named in every reply, in `/v1/models` and in the prediction log."""


class EngineSettings(Part):
    """vLLM and the resources of the process that holds it."""

    device: Literal["cpu", "cuda"] = "cpu"
    """What vLLM runs on."""
    dtype: str = "float32"
    """Weights and activations; float32 on CPU (bfloat16 has no fast kernel without AVX-512)."""
    enforce_eager: bool = True
    """No compilation and no CUDA graphs: starts in seconds."""
    max_num_seqs: int = Field(default=32, ge=1)
    """Answers generated at the same time."""
    kv_cache_bytes: int | None = Field(default=512 << 20, ge=1 << 20)
    """Memory of the key-value cache; None lets vLLM take `gpu_memory_utilization`."""
    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    """Share of the device that vLLM may take where `kv_cache_bytes` is None."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs over which one model is split."""
    num_cpus: float = Field(default=0.5, ge=0)
    """CPUs that Ray reserves for one engine; small, so that two versions fit side by side."""
    num_replicas: int = Field(default=1, ge=1)
    """Engine processes of one version."""

    @property
    def num_gpus(self) -> int:
        """GPUs that Ray reserves for one engine."""
        return self.tensor_parallel_size if self.device == "cuda" else 0

    @classmethod
    def of_profile(cls, profile: str) -> "EngineSettings":
        """Settings of the `cpu` or the `gpu` profile."""
        if profile == "cpu":
            return cls()
        return cls(
            device="cuda",
            dtype="bfloat16",
            enforce_eager=False,
            max_num_seqs=256,
            kv_cache_bytes=None,
            num_cpus=1,
        )


class LogSettings(Part):
    """Where predictions and labels go. Serving knows the protocol, not the room behind it."""

    factory: str = Field(pattern=r"^[\w.]+:\w+$")
    """`package.module:Name`, called with `arguments`; returns a `protocols.PredictionLog`."""
    arguments: dict[str, Scalar] = {}
    """Keyword arguments of the factory, for example its path."""


class ServingSettings(Part):
    """The endpoint."""

    host: str = "127.0.0.1"
    """Interface. Anything but loopback needs the environment variable DEEPICD_TOKEN."""
    port: int = Field(default=8000, ge=1, le=65535)
    """TCP port."""
    max_concurrent: int = Field(default=32, ge=1)
    """Requests in flight before the endpoint answers 429."""
    max_body_bytes: int = Field(default=1_000_000, ge=1)
    """Longest request body."""
    request_timeout_s: float = Field(default=300.0, gt=0)
    """Seconds until a note, or the beginning of a forwarded reply, is given up (504)."""
    max_prompt_tokens: int = Field(default=2048, ge=1)
    """Longest prompt, prefill included: the rule of training and evaluation."""
    max_response_tokens: int = Field(default=1024, ge=8)
    """Longest answer of the typed route."""
    overlong: Literal["truncate", "filter"] = "truncate"
    """A note with a longer prompt loses words, which the reply says, or is refused."""
    num_samples: int = Field(default=8, ge=0, le=64)
    """Sampled answers beside the greedy one, from which confidence and top-k are counted."""
    is_constrained: bool = False
    """Answers of the typed route end in a billable code, unless a request says otherwise."""
    temperature: float = Field(default=0.9, gt=0)
    """Temperature of those samples; that of training."""
    seed: int = Field(default=1, ge=0)
    """Seed of those samples: the same note gets the same reply."""
    max_shadow: int = Field(default=8, ge=1)
    """Notes that a shadow answers at the same time; what comes beyond that it does not see."""
    registry: str | Path | None = None
    """Folder or fsspec URL of a registry; its latest events are in `/v1/monitor`."""
    show_prompts: bool = False
    """Show the prompts of a trial's rollouts too, to who holds the admin token."""
    keep_former: bool = True
    """Keep the engine of the version before, where memory has room for it and one more: a
    roll-back then only moves the pointer."""
    log: LogSettings | None = None
    """None keeps no predictions; labels are then refused and `/v1/monitor` says so."""
    metrics_period_s: float = Field(default=5.0, gt=0)
    """Seconds between two publications of the windows as Prometheus gauges."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    """Seconds that a version may take until it answers."""
    probe_timeout_s: float = Field(default=120.0, gt=0)
    """Seconds within which a version must have answered its first, short note."""
    engine: EngineSettings = EngineSettings()

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach the endpoint."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @classmethod
    def of_experiment(
        cls, experiment: Experiment, *, log: LogSettings | None = None, port: int | None = None
    ) -> "ServingSettings":
        """The same limits as in training; `port` replaces the experiment's."""
        serving = experiment.serving
        return cls(
            host=serving.host,
            port=serving.port if port is None else port,
            max_concurrent=serving.max_concurrent,
            max_body_bytes=serving.max_note_bytes,
            max_prompt_tokens=experiment.data.max_prompt_tokens,
            max_response_tokens=experiment.training.max_response_tokens,
            overlong=experiment.data.overlong,
            num_samples=serving.num_samples,
            temperature=experiment.training.temperature,
            seed=experiment.seed,
            log=log,
            engine=EngineSettings.of_profile(experiment.profile),
        )
