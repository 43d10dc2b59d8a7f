"""Trials side by side as verl would see them: only the keys in which they differ.

In: experiments of trials. Out: verl key → its value in each. Composed like the configuration of a
real trial, verl's own checks included, so that a value which does not reach verl shows as missing.
"""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from deepicd.config import Experiment, extreme_trials, flatten, with_values
from deepicd.errors import ConfigError
from deepicd.training.grpo.config import compose_grpo

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


def validate(experiment: Experiment) -> None:
    """Raise ConfigError for a searched address whose ends compose to the same configuration, or
    whose key the installed verl refuses.
    """
    for address in experiment.sweep.search:
        first, *others = extreme_trials(experiment.sweep.search, address)
        alike = [trial for trial in others if {**trial, address: first[address]} == first]
        values = [first, *alike[-1:]]
        trials = [with_values(experiment, drawn, source="[sweep.search]") for drawn in values]
        if not differences(trials) and alike:
            raise ConfigError(
                f"[sweep.search] {address} does not reach verl: trials with {first[address]} and "
                f"{alike[-1][address]} there are configured alike; remove it"
            )
