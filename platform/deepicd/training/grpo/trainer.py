"""verl's synchronous PPO trainer with what it leaves out, through its own hooks.

Added: every reward component in the training metrics (verl logs them in validation only),
validation scored by the one definition in `scoring` with its predictions on disk, a guard on
actor/rollout agreement, fingerprints of the first updates, a wait for space on a full disk, and a
stream of metrics to whoever drives the trial.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import transfer_queue as tq
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.single_controller.ray.base import ResourcePoolManager
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer
from verl.utils.tensordict_utils import assign_non_tensor_stack

from deepicd.paths import validation_file
from deepicd.training.checkpoints.disk_space import disk_space_for
from deepicd.training.checkpoints.retention import CHECKPOINT_MODEL, state_dtype
from deepicd.training.grpo import metric_names
from deepicd.training.grpo.dataset import EpochSampler
from deepicd.training.grpo.fingerprint import FirstUpdates, digest_actor
from deepicd.training.grpo.step_metrics import (
    answer_order,
    check_agreement,
    check_divergence,
    is_number,
    keep_predictions,
    mean_components,
    predictions_of,
    score_validation,
    unpack_reward_infos,
)
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
        metrics = {key: float(value) for key, value in data.items() if is_number(value)}
        self._trainer.report_step(step, metrics)

    def finish(self, **_: Any) -> None:
        return


@register_trainer(NAME)
class ReportingTrainer(PPOTrainerSync):
    """`PPOTrainerSync` that reports; what stands first is set by the driver of the trial."""

    report: Report | None = None
    # `staticmethod`: a function in a class body would be handed the trainer first.
    on_stage: Callable[[str], None] = staticmethod(lambda stage: None)
    """Receives the name of the stage that begins: rollout, update, validation."""
    make_pools: Callable[[ResourcePoolManager], ResourcePoolManager] | None = None
    """Makes of verl's resource pools those that the trial gets."""
    on_event: Callable[[str], None] = staticmethod(lambda line: None)
    """Receives what happens to the trial (`process.events`)."""
    disk_wait_s: float = 0.0
    """Longest wait for space on a full disk, in seconds."""
    min_probs_pearson: float | None = None
    """None switches the guard off."""

    _saved: Path | None = None
    _tracking: Any = None
    _waited_s: float = 0.0
    _num_prompts: int = 0
    _set_up: Callable[["ReportingTrainer"], None] | None = None
    _updates: FirstUpdates | None = None
    """None in a run that goes on from a checkpoint."""

    def set_up_by(self, set_up: Callable[["ReportingTrainer"], None]) -> None:
        """Let `set_up` do the work of verl's `_setup`, which starts workers and engines."""
        self._set_up = set_up

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
        self.resource_pool_manager = self.make_pools(pools) if self.make_pools else pools

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
        # verl has counted on to the step that comes; a resumed run begins at a later one.
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
        # verl calls every backend in this table, but lets its settings name only those it knows.
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
        verls: Any = self.train_dataloader  # batch size and collation stay verl's
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
        # verl saves before it logs a step, so the folder belongs to the step that is logged next.
        saved, self._saved = self._saved, None
        if self._updates is not None:
            metrics.update(self._updates.after(metrics))
        if self.report is not None:
            self.report(step, metrics, saved)

    def _fetch_one_gen_batch(self) -> Any:
        """With names that sort as the rows came, where verl's are random."""
        batch = super()._fetch_one_gen_batch()
        # Padded with zeros, since names sort as text.
        names = [f"{self._num_prompts + row:012}" for row in range(len(batch))]
        self._num_prompts += len(batch)
        assign_non_tensor_stack(batch, "uid", names)
        return batch

    def _balance_batch(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """In the order of the prompts: verl's is the order in which answers came back, by which
        sums of floats differ from run to run."""
        batch.reorder(sorted(range(len(batch.keys)), key=lambda row: answer_order(batch.keys[row])))
        return super()._balance_batch(batch, *args, **kwargs)

    def _save_checkpoint(self) -> None:
        saved = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        start_model = Path(self.config.actor_rollout_ref.model.path)
        # Space is waited for here: an error of verl in the middle of saving would end the trial.
        with disk_space_for(saved, start_model, wait_s=self.disk_wait_s, on_event=self.on_event):
            super()._save_checkpoint()
        self._saved = saved
        # verl writes "bfloat16" into the export's configuration whatever the weights are.
        state_dtype(self._saved / CHECKPOINT_MODEL)

    def _compute_metrics(
        self, batch: Any, metrics: dict[str, Any], timing_raw: Any, global_steps: int, epoch: int
    ) -> None:
        # Read in this hook: verl clears the queue of the step's answers soon after it.
        super()._compute_metrics(batch, metrics, timing_raw, global_steps=global_steps, epoch=epoch)
        # verl leaves what the reward function returned in its queue, and logs the total alone.
        extra = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields"]
        )
        metrics.update(mean_components(unpack_reward_infos(extra["extra_fields"])))
        metrics[metric_names.WAITED_S] = self.train_dataset.waited_s - self._waited_s
        self._waited_s = self.train_dataset.waited_s
        self._check_rollout(metrics, step=global_steps)

    def _check_rollout(self, metrics: Mapping[str, Any], *, step: int) -> None:
        """Compare actor and rollout by what this run's settings let verl compute."""
        if not self.config.algorithm.rollout_correction.bypass_mode:
            check_agreement(metrics, self.min_probs_pearson, step=step)
            return
        actor = self.config.actor_rollout_ref.actor
        is_one_update = (
            actor.ppo_mini_batch_size == self.config.data.train_batch_size and actor.ppo_epochs == 1
        )
        # After a first update the ratio tells of that update, not of the rollout's weights; in
        # bfloat16 the two differ by more than the limit, which is one of float32.
        is_float32 = self.config.actor_rollout_ref.rollout.dtype == "float32"
        if self.min_probs_pearson is not None and is_one_update and is_float32:
            check_divergence(metrics, step=step)

    def _val_metrics_update(
        self,
        data_sources: Any,
        sample_uids: Any,
        reward_infos: Mapping[str, list[Any]],
        *args: Any,
        **kw: Any,
    ) -> dict[str, float]:
        # Here and not in `_validate`: it alone has the columns of all answers at once.
        metrics = super()._val_metrics_update(data_sources, sample_uids, reward_infos, *args, **kw)
        predictions = predictions_of(reward_infos)
        folder = Path(self.config.trainer.default_local_dir)
        keep_predictions(predictions, validation_file(folder, self.global_steps))
        scores = score_validation(predictions)
        return {
            **metrics,
            **{metric_names.validation(name): value for name, value in scores.items()},
        }
