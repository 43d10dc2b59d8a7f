"""A model behind vLLM in a Ray actor, for as long as a block lasts: notes → answers.

In: a Hugging Face folder, and splits or notes. Out: one `records.Prediction` a note, in order.
Decided here: the greedy answer is the prediction, whatever the model's own generation defaults say;
samples beside it only tell how much the model agrees with itself. Prompts are the token ids of
`tokens.stream_prompts`, so notes left out as too long in training are left out here. vLLM's process
is gone when the block ends, so its memory is free again; an engine that dies is an error and never
a score.
"""

import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from deepicd import answers, scoring
from deepicd.checkpoints import check_layout
from deepicd.clusters.ray_session import ray_session
from deepicd.errors import CapacityError, CheckpointError, DataError, MissingError
from deepicd.inference.engine_config import (
    GPU_VALUES,
    EngineConfig,
    offline_arguments,
    offline_environment,
)
from deepicd.prompts import PromptEncoder
from deepicd.records import Limits, Note, Prediction

_GROUPS = ("sex", "age_band", "race", "insurance")
"""Attributes of a patient that a split may know."""

_ABOUT_MEMORY = (
    "out of memory",
    "outofmemoryerror",
    "is less than desired gpu memory utilization",
    "no available memory for the cache blocks",
    "larger than the available kv cache memory",
)
"""Of torch and of vLLM 0.29 (`v1/worker/utils.py`, `v1/core/kv_cache_utils.py`)."""
_GONE_S = 30.0
"""Longest wait for the end of the engine's process, in seconds."""


@dataclass(frozen=True)
class Sampling:
    """Answers drawn beside the greedy one, as the endpoint draws them."""

    num_samples: int
    temperature: float
    seed: int = 1


@dataclass(frozen=True)
class _Completed:
    """What vLLM made of one prompt."""

    text: str
    num_tokens: int
    samples: tuple[str, ...] = ()


class OfflineEngine(EngineConfig):
    """A vLLM engine that answers whole splits; the values of `for_profile` fit the two profiles."""

    batch_size: int = Field(default=512, ge=1)
    """Prompts handed to the engine at a time."""
    seed: int = 1
    """Of the engine; greedy answers do not depend on it."""

    @classmethod
    def for_profile(cls, profile: Literal["cpu", "gpu"], *, seed: int = 1) -> "OfflineEngine":
        """Settings of an experiment's hardware profile."""
        values = {} if profile == "cpu" else GPU_VALUES
        return cls(**values, seed=seed)


class _EngineActor:
    """vLLM in an actor: token ids in, texts out."""

    def process(self) -> tuple[str, int]:
        """Ray node and process id."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def load(self, model: str, settings: OfflineEngine, *, limits: Limits) -> None:
        """Start the engine. Not in the constructor: a failure there looks like a dead process."""
        from vllm import LLM

        arguments = offline_arguments(
            settings,
            model=Path(model),
            max_model_len=limits.max_prompt_tokens + limits.max_response_tokens,
            seed=settings.seed,
        )
        self._engine = LLM(**arguments)
        self._max_response_tokens = limits.max_response_tokens

    def swap(self, model: str) -> None:
        """Put another model's weights in the place of these."""
        self._engine.collective_rpc("swap_weights", args=(model,))
        # Cached keys and values are those of the old weights.
        self._engine.reset_prefix_cache()

    def complete(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling | None = None
    ) -> list[_Completed]:
        """The greedy answer to each prompt, in order, and samples where asked for."""
        # Two requests: `temperature` counts for all answers of one.
        greedy = [answer for (answer,) in self._generate(prompts, temperature=0.0)]
        drawn: Sequence[Sequence[Any]] = [()] * len(prompts)
        if sampling is not None and sampling.num_samples:
            drawn = self._generate(
                prompts,
                n=sampling.num_samples,
                temperature=sampling.temperature,
                seed=sampling.seed,
            )
        return [
            _Completed(answer.text, len(answer.token_ids), tuple(sample.text for sample in samples))
            for answer, samples in zip(greedy, drawn, strict=True)
        ]

    def time(self, prompts: Sequence[Sequence[int]]) -> list[float]:
        """Seconds of the greedy answer to each prompt, asked one by one."""
        self._generate(prompts[:1], temperature=0.0)  # warms up
        seconds = []
        for ids in prompts:
            begun = time.perf_counter()
            self._generate([ids], temperature=0.0)
            seconds.append(time.perf_counter() - begun)
        return seconds

    def _generate(self, prompts: Sequence[Sequence[int]], **options: Any) -> list[Sequence[Any]]:
        from vllm import SamplingParams

        parameters = SamplingParams(max_tokens=self._max_response_tokens, **options)
        inputs = [{"prompt_token_ids": list(ids)} for ids in prompts]
        outputs = self._engine.generate(inputs, parameters, use_tqdm=False)
        return [output.outputs for output in outputs]


class LoadedModel:
    """A loaded model. Made by `load_model`."""

    def __init__(self, actor: Any, encoder: PromptEncoder, *, batch_size: int, model: Path) -> None:
        self._actor = actor
        self._encoder = encoder
        self._batch_size = batch_size
        self._model = model

    def answer_split(
        self, split: Path, *, limit: int = 0, sampling: Sampling | None = None
    ) -> list[Prediction]:
        """Answers to the notes of a split, in the file's order; the first `limit`, 0 for all.

        Tokenising runs ahead of generation: a batch is handed over as soon as it is there.

        Raises:
            MissingError: no such split.
            DataError: no note of it has a prompt that fits.
            CheckpointError: vLLM failed on the model.
            CapacityError: its process died.
        """
        if not split.is_file():
            raise MissingError(f"no notes at {split}. Build them first: deepicd notes build.")
        from deepicd.tokens import stream_prompts

        prompts = stream_prompts(split, encoder=self._encoder)
        # A limit lets Ray Data stop reading; a slice of the answers would not.
        prompts = prompts.limit(limit) if limit else prompts
        rows: list[dict[str, Any]] = []
        asked = []
        # References are collected and fetched at the end, so that tokenising runs ahead.
        for batch in prompts.iter_batches(batch_size=self._batch_size, batch_format="pyarrow"):
            ids = batch.column("token_ids").to_pylist()
            asked.append(self._actor.complete.remote(ids, sampling))
            rows += batch.select(["note_id", "patient_id", "code"]).to_pylist()
        if not rows:
            raise DataError(
                f"no note of {split} has a prompt that fits. Raise data.max_prompt_tokens."
            )
        completed = [answer for batch_answers in _wait(asked, split) for answer in batch_answers]
        groups = _read_groups(split)
        return [
            _prediction(row, answer, groups=groups.get(row["note_id"], {}))
            for row, answer in zip(rows, completed, strict=True)
        ]

    def answer_notes(
        self, notes: Sequence[Note], *, sampling: Sampling | None = None
    ) -> list[Prediction | None]:
        """Answers to a few notes; None where the prompt does not fit."""
        encoded = self._encoder.encode([note.text for note in notes])
        asked = [prompt.token_ids for prompt in encoded if prompt.token_ids]
        completed = iter(_wait(self._actor.complete.remote(asked, sampling), self._model))
        return [
            _prediction(
                {"note_id": note.note_id, "patient_id": note.patient_id, "code": note.code},
                next(completed),
            )
            if prompt.token_ids
            else None
            for note, prompt in zip(notes, encoded, strict=True)
        ]

    def swap(self, model: Path) -> None:
        """Answer with another model's weights from now on, in the engine that is there: a start of
        vLLM costs more than the answers of a small model. After an error the engine is of no use.

        Args:
            model: Hugging Face folder; same architecture and sizes, same tokeniser and limits.

        Raises:
            MissingError: the model does not exist.
            CheckpointError: its weights are not of this shape, or not finite.
            CapacityError: the engine's process died.
        """
        check_layout(model)
        self._model = model
        _wait(self._actor.swap.remote(str(model.resolve())), model)

    def time_answers(self, notes: Sequence[Note]) -> float:
        """Median seconds of one greedy answer, asked one by one."""
        encoded = self._encoder.encode([note.text for note in notes])
        asked = [prompt.token_ids for prompt in encoded if prompt.token_ids]
        seconds: list[float] = _wait(self._actor.time.remote(asked), self._model)
        return statistics.median(seconds)


@contextmanager
def load_model(
    model: Path, *, limits: Limits, engine: OfflineEngine | None = None
) -> Iterator[LoadedModel]:
    """vLLM with the model, until the block ends.

    Uses the Ray cluster that this process is connected to; without one it starts Ray here (or
    connects to RAY_ADDRESS) and leaves it again. The model's folder must be readable where the
    actor runs.

    Args:
        model: Hugging Face folder.
        limits: of prompt and answer; the same as in training.
        engine: how vLLM runs; the CPU profile's settings unless given.

    Raises:
        MissingError: the model does not exist.
        CheckpointError: vLLM cannot load it.
        CapacityError: the engine's process died.
    """
    check_layout(model)
    settings = engine or OfflineEngine()
    encoder = PromptEncoder.of_model(model, limits)
    with ray_session(), _actor(model, settings, limits) as actor:
        yield LoadedModel(actor, encoder, batch_size=settings.batch_size, model=model)


def _prediction(
    row: Mapping[str, Any], completed: _Completed, *, groups: Mapping[str, str] | None = None
) -> Prediction:
    answer = answers.parse_answer(completed.text, is_prefilled=True)
    sampled = [answers.parse_answer(text, is_prefilled=True).code for text in completed.samples]
    is_known = answer.code is not None and bool(sampled)
    return Prediction(
        row["note_id"],
        row["patient_id"],
        row["code"],
        answer.code,
        answer.reason,
        num_tokens=completed.num_tokens,
        groups=groups or {},
        shares=scoring.agreement(answer.code or "", sampled) if is_known else None,
    )


def _read_groups(split: Path) -> dict[str, dict[str, str]]:
    """Note → attributes of its patient, as far as the split has them."""
    import pyarrow.parquet

    present = [name for name in _GROUPS if name in pyarrow.parquet.read_schema(split).names]
    rows = pyarrow.parquet.read_table(split, columns=["note_id", *present]).to_pylist()
    return {
        row["note_id"]: {name: row[name] for name in present if row[name] is not None}
        for row in rows
    }


@contextmanager
def _actor(model: Path, settings: OfflineEngine, limits: Limits) -> Iterator[Any]:
    """The engine's actor, ready; its process is gone afterwards, whatever happened."""
    import ray

    actor = (
        ray.remote(_EngineActor)
        .options(
            num_cpus=settings.num_cpus,
            num_gpus=settings.num_gpus,
            runtime_env={"env_vars": offline_environment()},
        )
        .remote()
    )
    process = None
    try:
        # Asked before the model is loaded, which may kill the process: its end is awaited too.
        process = _wait(actor.process.remote(), model)
        _wait(actor.load.remote(str(model.resolve()), settings, limits=limits), model)
        yield actor
    finally:
        # Killing the actor ends vLLM with it: the engine lives in the actor's process.
        ray.kill(actor)
        # Of a process on another node `/proc` here says nothing.
        if process is not None and process[0] == ray.get_runtime_context().get_node_id():
            _await_exit(process[1])


def _wait(references: Any, subject: Path) -> Any:
    """Results of the actor; its failures in our terms."""
    import ray

    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as error:
        cause = str(error.cause).strip().splitlines() or [""]
        if _is_about_memory(f"{type(error.cause).__name__}: {error.cause}"):
            raise CapacityError(
                f"vLLM found too little memory for {subject}: {cause[0]:.300}. The model is as it "
                "was. Stop what else runs on that GPU, or lower gpu_memory_utilization."
            ) from None
        raise CheckpointError(
            f"vLLM failed on {subject}: {type(error.cause).__name__}: {cause[0]:.300}. "
            "Verify the model (deepicd registry verify) and its length limits."
        ) from None
    except ray.exceptions.RayActorError as error:
        cause = str(error).strip().splitlines() or [""]
        raise CapacityError(
            f"the vLLM process for {subject} died or could not start: {cause[-1]:.300}. Free "
            "memory or lower kv_cache_bytes and batch_size."
        ) from None


def _is_about_memory(cause: str) -> bool:
    """Whether an error of vLLM says that memory is short; it has no kind of its own for that."""
    return any(words in cause.lower() for words in _ABOUT_MEMORY)


def _await_exit(pid: int) -> None:
    """Return when the process is gone."""
    until = time.monotonic() + _GONE_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
