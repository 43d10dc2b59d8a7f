"""Trials side by side as verl would see them: only the keys in which they differ.

In: experiments of trials. Out: verl key → its value in each. Composed like the configuration of a
real trial, verl's own checks included, so that a value which does not reach verl shows as missing.
"""

import contextlib
import io
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepicd.config import (
    Experiment,
    all_values,
    extreme_trials,
    flatten,
    with_parents,
    with_values,
)
from deepicd.errors import ConfigError, Fault, faults_of
from deepicd.training.grpo.config import compose_grpo, verl_faults

_VERL = "verl."
_ABSENT = "-"


def compose_planned(experiment: Experiment) -> DictConfig:
    """verl's configuration of a trial whose data and start model are not made yet: their paths are
    words.
    """
    with contextlib.redirect_stderr(io.StringIO()):  # verl reports each check that passes
        return compose_grpo(
            experiment,
            model=experiment.model.path or Path("SFT"),
            train=Path("NOTES/train.parquet"),
            validation=Path("NOTES/validation.parquet"),
            out=Path("OUT"),
        )


def differences(experiments: Sequence[Experiment]) -> dict[str, list[Any]]:
    """verl key → its value in each trial, for keys whose values differ; a key that refers to
    another one is not repeated.
    """
    configs = (OmegaConf.to_container(compose_planned(each)) for each in experiments)
    tables = [flatten(config) for config in configs]
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = {key: [table.get(key, _ABSENT) for table in tables] for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}


def find_faults(experiment: Experiment) -> Iterator[Fault]:
    """What the installed verl refuses: keys that it lacks, values that it cannot take, a searched
    address whose ends compose to the same configuration.
    """
    search = experiment.sweep.search
    searched = {
        address.removeprefix(_VERL): all_values(domain)[0]
        for address, domain in search.items()
        if address.startswith(_VERL)
    }
    refused = verl_faults(experiment, {**experiment.verl, **searched})
    yield from refused
    rest = _without_keys(experiment, {fault.place.removeprefix(_VERL) for fault in refused})
    whole = list(faults_of(partial(compose_planned, rest), "verl", dict(experiment.verl)))
    yield from whole
    if whole:  # every trial would say the same
        return
    for address in rest.sweep.search:
        place = f"sweep.search.{address}"
        yield from faults_of(partial(_check_reach, rest, address), place)


def _without_keys(experiment: Experiment, keys: Collection[str]) -> Experiment:
    """The experiment without these verl keys, set or searched."""
    gone = {f"{_VERL}{key}" for key in keys}
    search = {
        address: domain
        for address, domain in experiment.sweep.search.items()
        if not gone & with_parents(experiment.sweep.search, [address]).keys()
    }
    verl = {key: value for key, value in experiment.verl.items() if key not in keys}
    sweep = experiment.sweep.model_copy(update={"search": search})
    return experiment.model_copy(update={"verl": verl, "sweep": sweep})


def _check_reach(experiment: Experiment, address: str) -> None:
    """Raise ConfigError where trials at both ends of an address are configured alike."""
    first, *others = extreme_trials(experiment.sweep.search, address)
    # Only trials whose parents have the same values: others differ by these too.
    alike = [trial for trial in others if {**trial, address: first[address]} == first]
    values = [first, *alike[-1:]]
    trials = [with_values(experiment, drawn, source="[sweep.search]") for drawn in values]
    if not differences(trials) and alike:
        raise ConfigError(
            f"[sweep.search] {address} does not reach verl: trials with {first[address]} and "
            f"{alike[-1][address]} there are configured alike; remove it"
        )
