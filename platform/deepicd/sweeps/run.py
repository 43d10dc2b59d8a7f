"""Runs a sweep: Ray Tune samples with Optuna, stops early with ASHA or the median stopping rule.

In: an experiment with its search space, and what trials start from. Out: a `SweepResult`, the
trials and the decision between them. Decided here: how Ray Tune is put together and configured.
Each trial is a Tune function that fits one Ray Train run (`training.grpo.trial`). The sweep holds
as many sets of verl processes as trials run at once, and trials reuse them
(`training.process.pool`).
"""

import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.logger import JsonLoggerCallback
from ray.tune.search import Searcher as TuneSearcher

from deepicd.clusters.state import end_cleaners, live_groups, wait_until_free
from deepicd.config import Experiment, Scalar
from deepicd.errors import MissingError, SweepError
from deepicd.paths import DECISION, SNAPSHOTS, TRIALS, TUNE
from deepicd.records import Trial
from deepicd.sweeps.callbacks.cleanup import CleanUpTrial
from deepicd.sweeps.callbacks.duplicate_trials import StopDuplicateTrials
from deepicd.sweeps.callbacks.progress import TrialProgress
from deepicd.sweeps.callbacks.trial_record import WriteTrialRecord
from deepicd.sweeps.results.decision import SweepResult, decide, write_decision
from deepicd.sweeps.results.snapshots import SnapshotSearchGenerator, restore_snapshot
from deepicd.sweeps.results.trials import (
    read_trials,
    seconds_spent,
    set_reports_aside,
    trial_experiment,
)
from deepicd.sweeps.schedulers import build_scheduler
from deepicd.sweeps.search.budget import within_budget
from deepicd.sweeps.search.caps import EndAtCap, write_caps
from deepicd.sweeps.search.repeats import repeat
from deepicd.sweeps.search.searcher import Searcher
from deepicd.sweeps.search.validation import check_capacity, count_at_once, validate
from deepicd.training.grpo.metric_names import validation
from deepicd.training.grpo.trial import ON_HEAD, fit_trial
from deepicd.training.process.pool import close_runners, open_runners
from deepicd.training.process.protocol import TrialInput

_log = logging.getLogger(__name__)

_FREE_TIMEOUT_S = 60.0
_CLEANER_PATIENCE_S = 5.0
_SNAPSHOT_S, _FEW_TRIALS = "2", 20
"""Seconds between two states on disk of a sweep with at most so many trials (docs/scale.md)."""


def run_sweep(
    experiment: Experiment,
    trial_input: TrialInput,
    *,
    storage: Path,
    is_resumed: bool = False,
    elsewhere_gpu_hours: float = 0.0,
) -> SweepResult:
    """Run every trial and name the winner (`RUN/sweep/decision.json`); Ray must be initialised.

    Args:
        experiment: the sweep's, with what is searched.
        trial_input: start model and notes of every trial.
        storage: folder of the sweep.
        is_resumed: whether the sweep in `storage` resumes: sampler, scheduler and trials as they
            were.
        elsewhere_gpu_hours: what of the run's cap is not for trials (`results.spent`).

    Raises:
        ConfigError, MissingError, CapacityError: it cannot run; nothing was started.
        SweepError: every trial failed, or a parameter has no effect (`duplicate_trials`).
    """
    check_sweep(experiment, trial_input)
    write_caps(storage, experiment, elsewhere=elsewhere_gpu_hours)
    configure_tune()
    before = live_groups()  # of other sweeps on this cluster
    build = restore_tuner if is_resumed else build_tuner
    runners = open_runners(count_at_once(experiment))
    try:
        results = build(experiment, trial_input, storage=storage).fit()
    finally:
        close_runners(runners)
    # Only when the runners are closed: verl holds groups until its process ends.
    left = wait_until_free(before, timeout_s=_FREE_TIMEOUT_S)
    if left:
        raise SweepError(
            f"{len(left)} placement groups are still alive {_FREE_TIMEOUT_S:.0f} s after the "
            "sweep; `ray list placement-groups` shows them"
        )
    end_cleaners(patience_s=_CLEANER_PATIENCE_S)
    return _decide(read_trials(results, experiment), experiment, storage=storage)


def _decide(trials: Sequence[Trial], experiment: Experiment, *, storage: Path) -> SweepResult:
    if all(trial.status == "failed" for trial in trials):
        causes = "; ".join(sorted({str(trial.error) for trial in trials}))
        raise SweepError(f"all {len(trials)} trials of {experiment.name} failed: {causes}")
    _tell_cut(trials)
    decision = decide(trials, experiment, sweep=storage)
    write_decision(decision, storage / DECISION)
    _log.info(f"trial {decision.winner} wins: {decision.why}" if decision.winner else decision.why)
    return SweepResult(trials, decision)


def _tell_cut(trials: Sequence[Trial]) -> None:
    """Say which trials a cap ended: who is chosen next is the best of what they had."""
    cut = [trial for trial in trials if trial.reason]
    if cut:
        _log.warning(
            f"{len(cut)} of {len(trials)} trials were ended by a cap; they count with what they "
            "had, and the best trial goes on"
        )


def configure_tune() -> None:
    """Settings of Ray Tune and Optuna for this process: no output and no files of their own."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # TensorBoard and CSV copies of every report; a user may set 0 to have them.
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.update(
        # Tune's own progress output; `callbacks.progress` logs instead.
        RAY_AIR_NEW_OUTPUT="0",
        # Tune would take Ctrl-C for itself and leave the command running.
        TUNE_DISABLE_SIGINT_HANDLER="1",
        # Several objectives are read at a trial's end, so no report holds them under their names.
        TUNE_DISABLE_STRICT_METRIC_CHECKING="1",
    )


def _set_snapshot_period(num_trials: int) -> None:
    """How often Tune writes the state from which a sweep can go on. It grows with every trial: in a
    large sweep Tune spaces snapshots so that they take a twentieth of its time, 10 s at least.
    """
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = _SNAPSHOT_S if num_trials <= _FEW_TRIALS else "auto"


def check_sweep(experiment: Experiment, trial_input: TrialInput) -> None:
    """Refuse what cannot run, before anything starts; Ray must be initialised."""
    validate(experiment)
    # All its fields are paths.
    for path in vars(trial_input).values():
        if not Path(path).exists():
            raise MissingError(
                f"the sweep needs {path}, which does not exist; run the stage that writes it first"
            )
    check_capacity(experiment)


def restore_tuner(experiment: Experiment, trial_input: TrialInput, *, storage: Path) -> tune.Tuner:
    """Tune's side of a sweep that was interrupted. Trials that failed stay failed."""
    _set_snapshot_period(experiment.sweep.total_trials)
    # Both before Tune looks at its folder: it overwrites reports, and reads the snapshot.
    set_reports_aside(storage / TUNE)
    restore_snapshot(storage / SNAPSHOTS, storage / TUNE)
    return tune.Tuner.restore(
        # Absolute: pyarrow takes a relative path for a URI without a scheme.
        str(storage.resolve() / TUNE),
        trainable=build_trainable(experiment, trial_input, storage=storage),
        resume_unfinished=True,
    )


def build_trainable(experiment: Experiment, trial_input: TrialInput, *, storage: Path) -> Any:
    """What Tune calls for a trial."""
    trainable = partial(_run_trial, experiment=experiment, trial_input=trial_input, storage=storage)
    return tune.with_resources(trainable, tune.PlacementGroupFactory([dict(ON_HEAD)]))


def build_tuner(experiment: Experiment, trial_input: TrialInput, *, storage: Path) -> tune.Tuner:
    """Tune's side of the sweep."""
    sweep, at_once = experiment.sweep, count_at_once(experiment)
    _set_snapshot_period(sweep.total_trials)
    progress = TrialProgress(
        num_trials=sweep.total_trials,
        total_steps=experiment.training.total_steps,
        metric=validation(sweep.metric),
        sweep=storage.resolve(),
        at_once=at_once,
    )
    return tune.Tuner(
        build_trainable(experiment, trial_input, storage=storage),
        tune_config=tune.TuneConfig(
            num_samples=sweep.total_trials,
            # It limits trials itself: `max_concurrent_trials` can wrap a plain searcher only.
            search_alg=SnapshotSearchGenerator(
                _build_searcher(experiment, storage=storage),
                max_concurrent=at_once,
                snapshots=storage.resolve() / SNAPSHOTS,
            ),
            scheduler=build_scheduler(experiment),
            # A folder is found by the trial's id, without Tune's index of trials.
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=str(storage.resolve()),
            stop=EndAtCap(experiment, storage=storage),
            # Tune calls them in this order: a report is on disk before another callback sees it.
            callbacks=[
                # Named, since Tune's own loggers are off: `read_history` reads what it writes.
                JsonLoggerCallback(),
                CleanUpTrial(),
                progress,
                WriteTrialRecord(experiment, trial_input, storage=storage),
                *([StopDuplicateTrials()] if sweep.compare_fingerprints else []),
            ],
            verbose=0,
        ),
    )


def _build_searcher(experiment: Experiment, *, storage: Path) -> TuneSearcher:
    """Who proposes trials: Optuna, each configuration with its seeds, within the budget."""
    repeated = repeat(Searcher(experiment, storage=storage), experiment)
    return within_budget(repeated, experiment, storage=storage)


def _run_trial(
    params: Mapping[str, Scalar], *, experiment: Experiment, trial_input: TrialInput, storage: Path
) -> None:
    """Body of a Tune trial: fit one Ray Train run that reports to Tune."""
    fit_trial(
        trial_experiment(experiment, params),
        trial_input,
        name=tune.get_context().get_trial_id(),
        storage=storage / TRIALS,
        spent_s=seconds_spent(storage / TUNE / tune.get_context().get_trial_id()),
        callbacks=[TuneReportCallback()],
    )
