"""What can be chosen about serving: the endpoint, the engine in it, the log it writes to.

In: an experiment's `[serving]`, `[data]` and `[training]` parts, or values. Out: frozen settings
that travel to the replicas as plain JSON. Decided here: the experiment's own `ServingConfig` and
the limits of prompts and answers are contained, not copied, so each value has one address; the CPU
and the GPU profile differ in values of the engine only.
"""

import ipaddress
from pathlib import Path

from pydantic import Field, model_validator

from deepicd.config import Experiment, Seed, ServingConfig, StrictModel
from deepicd.config.strict_model import FolderOrUrl, LocalPath
from deepicd.inference.engine_config import GPU_VALUES, EngineConfig
from deepicd.records import Limits


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ServedModel(StrictModel):
    """A model folder and the name under which it answers."""

    path: LocalPath
    """Hugging Face layout: config, safetensors, tokeniser."""
    version: str = Field(min_length=1)
    """Named in every reply, in `/v1/models` and in the prediction log."""


class EngineSettings(EngineConfig):
    """The engine of one version, and how many of them run."""

    max_num_seqs: int | None = Field(default=32, ge=1)
    """Answers generated at the same time; None takes vLLM's own."""
    kv_cache_bytes: int | None = Field(default=512 << 20, ge=1 << 20)
    """Memory of the key-value cache; None lets vLLM take `gpu_memory_utilization`."""
    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    """Share of the device that vLLM may take where `kv_cache_bytes` is None."""
    num_replicas: int = Field(default=1, ge=1)
    """Engine processes of one version."""

    @classmethod
    def for_profile(cls, profile: str) -> "EngineSettings":
        """Settings of the `cpu` or the `gpu` profile."""
        return cls() if profile == "cpu" else cls(**GPU_VALUES, max_num_seqs=256)


class ServingSettings(StrictModel):
    """The endpoint."""

    config: ServingConfig = ServingConfig()
    """The experiment's `[serving]`: interface, port, requests in flight, samples, windows."""
    limits: Limits = Limits(2048, 1024)
    """Of prompt and answer: the rule of training and evaluation."""
    request_timeout_s: float = Field(default=300.0, gt=0)
    """Seconds until a note, or the beginning of a forwarded reply, is given up (504)."""
    body_timeout_s: float = Field(default=30.0, gt=0)
    """Seconds within which the body of a request must have come (408)."""
    reply_timeout_s: float = Field(default=900.0, gt=0)
    """Seconds that a whole reply may take, streams and slow readers included (504, or cut off)."""
    is_constrained: bool = False
    """Answers of the typed route end in a billable code, unless a request says otherwise."""
    temperature: float = Field(default=0.9, gt=0)
    """Temperature of the sampled answers; that of training."""
    seed: Seed = 1
    """Seed of those samples: the same note gets the same reply."""
    max_shadow: int = Field(default=8, ge=1)
    """Notes that a shadow answers at the same time; what comes beyond that it does not see."""
    registry: FolderOrUrl | None = None
    """Folder or fsspec URL of a registry; its latest events are in `/v1/monitor`."""
    show_prompts: bool = False
    """Show the prompts of a trial's rollouts too, to who holds the admin token."""
    keep_former: bool = True
    """Keep the engine of the version before, where memory has capacity for it and one more: a
    roll-back then only changes the traffic split."""
    log: LocalPath | None = None
    """Folder of the prediction log. None keeps no predictions: labels are then refused, and
    `/v1/monitor` says so."""
    metrics_period_s: float = Field(default=5.0, gt=0)
    """Seconds between two publications of the windows as Prometheus gauges."""
    start_timeout_s: float = Field(default=600.0, gt=0)
    """Seconds that a version may take until it answers."""
    probe_timeout_s: float = Field(default=120.0, gt=0)
    """Seconds within which a version must have answered its first, short note."""
    engine: EngineSettings = EngineSettings()

    @model_validator(mode="after")
    def _check(self) -> "ServingSettings":
        if self.limits.max_prompt_tokens < 1 or self.limits.max_response_tokens < 1:
            raise ValueError(f"limits must be at least 1 token each; got {self.limits}")
        return self

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach the endpoint."""
        return is_loopback(self.config.host)

    @classmethod
    def of_experiment(
        cls,
        experiment: Experiment,
        *,
        log: Path | None = None,
        host: str | None = None,
        port: int | None = None,
    ) -> "ServingSettings":
        """The same limits as in training; `host` and `port` replace the experiment's."""
        address = {"host": host, "port": port}
        changes = {name: value for name, value in address.items() if value is not None}
        config = experiment.serving.model_dump() | changes
        return cls(
            config=ServingConfig.model_validate(config),
            limits=experiment.limits,
            temperature=experiment.training.temperature,
            seed=experiment.seed,
            log=log,
            engine=EngineSettings.for_profile(experiment.profile),
        )
