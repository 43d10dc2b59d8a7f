"""verl's SFT trainer inside a Ray Train worker.

In: verl's SFT configuration, and the process group that Ray Train has set up. Out: `ray.train`
metrics (`train/loss` as the mean since the last report, `train/lr`, `train/grad_norm`) and, with
the last report, the Hugging Face folder as checkpoint and the losses of all reports (a Train
result keeps the metrics of reports with a checkpoint only). Decided here, and why:

- verl's `run_sft` makes its own process group from torchrun's environment; here Ray Train has made
  it, so the trainer class is used directly.
- Ray Train's controller takes one report from a worker every two seconds, and the next report waits
  for it. A small model steps ten times as fast, so only `_NUM_REPORTS` of its steps report.
"""

from pathlib import Path
from statistics import fmean
from typing import Any

import ray.train
import torch.distributed
from omegaconf import DictConfig
from ray.train import Checkpoint
from verl.trainer.sft_trainer import SFTTrainer
from verl.utils import tensordict_utils

from deepicd.training.verl_plugin.verl_version import require_verl

_NUM_REPORTS = 4
"""Progress reports of a run, spread evenly over its steps."""

_LATEST = ("lr", "grad_norm")


class _ReportingClient:
    """verl's training client that reports to Ray Train on the way."""

    def __init__(self, client: Any, *, num_steps: int) -> None:
        self._client = client
        self._interval = max(1, num_steps // _NUM_REPORTS)
        self._losses: list[float] = []
        self.step = 0
        self.reported: list[float] = []
        """Mean loss of each report."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def train_batch(self, data: Any) -> Any:
        """One optimiser step. Every rank reports in the same steps; Ray Train keeps rank 0's."""
        output = self._client.train_batch(data=data)
        metrics = tensordict_utils.get(output, "metrics") or {}
        self.step += 1
        self._losses.append(_number(metrics["loss"]))
        if self.step % self._interval == 0:
            latest = {f"train/{name}": _number(metrics[name]) for name in _LATEST}
            self.reported.append(fmean(self._losses))
            ray.train.report({"step": self.step, "train/loss": self.reported[-1], **latest})
            self._losses.clear()
        return output


class _ReportingSFTTrainer(SFTTrainer):
    """verl's SFT trainer with that client."""

    def _init_engine(self) -> None:
        require_verl("the reporting SFT trainer")
        super()._init_engine()
        # verl makes the client here and calls it in `fit`; it has no hook in between.
        client: Any = self.__dict__["training_client"]
        self.training_client = _ReportingClient(client, num_steps=self.total_training_steps)


def run_sft(config: DictConfig) -> None:
    """Train to the last step and report the exported model; runs on every rank."""
    trainer = _ReportingSFTTrainer(config=config)
    trainer.fit()
    # Rank 0 writes the export; nobody reports before it is there.
    torch.distributed.barrier()
    client = trainer.training_client
    step = client.step
    folder = Path(config.trainer.default_local_dir) / f"global_step_{step}" / "huggingface"
    is_first = torch.distributed.get_rank() == 0
    ray.train.report(
        {"step": step, "num_traces": len(trainer.train_dataset), "losses": client.reported},
        checkpoint=Checkpoint.from_directory(folder) if is_first else None,
    )


def _number(value: Any) -> float:
    """Last value of a metric that verl keeps as a number or a list of them."""
    return float(value[-1] if isinstance(value, list | tuple) else value)
