"""Caps that bind: a trial ends at the report with which it, or all together, reach a cap.

In: the sweep's folder, the reports of its trials. Out: a stopper of Ray Tune. Decided here:

- A trial that is cut counts with what it has: its best validation so far, and its checkpoint.
- Its last report says why (`ENDED_BY`), so that a later reader knows.
- The last step is no cut: a trial that reaches it ends by itself.
- Caps lie beside the sweep (`caps.json`), written at each start: Ray Tune restores stopper and
  searcher as they were pickled at the first, and a sweep may go on with another cap.
- A sweep that goes on counts what its trials took before, from their reports. Time between an
  interruption and the resume does not count, nor what a trial did since its last report.
"""

import json
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray.tune import Stopper

from deepicd.config import Experiment
from deepicd.errors import CapacityError
from deepicd.files import write_json
from deepicd.paths import CAPS, TUNE
from deepicd.sweeps.results.trials import ENDED_BY, seconds_spent, started_trials

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caps:
    """GPU-hours that trials may take; infinite without a cap."""

    trial: float
    """One trial."""
    whole: float
    """The run, SFT and evaluation included."""
    elsewhere: float = 0.0
    """What of that is not for trials."""

    @property
    def trials(self) -> float:
        """All trials together."""
        return self.whole - self.elsewhere


def write_caps(storage: Path, experiment: Experiment, *, elsewhere: float) -> Caps:
    """Keep the caps of a sweep beside it.

    Raises:
        CapacityError: nothing is left for a trial.
    """
    sweep = experiment.sweep
    caps = Caps(sweep.max_trial_gpu_hours or math.inf, sweep.gpu_hours_cap, elsewhere)
    if caps.trials <= 0:
        raise CapacityError(
            f"the cap of {caps.whole:.2f} GPU-hours (sweep.max_gpu_hours, sweep.max_cost) leaves "
            f"no trial anything: SFT and evaluation take {elsewhere:.2f}; raise it: deepicd resume "
            "NAME --set sweep.max_gpu_hours=…"
        )
    storage.mkdir(parents=True, exist_ok=True)
    write_json(storage / CAPS, asdict(caps))  # no cap is null there
    return caps


def read_caps(storage: Path) -> Caps:
    """The caps of a sweep; none where it was started without."""
    file = storage / CAPS
    if not file.is_file():
        return Caps(math.inf, math.inf)
    values = json.loads(file.read_text(encoding="utf-8"))
    return Caps(**{name: math.inf if cap is None else cap for name, cap in values.items()})


class EndAtCap(Stopper):
    """Ends a trial at the report with which a cap is reached."""

    def __init__(self, experiment: Experiment, *, storage: Path) -> None:
        self._training = experiment.training
        self._storage = storage.resolve()
        self._start: _Start | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without what this start of the sweep has seen."""
        return {**vars(self), "_start": None}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial ends with this report, into which the reason is written."""
        if self._start is None:
            # Not in the constructor: a sweep that goes on has the stopper of its first start,
            # unpickled.
            self._start = _Start.of(self._storage)
        self._start.now[trial_id] = float(result.get("time_total_s", 0.0))
        if int(result["step"]) >= self._training.total_steps:
            return False
        reason = self._reason(trial_id, self._start)
        if reason:
            result[ENDED_BY] = reason
            _log.warning(f"trial {trial_id} ends after step {result['step']}: {reason}")
        return bool(reason)

    def stop_all(self) -> bool:
        """No: the others end at reports of their own, with what they have."""
        return False

    def _reason(self, trial_id: str, start: "_Start") -> str:
        caps, to_hours = start.caps, self._training.world_size / 3600
        own, all_of_them = start.of_trial(trial_id) * to_hours, start.of_all() * to_hours
        if own >= caps.trial:
            return f"the cap of {caps.trial:g} GPU-hours for a trial (sweep.max_trial_gpu_hours)"
        if all_of_them >= caps.trials:
            other = f", {caps.elsewhere:.2f} of them for SFT and evaluation" * bool(caps.elsewhere)
            return f"the cap of {caps.whole:g} GPU-hours for the run{other}"
        return ""


@dataclass
class _Start:
    """What one start of a sweep knows."""

    caps: Caps
    earlier: dict[str, float]
    """Trial → seconds in earlier starts."""
    now: dict[str, float]
    """Trial → seconds in this one."""

    @classmethod
    def of(cls, storage: Path) -> "_Start":
        """Before any report of this start is on disk."""
        earlier = {folder.name: seconds_spent(folder) for folder in started_trials(storage / TUNE)}
        return cls(read_caps(storage), earlier, {})

    def of_trial(self, trial: str) -> float:
        return self.earlier.get(trial, 0.0) + self.now.get(trial, 0.0)

    def of_all(self) -> float:
        return sum(self.earlier.values()) + sum(self.now.values())
