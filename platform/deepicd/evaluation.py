"""A model x splits of notes → predictions; predictions → scores on disk.

In: a Hugging Face folder and Parquet splits. Out: one `records.Prediction` a note, in the file's
order, and a folder with `predictions.jsonl` and `scores.json`. Decided here: greedy decoding
whatever the model's own generation defaults say; prompts are the token ids of
`tokens.stream_prompts`, so notes left out as too long in training are left out here; vLLM runs in a
Ray actor whose process is gone when the call returns, so its memory is free again; an engine that
dies is an error and never a score. Macro-F1 is over the labels in the gold of the split, and that
list is frozen beside the scores.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepicd import answers, scoring
from deepicd.checkpoints import check_layout, write_atomically
from deepicd.errors import CapacityError, CheckpointError, DataError, MissingError
from deepicd.prompts import PromptEncoder
from deepicd.records import Limits, Prediction
from deepicd.session import ray_session

PREDICTIONS, SCORES = "predictions.jsonl", "scores.json"

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # engine in the actor's own process: one to free
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
_GONE_S = 30.0


@dataclass(frozen=True)
class EngineSettings:
    """How vLLM runs for one evaluation; the values of `for_profile` fit the two profiles."""

    dtype: str = "float32"
    """float32 on CPU (bf16 has no fast kernel there), bfloat16 on GPU."""
    num_cpus: float = 0.5
    """Ray CPUs of the engine's actor."""
    num_gpus: float = 0
    """Ray GPUs of the engine's actor."""
    kv_cache_bytes: int | None = 2**28
    """Memory of the key-value cache; None takes `gpu_memory_share` of the GPU."""
    gpu_memory_share: float = 0.9
    """Share of the GPU's memory, where `kv_cache_bytes` is None."""
    batch_size: int = 512
    """Prompts handed to the engine at a time."""
    seed: int = 1
    """Of the engine; greedy answers do not depend on it."""

    @classmethod
    def for_profile(cls, profile: Literal["cpu", "gpu"], *, seed: int = 1) -> "EngineSettings":
        """Settings of an experiment's hardware profile."""
        if profile == "cpu":
            return cls(seed=seed)
        return cls(dtype="bfloat16", num_cpus=1, num_gpus=1, kv_cache_bytes=None, seed=seed)


class _GreedyEngine:
    """vLLM in an actor: token ids in, greedy text out."""

    def process(self) -> tuple[str, int]:
        """Ray node and process id."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def load(self, model: str, settings: EngineSettings, *, limits: Limits) -> None:
        """Start the engine. Not in the constructor: a failure there looks like a dead process."""
        from vllm import LLM, SamplingParams

        memory = (
            {"gpu_memory_utilization": settings.gpu_memory_share}
            if settings.kv_cache_bytes is None
            else {"kv_cache_memory_bytes": settings.kv_cache_bytes}
        )
        self._engine = LLM(
            model=model,
            dtype=settings.dtype,
            max_model_len=limits.max_prompt_tokens + limits.max_response_tokens,
            enforce_eager=settings.num_gpus == 0,
            seed=settings.seed,
            disable_log_stats=True,
            **memory,
        )
        self._greedy = SamplingParams(temperature=0.0, max_tokens=limits.max_response_tokens)

    def generate(self, prompts: Sequence[Sequence[int]]) -> list[str]:
        """One text a prompt, in order."""
        inputs = [{"prompt_token_ids": list(ids)} for ids in prompts]
        outputs = self._engine.generate(inputs, self._greedy, use_tqdm=False)
        return [output.outputs[0].text for output in outputs]


def predict(
    model: Path,
    split: Path,
    *,
    limits: Limits,
    limit: int = 0,
    engine: EngineSettings | None = None,
) -> list[Prediction]:
    """Greedy predictions of one model for one split; see `predict_many`."""
    found = predict_many(model, {"split": split}, limits=limits, limit=limit, engine=engine)
    return found["split"]


def predict_many(
    model: Path,
    splits: Mapping[str, Path],
    *,
    limits: Limits,
    limit: int = 0,
    engine: EngineSettings | None = None,
) -> dict[str, list[Prediction]]:
    """Greedy predictions of one model for several splits with one start of vLLM.

    Uses the Ray cluster that this process is connected to; without one it starts Ray here (or
    connects to RAY_ADDRESS) and leaves it again. The model's folder must be readable where the
    actor runs.

    Args:
        model: Hugging Face folder.
        splits: name → Parquet file of notes.
        limits: of prompt and answer; the same as in training.
        limit: predict only the first notes of each split; 0 predicts all.
        engine: how vLLM runs; the CPU profile's settings unless given.

    Returns:
        Name → one prediction a note, in the file's order.

    Raises:
        MissingError: the model or a split does not exist.
        DataError: a split has no note whose prompt fits.
        CheckpointError: vLLM cannot load the model.
        CapacityError: the engine's process died.
    """
    check_layout(model)
    for split in splits.values():
        if not split.is_file():
            raise MissingError(f"no notes at {split}. Build them first: deepicd notes build.")
    settings = engine or EngineSettings()
    encoder = PromptEncoder.of_model(model, limits)
    with ray_session(), _actor(model, settings, limits) as actor:
        return {
            name: _predict_split(
                actor,
                _prompts(split, encoder, limit=limit),
                batch_size=settings.batch_size,
                place=split,
            )
            for name, split in splits.items()
        }


def majority_predictions(
    train: Path, split: Path, *, note_ids: Sequence[str] | None = None
) -> list[Prediction]:
    """The baseline that answers the most frequent code of `train` to every note of `split`.

    Ties go to the first code in order. `note_ids` keeps those notes only: pass the ids that the
    models were scored on, where prompts were left out as too long.

    Raises:
        MissingError: a file does not exist.
        DataError: a split without notes.
    """
    counts = Counter(row["code"] for row in _read_golds(train))
    code = min(counts, key=lambda code: (-counts[code], code))
    kept = None if note_ids is None else set(note_ids)
    return [
        Prediction(row["note_id"], row["patient_id"], row["code"], code)
        for row in _read_golds(split)
        if kept is None or row["note_id"] in kept
    ]


def evaluate(
    predictions: Sequence[Prediction],
    out: Path,
    *,
    train: Path | None = None,
    num_bootstrap: int = 1000,
    seed: int = 1,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Score predictions and write `out/predictions.jsonl` and, last, `out/scores.json`.

    The file holds `scores` (as returned, with intervals by patient), `labels` (the frozen list of
    each level), `reasons` (why answers were unusable, counted), `chapters`, with `train` also
    `thirds` (head, middle and tail by frequency there), and `facts` as given.

    Raises:
        DataError: no predictions, or a gold label that is not a billable code.
    """
    labels = scoring.gold_labels(predictions)
    scores = scoring.score_predictions(
        predictions, labels=labels, num_bootstrap=num_bootstrap, seed=seed
    )
    reasons = Counter(row.reason for row in predictions if row.reason is not None)
    scores["share_unknown_code"] = reasons["unknown_code"] / len(predictions)
    report = {
        "scores": scores,
        "labels": labels,
        "reasons": dict(sorted(reasons.items())),
        "chapters": scoring.score_chapters(predictions),
        "facts": {"num_bootstrap": num_bootstrap, "seed": seed, **(facts or {})},
    }
    if train is not None:
        training_codes = [row["code"] for row in _read_golds(train)]
        report["thirds"] = scoring.score_thirds(predictions, training_codes)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / PREDICTIONS, scoring.format_predictions(predictions))
    write_atomically(out / SCORES, json.dumps(report, indent=2, sort_keys=True) + "\n")
    return scores


def _prompts(split: Path, encoder: PromptEncoder, *, limit: int) -> Any:
    from deepicd.tokens import stream_prompts

    prompts = stream_prompts(split, encoder=encoder)
    return prompts.limit(limit) if limit else prompts


def _predict_split(actor: Any, prompts: Any, *, batch_size: int, place: Path) -> list[Prediction]:
    """Tokenising runs ahead of generation: a batch is handed over as soon as it is there."""
    rows: list[dict[str, Any]] = []
    texts = []
    for batch in prompts.iter_batches(batch_size=batch_size, batch_format="pyarrow"):
        texts.append(actor.generate.remote(batch.column("token_ids").to_pylist()))
        rows += batch.select(["note_id", "patient_id", "code"]).to_pylist()
    if not rows:
        raise DataError(f"no note of {place} has a prompt that fits. Raise data.max_prompt_tokens.")
    generated = [text for part in _wait(texts, place) for text in part]
    return [_prediction(row, text) for row, text in zip(rows, generated, strict=True)]


def _prediction(row: Mapping[str, Any], text: str) -> Prediction:
    answer = answers.parse_answer(text, is_prefilled=True)
    return Prediction(row["note_id"], row["patient_id"], row["code"], answer.code, answer.reason)


@contextmanager
def _actor(model: Path, settings: EngineSettings, limits: Limits) -> Iterator[Any]:
    """The engine's actor, ready; its process is gone afterwards, whatever happened."""
    import ray

    actor = (
        ray.remote(_GreedyEngine)
        .options(
            num_cpus=settings.num_cpus,
            num_gpus=settings.num_gpus,
            runtime_env={"env_vars": _ENVIRONMENT},
        )
        .remote()
    )
    place = None
    try:
        place = _wait(actor.process.remote(), model)
        _wait(actor.load.remote(str(model.resolve()), settings, limits=limits), model)
        yield actor
    finally:
        ray.kill(actor)
        if place is not None and place[0] == ray.get_runtime_context().get_node_id():
            _await_exit(place[1])


def _wait(references: Any, place: Path) -> Any:
    """Results of the actor; its failures in our terms."""
    import ray

    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as error:
        cause = str(error.cause).strip().splitlines() or [""]
        raise CheckpointError(
            f"vLLM failed on {place}: {type(error.cause).__name__}: {cause[0]:.300}. "
            "Verify the model (deepicd registry verify) and its length limits."
        ) from None
    except ray.exceptions.RayActorError as error:
        cause = str(error).strip().splitlines() or [""]
        raise CapacityError(
            f"the vLLM process for {place} died or could not start: {cause[-1]:.300}. Free memory "
            "or lower kv_cache_bytes and batch_size."
        ) from None


def _await_exit(pid: int) -> None:
    """Return when the process is gone."""
    until = time.monotonic() + _GONE_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)


def _read_golds(split: Path) -> list[dict[str, str]]:
    """Ids and gold codes of a split, without its text."""
    import pyarrow.parquet

    if not split.is_file():
        raise MissingError(f"no notes at {split}. Build them first: deepicd notes build.")
    columns = ["note_id", "patient_id", "code"]
    rows: list[dict[str, str]] = pyarrow.parquet.read_table(split, columns=columns).to_pylist()
    if not rows:
        raise DataError(f"{split} holds no notes. Generate more (data.num_notes).")
    return rows
