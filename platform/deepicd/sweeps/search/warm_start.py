"""Warm start: a sweep whose sampler knows the trials of an earlier sweep.

In: an experiment whose `sweep.start_from` names the folder of an earlier run. Out: the experiment
as it will run. `sweep.warm_start_trials` holds the trials that count, and the addresses of
`sweep.freeze` have the values of the best of them and are no longer searched. Nothing reads the
earlier folder afterwards. Decided here:

- A trial of the earlier sweep counts when this experiment, with values of its own search space,
  would run the very same trial.
- Other notes, another start model or another seed make scores that do not compare. They are
  refused.
- Another metric is only logged, since reports hold every score.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deepicd.config import (
    Domain,
    Experiment,
    Scalar,
    Search,
    WarmStartTrial,
    draw_trial,
    flatten,
    in_order,
    nearest,
    parse_experiment,
    read_experiment,
    with_values,
)
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.notes.build_report import read_build_report
from deepicd.paths import RunPaths
from deepicd.sweeps.results.pareto import objectives_of
from deepicd.sweeps.results.status import read_status
from deepicd.sweeps.results.trials import best_validation, read_history, trial_experiment

_log = logging.getLogger(__name__)
_SAME = ("data.", "model.", "sft.", "seed")
"""What scores must have in common to be compared."""
_NOT_OF_A_TRIAL = ("name", "question", "sweep.", "promotion.", "serving.")


@dataclass(frozen=True)
class _EndedTrial:
    """A trial of the earlier sweep that is over and was validated."""

    source: str
    experiment: Experiment
    objectives: Mapping[str, float]


class _UnfitError(Exception):
    """Why an earlier trial lies outside this search space."""


def apply_warm_start(experiment: Experiment) -> Experiment:
    """The experiment with `sweep.start_from` carried out; as it is where there is none.

    Raises:
        MissingError: there is no such run, or it has not reached its sweep or lacks its notes.
        ConfigError: its scores do not compare, or none of its trials lies in this search space.
    """
    folder = experiment.sweep.start_from
    if folder is None or experiment.sweep.warm_start_trials:
        return experiment
    paths = RunPaths(folder)
    if not paths.experiment.is_file():
        raise MissingError(
            f"sweep.start_from: no run in {folder}; name the folder of an earlier sweep, for "
            "example runs/first"
        )
    old = read_experiment(paths.experiment)
    _check_comparable(experiment, old)
    ended = _read_ended_trials(paths, old, experiment)
    if old.sweep.metric != experiment.sweep.metric:
        _log.warning(
            f"{folder} stopped its trials by {old.sweep.metric}; here {experiment.sweep.metric}"
        )
    best = max(ended, key=lambda trial: trial.objectives[experiment.sweep.metric])
    frozen = _freeze(experiment, best)
    for address in experiment.sweep.freeze:
        _log.info("%s stays at %s (%s)", address, _values_of(frozen)[address], best.source)
    fitting = _fit_all(ended, frozen)
    _log.info(f"{len(fitting)} of {len(ended)} trials of {folder} lie in this search space")
    return _with_sweep(
        frozen, warm_start_trials=tuple(fitting), warm_start_notes=_hash_of_notes(paths)
    )


def check_notes(paths: RunPaths, experiment: Experiment) -> None:
    """Raise DataError where the validation notes of a run are not those on which the trials in
    `sweep.warm_start_trials` were scored: equal settings do not make equal notes everywhere.
    """
    expected = experiment.sweep.warm_start_notes
    if expected and expected != (present := _hash_of_notes(paths)):
        raise DataError(
            f"the validation notes in {paths.notes} (hash {present[:12]}) are not those of "
            f"{experiment.sweep.start_from} (hash {expected[:12]}), so scores do not compare; "
            "remove sweep.start_from"
        )


def _hash_of_notes(paths: RunPaths) -> str:
    report = read_build_report(paths.notes)
    return str(report["identity"]["splits"]["validation"])


def _check_comparable(experiment: Experiment, old: Experiment) -> None:
    chosen = {*experiment.sweep.search, *old.sweep.search, *experiment.sweep.freeze}
    different = [
        line
        for address, line in _differences(old, experiment)
        if address.startswith(_SAME) and address not in chosen
    ]
    if different:
        raise ConfigError(
            f"sweep.start_from: scores of {experiment.sweep.start_from} do not compare with this "
            f"experiment's: {'; '.join(different)}. Use the same, or remove sweep.start_from"
        )


def _read_ended_trials(
    paths: RunPaths, old: Experiment, experiment: Experiment
) -> list[_EndedTrial]:
    names, metric = experiment.sweep.pursued, experiment.sweep.metric
    ended = []
    for trial in read_status(paths, old, is_alive=False):
        history = read_history(paths.tune / trial.id)
        # Its score is wanted, not its checkpoint.
        best = best_validation(history, metric, is_needed=False)
        values = objectives_of(best, names) if best else {}
        if trial.status in {"finished", "stopped"} and len(values) == len(names):
            source = f"{paths.root.name}/{trial.id}"
            ended.append(_EndedTrial(source, trial_experiment(old, trial.params), values))
    if not ended:
        raise ConfigError(
            f"sweep.start_from: no trial in {experiment.sweep.start_from} is over and has "
            f"{', '.join(names)} at a validation; name another run, or remove it"
        )
    return ended


def _freeze(experiment: Experiment, best: _EndedTrial) -> Experiment:
    """The experiment with the addresses of `sweep.freeze` as in the best trial, not searched."""
    best_values = _values_of(best.experiment)
    values = {}
    for address in experiment.sweep.freeze:
        if address not in best_values:
            raise ConfigError(
                f"sweep.freeze: trial {best.source} has no {address}"
                f"{nearest(address, list(best_values))}; remove it"
            )
        values[address] = best_values[address]
    left = _without(experiment.sweep.search, values)
    return _with_sweep(with_values(experiment, values, source="sweep.freeze"), search=left)


def _without(search: Search, values: Mapping[str, Scalar]) -> dict[str, Domain]:
    """The search when some addresses have these values: conditions on them are decided."""
    left: dict[str, Domain] = {}
    for address in in_order(search):
        when = search[address].when
        is_possible = all(
            values[parent] in allowed if parent in values else parent in left
            for parent, allowed in when.items()
        )
        if address not in values and is_possible:
            open_ = {parent: allowed for parent, allowed in when.items() if parent not in values}
            left[address] = search[address].model_copy(update={"when": open_})
    return left


def _fit_all(ended: list[_EndedTrial], experiment: Experiment) -> list[WarmStartTrial]:
    fitting, reasons = [], []
    for trial in ended:
        try:
            params = _fit(trial, experiment)
        except _UnfitError as error:
            reasons.append(str(error))
            continue
        fitting.append(
            WarmStartTrial(source=trial.source, params=params, objectives=dict(trial.objectives))
        )
    if not fitting:
        raise ConfigError(
            f"sweep.start_from: no trial of {experiment.sweep.start_from} lies in this search "
            f"space: {'; '.join(dict.fromkeys(reasons))}. Widen the search, or remove "
            "sweep.start_from"
        )
    return fitting


def _fit(trial: _EndedTrial, experiment: Experiment) -> dict[str, Scalar]:
    """The values of this search space with which the experiment runs the earlier trial."""
    there = _values_of(trial.experiment)

    def take(address: str, domain: Domain) -> Scalar:
        if address not in there:
            raise _UnfitError(f"{address} was not set there")
        value: Scalar = there[address]
        if not domain.contains(value):
            raise _UnfitError(f"{address} is {value} there, outside its domain")
        return value

    params = draw_trial(experiment.sweep.search, take)
    for address, line in _differences(trial.experiment, with_values(experiment, params)):
        if not address.startswith(_NOT_OF_A_TRIAL):
            raise _UnfitError(line)
    return params


def _differences(there: Experiment, here: Experiment) -> Iterator[tuple[str, str]]:
    """Addresses at which two experiments differ, each with a line that says how."""
    old, new = _values_of(there), _values_of(here)
    for address in sorted({*old, *new}):
        if old.get(address) != new.get(address):
            yield address, f"{address} is {old.get(address)} there and {new.get(address)} here"


def _values_of(experiment: Experiment) -> dict[str, Any]:
    """Dotted address → value, for every value that is set."""
    return flatten(experiment.model_dump(mode="json"))


def _with_sweep(experiment: Experiment, **changes: Any) -> Experiment:
    """The experiment with another sweep, checked as if read from a file."""
    sweep = experiment.sweep.model_copy(update=changes)
    # `model_copy` checks nothing, so the whole is read again.
    table = experiment.model_copy(update={"sweep": sweep}).model_dump(mode="json")
    return parse_experiment(table, f"sweep.start_from {experiment.sweep.start_from}")
