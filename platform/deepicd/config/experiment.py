"""The parts of an experiment and what each value may be: unit, range, default.

verl's own settings are not mirrored here: those that we sweep are mapped in
`training/grpo/config.py`, everything else goes through the `[verl]` table as dotted keys.
"""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from deepicd.config.data import DataConfig
from deepicd.config.endpoints import LOOPBACK, endpoint_faults
from deepicd.config.evaluation import EvaluationConfig
from deepicd.config.strict_model import (
    MAX_SEED,
    MAX_WHOLE,
    Contradiction,
    FolderOrUrl,
    LocalPath,
    Scalar,
    Seed,
    StrictModel,
)
from deepicd.config.sweep import SweepConfig
from deepicd.config.traces import TracesConfig
from deepicd.records import Limits

HEAD_WIDTHS = (32, 64, 80, 96, 112, 128)
"""Widths of an attention head that vLLM's CPU backend computes."""
_MAX_BOOTSTRAP = 100_000
"""Bootstrap replicates at most: beyond it an interval's ends hardly move, and memory fills."""
MLP_RATIO = 4
"""Width of the built model's feed-forward layers, in times its `hidden_size`."""


class ModelConfig(StrictModel):
    """The model that SFT starts from."""

    path: LocalPath | None = None
    """Hugging Face model folder; None builds a small Qwen2 with its own tokeniser."""
    vocab_size: int = Field(default=1536, ge=300)
    """Vocabulary of the built model's tokeniser (built model only)."""
    hidden_size: int = Field(default=192, ge=32)
    """Width of the built model."""
    num_layers: int = Field(default=4, ge=1)
    """Transformer blocks of the built model."""
    num_heads: int = Field(default=6, ge=1)
    """Attention heads of the built model; `hidden_size / num_heads` must be in HEAD_WIDTHS."""

    def contradictions(self) -> Iterator[Contradiction]:
        """A width that does not divide by the heads as vLLM needs."""
        width, rest = divmod(self.hidden_size, self.num_heads)
        if self.path is None and (rest or width not in HEAD_WIDTHS):
            yield (
                ("num_heads",),
                f"model.hidden_size / model.num_heads must be one of {HEAD_WIDTHS} (vLLM's CPU "
                f"attention); got {self.hidden_size} / {self.num_heads}",
            )


class SFTConfig(StrictModel):
    """Supervised fine-tuning on reasoning traces, before reinforcement learning."""

    is_enabled: bool = True
    """False starts GRPO from `model.path` as it is."""
    num_traces: int = Field(default=1200, ge=1)
    """Traces taken from the training split."""
    traces: LocalPath | None = None
    """Parquet file of traces (note_id, patient_id, code, response), as `deepicd traces build`
    writes it; None asks the teacher of `[traces]`, and without one writes them from the embedded
    corpus's own profiles."""
    epochs: int = Field(default=4, ge=1)
    """Passes over the traces."""
    batch_size: int = Field(default=32, ge=1)
    """Traces per optimiser step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate (cosine schedule)."""
    warmup_steps: int = Field(default=10, ge=0)
    """Linear warm-up, in optimiser steps."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW weight decay."""
    max_trace_tokens: int = Field(default=96, ge=8)
    """Longest answer (reasoning and code) in tokens."""


class TrainingConfig(StrictModel):
    """GRPO settings that we sweep or that decide resources; verl's other keys go in `[verl]`."""

    train_batch_size: int = Field(default=64, ge=1)
    """Prompts per GRPO step."""
    ppo_mini_batch_size: int = Field(default=64, ge=1)
    """Prompts per optimiser step; must divide `train_batch_size`."""
    ppo_micro_batch_size_per_gpu: int = Field(default=16, ge=1)
    """Sequences per forward pass and GPU."""
    rollout_n: int = Field(default=8, ge=2)
    """Answers sampled per prompt; GRPO normalises rewards within this group."""
    temperature: float = Field(default=0.9, gt=0)
    """Sampling temperature of rollouts."""
    learning_rate: float = Field(default=1e-6, gt=0)
    """Actor learning rate."""
    lr_warmup_steps: int = Field(default=0, ge=0)
    """Linear warm-up, in GRPO steps."""
    entropy_coeff: float = Field(default=0.0, ge=0)
    """Entropy bonus in the actor's loss."""
    use_kl_in_reward: bool = False
    """Subtract the KL controller's penalty from the reward (needs the reference model)."""
    kl_coef: float = Field(default=0.001, ge=0)
    """KL controller coefficient, used when `use_kl_in_reward`."""
    use_kl_loss: bool = False
    """Add a KL term to the actor's loss (needs the reference model)."""
    kl_loss_coef: float = Field(default=0.001, ge=0)
    """Coefficient of that term."""
    clip_ratio: float = Field(default=0.2, gt=0, lt=1)
    """PPO clip range."""
    max_response_tokens: int = Field(default=1024, ge=8)
    """Longest answer in tokens."""
    total_steps: int = Field(default=40, ge=1)
    """GRPO steps of a trial that is not stopped early."""
    total_epochs: int = Field(default=1000, ge=1)
    """Upper limit of passes over the training split; the limit reached first ends training."""
    bypass_mode: bool = False
    """Take the log-probabilities of the rollout for those of the old policy instead of computing
    them again (verl's `rollout_correction.bypass_mode`)."""
    validate_every: int = Field(default=10, ge=1)
    """Steps between validations; the scheduler compares trials at each one, and each one saves a
    checkpoint."""
    num_gpus: int = Field(default=1, ge=1)
    """GPUs (logical slots on the CPU profile) per node of one trial."""
    num_nodes: int = Field(default=1, ge=1)
    """Nodes of one trial."""
    attention: Literal["auto", "flash_attention_2", "sdpa"] = "auto"
    """Attention of SFT and GRPO on the GPU profile; auto takes flash-attn where it imports, else
    torch's own."""
    hang_timeout_s: float | None = Field(default=None, gt=0)
    """A trial that is silent for this long, in seconds, and for ten of its longest steps, is taken
    for hung and starts again from its last checkpoint; four times as long while it starts. None
    takes 300 on the CPU profile and 1800 on the GPU profile, where 7 billion parameters are read
    first."""
    disk_wait_s: float = Field(default=3600.0, ge=0)
    """Seconds that a trial waits for free space on a full disk before it fails."""
    keep_rollouts: bool = False
    """Write every prompt and answer of every step into the trial's folder. They hold notes."""
    min_probs_pearson: float | None = Field(default=None, ge=-1, le=1)
    """A trial fails when actor and rollout probabilities correlate less. None takes 0.99 on the CPU
    profile (float32) and 0.95 on the GPU profile (bfloat16)."""

    @property
    def world_size(self) -> int:
        """Ranks of one trial: GPUs (logical slots) over all nodes."""
        return self.num_gpus * self.num_nodes


class JudgeConfig(StrictModel):
    """An LLM that rates answers, behind any OpenAI-compatible endpoint (`rewards.judge`)."""

    url: str = ""
    """Base address, `/v1` included; empty for no judge."""
    model: str = ""
    """Name of the model at that endpoint."""
    allowed_hosts: tuple[str, ...] = LOOPBACK
    """Hosts that may see a note. Another one must be named here as well as in `url`."""
    api_key_variable: str = "DEEPICD_JUDGE_KEY"
    """Environment variable of the reward workers that holds the endpoint's key, if it asks."""
    max_concurrent: int = Field(default=16, ge=1)
    """Requests in flight per reward worker."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait for one request, in seconds."""
    max_retries: int = Field(default=2, ge=0)
    """Further attempts after a connection error, a time-out, 429 or 5xx, with back-off."""
    pause_s: float = Field(default=30.0, ge=0)
    """After an endpoint failed `max_failures` times in a row nothing is asked for this long."""
    max_failures: int = Field(default=3, ge=1)
    """Failed requests in a row that count as an endpoint that is down."""
    when_down: Literal["absent", "stop"] = "absent"
    """`absent`: the component is left out of the reward, and counted; `stop`: the trial fails."""
    cache: LocalPath | None = None
    """SQLite file of ratings by content hash, shared by workers; None keeps them in memory."""
    max_note_characters: int = Field(default=12_000, ge=100)
    """The judge sees this much of a note's beginning."""
    price_per_million_prompt_tokens: float = Field(default=0.0, ge=0)
    """For the cost counter, in any currency."""
    price_per_million_completion_tokens: float = Field(default=0.0, ge=0)
    """For the cost counter, in the same currency."""

    def contradictions(self) -> Iterator[Contradiction]:
        """An endpoint that may not see notes, or that is named in part."""
        yield from endpoint_faults(
            "rewards.judge", self.url, model=self.model, allowed_hosts=self.allowed_hosts
        )


class RewardConfig(StrictModel):
    """Reward weights. They travel to verl as values, never through the environment."""

    preset: str = "default"
    """Named preset (see docs/rewards.md); `weights` replace the preset's own, name by name."""
    # pydantic copies a default that can be changed.
    weights: dict[str, float] = {}
    """Name of reward → weight ≥ 0; with 0 the component is in the metrics and not in the total."""
    hierarchy_curve: float = Field(default=1.0, gt=0)
    """Exponent of the hierarchical credit: share of the gold path that is right, to this power."""
    judge: JudgeConfig = JudgeConfig()
    """Who gives the component `judge`; its weight is `weights.judge`."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Weights that cannot steer."""
        for name, weight in self.weights.items():
            if weight < 0:
                why = f"rewards.weights.{name} must be a number >= 0; got {weight}; change it"
                yield ("weights", name), why


class PromotionConfig(StrictModel):
    """The gate between a sweep's winner and the champion."""

    registry: FolderOrUrl = ""
    """Folder or fsspec URL of the registry; `{run}` stands for the run's folder. Empty: `registry`
    beside the folders of the runs, so that all of them share it."""
    num_candidates: int = Field(default=1, ge=1, le=1000)
    """Best trials of a sweep that are brought to the gate; each further one narrows what passes."""
    min_difference: float = 0.0
    """Smallest gain in hierarchical F1 on the promotion split that is accepted."""
    confidence: float = Field(default=0.95, gt=0.5, le=0.9999)
    """Confidence of the paired bootstrap interval (by patient)."""
    require_significance: bool = True
    """The interval's lower end must exceed `min_difference`; False lets noise through."""
    min_patients: int = Field(default=20, ge=1)
    """Fewer patients in the comparison are too few to judge by."""
    max_unparsable: float = Field(default=0.1, ge=0, le=1)
    """Largest share of unparsable answers that is accepted."""
    max_chapter_loss: float = Field(default=0.25, ge=0)
    """Non-inferiority margin: the lower end of the difference in hierarchical F1 in a chapter must
    lie above minus this."""
    min_chapter_notes: int = Field(default=30, ge=1)
    """Chapters with fewer notes in the promotion split are not compared on their own."""
    max_subgroup_loss: float = Field(default=0.25, ge=0)
    """As `max_chapter_loss`, in one group of patients by sex, age, race or insurance."""
    min_subgroup_notes: int = Field(default=30, ge=1)
    """Smaller groups are not compared on their own."""
    undecided_blocks: bool = False
    """A chapter or group with too few notes to know blocks the promotion."""
    max_nonexistent: float = Field(default=0.05, ge=0, le=1)
    """Largest share of answers with a code that does not exist or cannot be billed."""
    max_length_ratio: float = Field(default=2.0, gt=0)
    """Mean length of an answer in tokens, as a multiple of the champion's, at most."""
    max_latency_ratio: float = Field(default=3.0, gt=0)
    """Median time of an answer, as a multiple of the champion's, at most."""
    max_behaviour_loss: float = Field(default=0.1, ge=0, le=1)
    """Loss in the share of passed cases of a behaviour test that is refused, once it is more than
    chance (exact one-sided test on the cases that the two do not share)."""
    min_behaviour: float = Field(default=0.0, ge=0, le=1)
    """Share of passed cases that every behaviour test needs; 0 asks for none."""
    num_calibration: int = Field(default=200, ge=0)
    """Validation notes on which a version's confidence is calibrated; 0 leaves it as it is."""
    num_bootstrap: int = Field(default=1000, ge=100, le=_MAX_BOOTSTRAP)
    """Bootstrap replicates."""
    compare_logits: bool = True
    """Compare the winner's export with the actor's own shards; takes host memory for two float32
    copies of the model."""


HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$")]


class ServingConfig(StrictModel):
    """The endpoint."""

    host: str = "127.0.0.1"
    """Interface; anything but loopback needs a token (environment variable DEEPICD_TOKEN)."""
    port: int = Field(default=8000, ge=1, le=65535)
    """TCP port."""
    hosts: tuple[HostName, ...] = ()
    """Names, besides those of this machine, under which clients may reach the endpoint: a request
    for another host is refused."""
    max_concurrent: int = Field(default=32, ge=1)
    """Requests in flight before the endpoint answers 429."""
    max_note_bytes: int = Field(default=1_000_000, ge=1)
    """Longest request body in bytes."""
    num_samples: int = Field(default=8, ge=0, le=64)
    """Answers sampled beside the greedy one, for confidence and top-k."""
    window: int = Field(default=500, ge=1)
    """Predictions of one model version in one monitoring window."""
    num_check_notes: int = Field(default=24, ge=0)
    """Test notes that the endpoint is asked, and their labels sent to it, at the end of `deepicd
    run`; 0 starts no endpoint there."""


class Experiment(StrictModel):
    """Everything one run needs."""

    max_number: ClassVar[int] = MAX_WHOLE  # verl counts memory in bytes

    name: str = Field(default="experiment", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    """Short name; results lie under runs/NAME unless told otherwise."""
    question: str = ""
    """What the experiment is to answer, in words."""
    profile: Literal["cpu", "gpu"] = "cpu"
    """Hardware profile: composes verl, vLLM and Ray settings; nothing else differs."""
    seed: Seed = 1
    """Seed of model, sampler, training and bootstrap; notes and splits follow `data.split_seed`."""
    # One object for all experiments: settings are frozen.
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    traces: TracesConfig = TracesConfig()
    sft: SFTConfig = SFTConfig()
    training: TrainingConfig = TrainingConfig()
    rewards: RewardConfig = RewardConfig()
    sweep: SweepConfig = SweepConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    promotion: PromotionConfig = PromotionConfig()
    serving: ServingConfig = ServingConfig()
    verl: dict[str, Scalar] = {}
    """Dotted verl key → value, applied last; keys that the installed verl lacks are refused
    (`+key` adds one)."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Batches that verl cannot divide, seeds of repeated trials beyond what libraries take."""
        for name, why in _batch_faults(self.training):
            yield ("training", name), why
        last = self.seed + self.sweep.num_seeds + self.sweep.confirm_top * self.sweep.confirm_seeds
        if last - 1 > MAX_SEED:
            yield (
                ("seed",),
                f"seed ({self.seed}) and those that follow it (sweep.num_seeds, "
                f"sweep.confirm_seeds) must be at most {MAX_SEED}; lower it",
            )

    @property
    def limits(self) -> Limits:
        """How long prompts and answers may be."""
        return Limits(
            self.data.max_prompt_tokens, self.training.max_response_tokens, self.data.overlong
        )

    @property
    def hang_timeout_s(self) -> float:
        """`training.hang_timeout_s`, or the profile's."""
        return self.training.hang_timeout_s or (300.0 if self.profile == "cpu" else 1800.0)

    @property
    def min_probs_pearson(self) -> float:
        """`training.min_probs_pearson`, or the profile's."""
        if self.training.min_probs_pearson is not None:
            return self.training.min_probs_pearson
        return 0.99 if self.profile == "cpu" else 0.95


def _batch_faults(training: TrainingConfig) -> Iterator[tuple[str, str]]:
    """Field → the way out, where batch sizes do not divide as verl needs."""
    if training.train_batch_size % training.ppo_mini_batch_size:
        yield (
            "ppo_mini_batch_size",
            f"training.train_batch_size ({training.train_batch_size}) must be a multiple of "
            f"training.ppo_mini_batch_size ({training.ppo_mini_batch_size}); change either",
        )
    num_gpus = training.world_size
    per_gpu, rest = divmod(training.ppo_mini_batch_size * training.rollout_n, num_gpus)
    if rest or per_gpu % training.ppo_micro_batch_size_per_gpu:
        yield (
            "ppo_micro_batch_size_per_gpu",
            f"ppo_mini_batch_size x rollout_n ({training.ppo_mini_batch_size} x "
            f"{training.rollout_n}) must be a multiple of GPUs x ppo_micro_batch_size_per_gpu "
            f"({num_gpus} x {training.ppo_micro_batch_size_per_gpu}); "
            "choose a micro-batch that divides it",
        )
