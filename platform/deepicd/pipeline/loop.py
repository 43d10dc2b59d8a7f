"""The whole loop: notes, model, SFT, sweep, evaluation, promotion, endpoint, monitoring, report.

In: an experiment and a folder. Out: `RUN/summary.json`, `RUN/report.html` and everything on the
way, as laid out by `paths.RunPaths`. Decided here: the order of the stages and what each hands on.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepicd.clusters.ray_session import library_output_to
from deepicd.config import Experiment, dump_experiment, override
from deepicd.errors import SweepError
from deepicd.files import lock_holder, write_atomically
from deepicd.paths import RunPaths
from deepicd.pipeline import promotion, stages, summary
from deepicd.pipeline.run import Run, experiment_of_run, locked, on_sigterm, prepare_root
from deepicd.pipeline.validation import (
    check,
    check_endpoint,
    check_folder,
    check_same,
    prepare,
)

if TYPE_CHECKING:
    from deepicd.sweeps.results.decision import SweepResult
    from deepicd.sweeps.results.status import SweepStatus

_RESUMED_WITH = (
    *("training.num_gpus", "training.num_nodes", "training.ppo_micro_batch_size_per_gpu"),
    *("training.disk_wait_s", "training.hang_timeout_s", "sweep.keep_top", "sweep.max_failures"),
    *("sweep.max_interruptions", "sweep.room_timeout_s"),
)
"""Addresses that may change when a sweep goes on: the machines, patience, and what is kept."""


def run_pipeline(
    experiment: Experiment,
    root: Path,
    *,
    serve_on: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Run every stage and return the summary.

    Args:
        experiment: what to run.
        root: folder of the run; an earlier run in it is moved to `NAME.previous`.
        serve_on: called with the running endpoint after the summary is written; None stops the
            endpoint right away.
    """
    experiment = prepare(experiment)
    check_endpoint(experiment)
    with _running(experiment, root) as run:
        # The recorded seconds are those of the CPU profile.
        run.is_rest_estimated = experiment.profile == "cpu"
        stages.build_data(run)
        stages.build_start_model(run)
        sft = stages.score_model(run, "sft", run.paths.sft, stage="baselines")
        swept = _sweep_and_write(run, is_resumed=False)
        best, candidate = stages.evaluate_best(run, swept)
        outcome = summary.RunOutcome(trials=swept.trials, best=best, sft=sft, candidate=candidate)
        outcome.decision, outcome.version = promotion.promote(
            run, best, sft=sft, candidate=candidate
        )
        endpoint = promotion.start_endpoint(run, outcome.version)
        try:
            outcome.reply, outcome.monitor = promotion.query_and_label(run, endpoint.url)
            result = summary.write(run, outcome)
            if serve_on is not None:
                serve_on(endpoint)
        finally:
            endpoint.stop()
    return result


def run_until_sweep(experiment: Experiment, root: Path) -> "SweepStatus":
    """Notes, model, SFT and sweep only: what `deepicd sweep run` runs. Writes `RUN/trials.json`."""
    experiment = prepare(experiment)
    check_folder(root, experiment)
    with _running(experiment, root) as run:
        stages.build_data(run)
        stages.build_start_model(run)
        return _status_of(run, _sweep_and_write(run, is_resumed=False))


def resume_sweep(root: Path, *, overrides: Sequence[str] = ()) -> "SweepStatus":
    """Go on with a run that ended before its sweep did: trials that are over stay as they are, one
    that was going on continues from its last checkpoint, the others follow.

    Args:
        root: the run's folder.
        overrides: `a.b=value` for addresses in `_RESUMED_WITH`.

    Raises:
        MissingError: no run lies there.
        SweepError: it is going on, or has ended.
        ConfigError: its sweep was started with another experiment, or another address is set.
        DataError: its notes are not those it was started with.
    """
    from deepicd.notes.identity import check_identity

    paths = RunPaths(root.resolve())
    experiment = experiment_of_run(paths)
    if paths.sweep_experiment.is_file():
        check_same(
            paths.sweep_experiment, experiment, f"put {paths.experiment} back, or start a new run"
        )
    experiment = override(experiment, overrides, allowed=_RESUMED_WITH)
    check(experiment)
    if paths.trials.is_file():
        raise SweepError(
            f"the sweep in {root} has ended, there is nothing to resume; `deepicd sweep status` "
            "shows it, `deepicd sweep run` starts another"
        )
    with _running(experiment, paths.root, is_resumed=True) as run:
        if (paths.notes / "report.json").is_file():
            check_identity(paths.notes, experiment.data)
        else:
            stages.build_data(run)
        if not (paths.sft / "config.json").is_file():
            stages.build_start_model(run)
        swept = _sweep_and_write(run, is_resumed=(paths.tune / "tuner.pkl").is_file())
        return _status_of(run, swept)


def sweep_status(root: Path) -> "SweepStatus":
    """The sweep of the run in that folder, while it goes on or afterwards.

    Raises:
        MissingError: no run lies there, or it has not reached its sweep.
    """
    from deepicd.sweeps.results.status import read_sweep_status

    paths = RunPaths(root.resolve())
    is_alive = lock_holder(paths.lock) is not None
    return read_sweep_status(paths, experiment_of_run(paths), is_alive=is_alive)


def _sweep_and_write(run: Run, *, is_resumed: bool) -> "SweepResult":
    from deepicd.sweeps.search.warm_start import check_notes

    check_notes(run.paths, run.experiment)
    dump_experiment(run.experiment, run.paths.sweep_experiment)
    swept = stages.sweep(run, is_resumed=is_resumed)
    rows = [summary.trial_row(trial) for trial in swept.trials]
    write_atomically(run.paths.trials, json.dumps(rows, indent=2) + "\n")
    return swept


def _status_of(run: Run, swept: "SweepResult") -> "SweepStatus":
    from deepicd.sweeps.results.status import SweepStatus, budget

    spent = budget(swept.trials, run.paths, run.experiment)
    return SweepStatus(run.experiment, swept.trials, budget=spent, decision=swept.decision)


@contextmanager
def _running(experiment: Experiment, root: Path, *, is_resumed: bool = False) -> Iterator[Run]:
    """A run in its folder, alone there, with Ray up; what libraries print goes to `console.log`.

    SIGTERM ends it as Ctrl-C does: what was started is ended first.
    """
    root = root.resolve()
    # The lock lies beside the folder, which the next line may move aside: it must not move along.
    with locked(RunPaths(root).lock), on_sigterm():
        run = Run(experiment, RunPaths(root if is_resumed else prepare_root(root)))
        # Imported only here: Ray and what it loads print while they are imported.
        with library_output_to(run.paths.console):
            from deepicd.clusters.ray_session import run_session
            from deepicd.clusters.storage import check_storage
            from deepicd.sweeps.search.validation import check_capacity

            dump_experiment(experiment, run.paths.experiment)
            with run_session(experiment, run.paths.root):
                check_capacity(experiment)
                model = experiment.model.path
                check_storage(run.paths.root, [model.resolve()] if model else [])
                yield run
