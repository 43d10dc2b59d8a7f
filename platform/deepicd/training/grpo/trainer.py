"""verl's synchronous PPO trainer with what it leaves out, through its own hooks.

Added: every reward part in the training metrics (verl logs them in validation only), validation
scored by the one definition in `scoring` with its predictions on disk, a guard on actor/rollout
agreement, fingerprints of the first updates, a wait for space on a full disk, and a stream of
metrics to whoever drives the trial.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import transfer_queue as tq
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.single_controller.ray.base import ResourcePoolManager
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer
from verl.utils.tensordict_utils import assign_non_tensor_stack

from deepicd.errors import TrainingError
from deepicd.files import write_atomically
from deepicd.paths import validation_file
from deepicd.records import Prediction
from deepicd.scoring import format_predictions, interval, score_predictions
from deepicd.training.checkpoints.disk_space import disk_space_for
from deepicd.training.checkpoints.retention import CHECKPOINT_MODEL, state_dtype
from deepicd.training.grpo import metric_names
from deepicd.training.grpo.dataset import EpochSampler
from deepicd.training.grpo.fingerprint import FirstUpdates, digest_actor
from deepicd.training.verl_plugin.verl_version import require_verl

NAME = "deepicd"
_POLL_INTERVAL_S = 0.1
"""verl polls its replay buffer every 2 s, which is most of a small step."""

Report = Callable[[int, Mapping[str, float], Path | None], None]


class _ReportBackend:
    """A verl tracking backend: forwards numbers, never text."""

    def __init__(self, trainer: "ReportingTrainer") -> None:
        self._trainer = trainer

    def log(self, data: Mapping[str, Any], step: int) -> None:
        metrics = {key: float(value) for key, value in data.items() if _is_number(value)}
        self._trainer.report_step(step, metrics)

    def finish(self, **_: Any) -> None:
        return


@register_trainer(NAME)
class ReportingTrainer(PPOTrainerSync):
    """`PPOTrainerSync` that reports; what stands first is set by the driver of the trial."""

    report: Report | None = None
    on_stage: Callable[[str], None] = staticmethod(lambda stage: None)
    """Receives the name of the stage that begins: rollout, update, validation."""
    place: Callable[[ResourcePoolManager], ResourcePoolManager] | None = None
    """Makes of verl's resource pools those that the trial gets."""
    on_event: Callable[[str], None] = staticmethod(lambda line: None)
    """Receives what happens to the trial (`process.events`)."""
    disk_wait_s: float = 0.0
    """Longest wait for space on a full disk, in seconds."""
    min_probs_pearson: float | None = None
    """None switches the guard off (other precisions than float32)."""

    _saved: Path | None = None
    _tracking: Any = None
    _waited_s: float = 0.0
    _num_prompts: int = 0
    _set_up: Callable[["ReportingTrainer"], None] | None = None
    _updates: FirstUpdates | None = None
    """None in a run that goes on from a checkpoint."""

    def set_up_by(self, adopt: Callable[["ReportingTrainer"], None]) -> None:
        """Let `adopt` do the work of verl's `_setup`, which starts workers and engines."""
        self._set_up = adopt

    def _setup(self) -> None:
        require_verl("the reporting trainer")
        if self._set_up is None:
            super()._setup()
        else:
            self._set_up(self)
        self._waited_s = self.train_dataset.waited_s

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        pools: ResourcePoolManager = self.resource_pool_manager
        self.resource_pool_manager = self.place(pools) if self.place else pools

    def on_sample_begin(self) -> None:
        """The rollout's answers are waited for."""
        super().on_sample_begin()
        self.on_stage("rollout")

    def on_sample_end(self) -> None:
        """The answers are there."""
        super().on_sample_end()
        self.on_stage("update")

    def on_validate_begin(self) -> None:
        """The validation notes are answered."""
        super().on_validate_begin()
        self.on_stage("validation")

    def on_train_begin(self) -> None:
        """Before the first step."""
        super().on_train_begin()
        if self.global_steps == 1:
            self._updates = FirstUpdates(partial(digest_actor, self.actor_rollout_wg.workers))

    def leave(self) -> None:
        """End what runs beside the steps and the trackers that log them, which verl leaves to the
        end of its process."""
        self._shutdown_dump_executor()
        if self._tracking is not None:
            self._tracking.finish()

    def _build_replay_buffer(self) -> Any:
        self.trainer_mode = "sync"  # verl chooses buffers and checkpoints by this name
        buffer = super()._build_replay_buffer()
        buffer.poll_interval = _POLL_INTERVAL_S
        return buffer

    @property
    def logger(self) -> Any:
        """verl's tracking, with our backend added when verl sets it."""
        return self._tracking

    @logger.setter
    def logger(self, tracking: Any) -> None:
        tracking.logger["report"] = _ReportBackend(self)
        self._tracking = tracking

    train_dataloader: Any
    resource_pool_manager: Any

    def _init_dataloader(self) -> None:
        """As verl does, with an order of our own: verl's seeded shuffle would ask for the last row
        of a stream first.
        """
        super()._init_dataloader()
        data = self.config.data
        verls: Any = self.train_dataloader
        sampler = EpochSampler(
            len(self.train_dataset), seed=data.seed, is_shuffled=not data.curriculum
        )
        self.train_dataloader = StatefulDataLoader(
            dataset=self.train_dataset,
            batch_size=verls.batch_size,
            drop_last=verls.drop_last,
            collate_fn=verls.collate_fn,
            sampler=sampler,
        )

    def report_step(self, step: int, metrics: dict[str, float]) -> None:
        """Hand one step's metrics and, if one was saved at this step, its checkpoint folder on."""
        saved, self._saved = self._saved, None
        if self._updates is not None:
            metrics.update(self._updates.after(metrics))
        if self.report is not None:
            self.report(step, metrics, saved)

    def _fetch_one_gen_batch(self) -> Any:
        """With names that sort as the rows came, where verl's are random."""
        batch = super()._fetch_one_gen_batch()
        names = [f"{self._num_prompts + row:012}" for row in range(len(batch))]
        self._num_prompts += len(batch)
        assign_non_tensor_stack(batch, "uid", names)
        return batch

    def _balance_batch(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """In the order of the prompts: verl's is the order in which answers came back, by which
        sums of floats differ from run to run."""
        batch.reorder(sorted(range(len(batch.keys)), key=lambda row: rank(batch.keys[row])))
        return super()._balance_batch(batch, *args, **kwargs)

    def _save_checkpoint(self) -> None:
        saved = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        start_model = Path(self.config.actor_rollout_ref.model.path)
        with disk_space_for(saved, start_model, wait_s=self.disk_wait_s, on_event=self.on_event):
            super()._save_checkpoint()
        self._saved = saved
        state_dtype(self._saved / CHECKPOINT_MODEL)

    def _compute_metrics(
        self, batch: Any, metrics: dict[str, Any], timing_raw: Any, global_steps: int, epoch: int
    ) -> None:
        super()._compute_metrics(batch, metrics, timing_raw, global_steps=global_steps, epoch=epoch)
        extra = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields"]
        )
        metrics.update(mean_parts(_reward_infos(extra["extra_fields"])))
        metrics[metric_names.WAITED_S] = self.train_dataset.waited_s - self._waited_s
        self._waited_s = self.train_dataset.waited_s
        check_agreement(metrics, self.min_probs_pearson, step=global_steps)

    def _val_metrics_update(
        self,
        data_sources: Any,
        sample_uids: Any,
        reward_infos: Mapping[str, list[Any]],
        *args: Any,
        **kw: Any,
    ) -> dict[str, float]:
        metrics = super()._val_metrics_update(data_sources, sample_uids, reward_infos, *args, **kw)
        predictions = predictions_of(reward_infos)
        folder = Path(self.config.trainer.default_local_dir)
        keep_predictions(predictions, validation_file(folder, self.global_steps))
        scores = score_validation(predictions)
        return {
            **metrics,
            **{metric_names.validation(name): value for name, value in scores.items()},
        }


def rank(key: str) -> tuple[str, int, int]:
    """Sort key of an answer in verl's queue, whose name is `prompt_session_turn`."""
    prompt, session, turn = key.rsplit("_", 2)
    return prompt, int(session), int(turn)


def mean_parts(infos: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Mean and standard deviation of every numeric reward part over a batch of rollouts.

    A part that is absent for an answer is NaN there and left out; absent for all, it has no entry.
    """
    values: dict[str, list[float]] = defaultdict(list)
    for info in infos:
        for name, value in info.items():
            if _is_number(value) and not math.isnan(value):
                values[name].append(float(value))
    return {
        metric_names.reward_statistic(name, statistic): float(function(column))
        for name, column in values.items()
        for statistic, function in (("mean", np.mean), ("std", np.std))
    }


def predictions_of(reward_infos: Mapping[str, list[Any]]) -> list[Prediction]:
    """Validation answers from the columns that `rewards.verl_entry` returned, by note: verl's
    order is that in which they came.

    Raises:
        TrainingError: an answer was not scored; an infrastructure failure is never a score.
    """
    columns = [
        reward_infos.get(name, []) for name in ("note_id", "patient_id", "gold", "prediction")
    ]
    rows = list(zip(*columns, strict=True))
    if not rows or any(gold is None for _, _, gold, _ in rows):
        missing = sum(1 for row in rows if row[2] is None)
        raise TrainingError(
            f"{missing} of {len(rows)} validation answers carry no score; see the trial's log "
            "for the failed rollout"
        )
    return [
        Prediction(note_id=note, patient_id=patient, gold=gold, prediction=code or None)
        for note, patient, gold, code in sorted(rows)
    ]


def keep_predictions(predictions: Sequence[Prediction], path: Path) -> None:
    """Write a validation's predictions where trials are compared note by note."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, format_predictions(predictions))


def score_validation(predictions: Sequence[Prediction]) -> dict[str, float]:
    """All scores, and the interval of hierarchical F1 by patient."""
    low, high = interval(predictions)
    ends = {"hierarchical_f1_low": low, "hierarchical_f1_high": high}
    return score_predictions(predictions) | ends


def check_agreement(metrics: Mapping[str, Any], minimum: float | None, *, step: int) -> None:
    """Refuse to go on when vLLM and the actor disagree: the rollout then samples from other
    weights.
    """
    if minimum is None:
        return
    correlation = metrics.get(metric_names.PROBS_PEARSON)
    if correlation is None or not float(correlation) >= minimum:
        raise TrainingError(
            f"actor and rollout probabilities correlate at {correlation} in step {step}, below "
            f"training.min_probs_pearson = {minimum}: vLLM does not hold the actor's weights. "
            "Check the weight load of the rollout (docs/training.md) before trusting this run."
        )


def _reward_infos(extra_fields: Any) -> Iterable[Mapping[str, Any]]:
    for item in list(extra_fields):
        fields = getattr(item, "data", item) or {}
        yield fields.get("reward_extra_info") or {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
