"""A sweep's folder → `RUN/sweep.html`, while the sweep goes on or afterwards; Ray is not needed.

Here the files are read; what the report makes of them is `report.sweep`'s.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deepicd.config import MINIMISED, Experiment
from deepicd.files import lock_holder, refuse_existing, write_atomically
from deepicd.paths import RECORD, RunPaths, trial_folder
from deepicd.pipeline.context import rows_of_trials
from deepicd.pipeline.folder.command import experiment_of_run
from deepicd.provenance import versions
from deepicd.records import Trial
from deepicd.report.html import page_values
from deepicd.report.sweep import build_sections, render_sweep
from deepicd.report.sweep_data import Sweep
from deepicd.sweeps.results.pareto import objectives_of, pareto_front
from deepicd.sweeps.results.status import budget, read_ranking, read_status
from deepicd.sweeps.results.trials import best_validation, read_history, read_parts
from deepicd.sweeps.schedulers import stopping_steps

_OBJECTIVES = ("hierarchical_f1", "macro_f1_full", *MINIMISED)
"""What trials are compared by where the sweep itself pursues one score."""


def write_sweep_report(
    root: Path, out: Path | None = None, *, may_replace: bool = False
) -> dict[str, Any]:
    """Write the report; returns its address, and its text and tables as values.

    Args:
        root: the run's folder.
        out: the HTML file; None is `RUN/sweep.html`, which is the run's own and is written anew.
        may_replace: whether the file `out` may be replaced.

    Raises:
        ConfigError: `out` is there and may not be replaced.
        MissingError: no run lies there, or it has not reached its sweep.
    """
    if out is not None:
        refuse_existing([out], may_replace=may_replace, option="--out")
    paths = RunPaths(root.resolve())
    sweep = _read_sweep(paths)
    sections = build_sections(sweep)
    target = (out or paths.sweep_report).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, render_sweep(sweep, sections))
    return {"report": str(target), "sections": page_values(sections)}


def _read_sweep(paths: RunPaths) -> Sweep:
    """What lies on disk of a sweep.

    Raises:
        MissingError: as above.
    """
    experiment = experiment_of_run(paths)
    trials = read_status(paths, experiment, is_alive=lock_holder(paths.lock) is not None)
    ranking = read_ranking(paths, experiment)
    recorded = [_read(trial_folder(paths.sweep, trial.id) / RECORD) for trial in trials]
    folders = {trial.id: paths.tune / trial.id for trial in trials}
    histories = {trial: read_history(folder) for trial, folder in folders.items()}
    trials = [_with_objectives(trial, histories[trial.id], experiment) for trial in trials]
    return Sweep(
        experiment=experiment,
        trials=trials,
        starts={trial: read_parts(folder) for trial, folder in folders.items()},
        histories=histories,
        pareto_fronts=find_pareto_fronts(trials, experiment),
        stopping_steps=stopping_steps(experiment),
        budget=budget(trials, paths, experiment),
        versions=versions(),
        decision=asdict(ranking) if ranking else {},
        context=rows_of_trials(
            paths, experiment, trials, winner=ranking.winner if ranking else None
        ),
        records=[record for record in recorded if record],
    )


def _with_objectives(
    trial: Trial, history: Sequence[Mapping[str, Any]], experiment: Experiment
) -> Trial:
    """The trial with everything that it could have been chosen by, as far as it was reported."""
    best = best_validation(history, experiment.sweep.metric) or {}
    names = dict.fromkeys((*experiment.sweep.pursued, *_OBJECTIVES))
    return replace(trial, objectives={**objectives_of(best, list(names)), **trial.objectives})


def find_pareto_fronts(
    trials: Sequence[Trial], experiment: Experiment
) -> dict[tuple[str, ...], set[str]]:
    """The Pareto front of what the sweep pursues (of everything reported where that is one score),
    and of its metric with each other objective.
    """
    metric, pursued = experiment.sweep.metric, experiment.sweep.pursued
    wanted = pursued if len(pursued) > 1 else (metric, *_OBJECTIVES)
    reported = {name for trial in trials for name in trial.objectives}
    names = tuple(name for name in dict.fromkeys((metric, *wanted)) if name in reported)
    pairs = [(metric, name) for name in names[1:]]
    return {chosen: pareto_front(trials, chosen) for chosen in [names, *pairs] if chosen}


def _read(file: Path) -> dict[str, Any]:
    """A JSON file; empty when there is none."""
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
