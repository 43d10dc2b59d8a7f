"""Every number that comes in is finite and within what libraries take, whatever the setting."""

import random
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from deepicd.config import MAX_SEED, Experiment, StrictModel, load_experiment, parse_experiment
from deepicd.errors import ConfigError

for _room in ("serving.settings", "serving.routing", "sweeps.planning.prices"):
    import_module(f"deepicd.{_room}")

HOSTILE = [
    *(float("inf"), float("-inf"), float("nan"), "inf", "-Infinity", "nan", "1e400", "1e999"),
    *(10**30, -(10**30), 2**63, 1e300, 10**5000),
]


def settings_classes(kind: type[StrictModel] = StrictModel) -> Iterator[type[StrictModel]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("deepicd."):
            yield child
            yield from settings_classes(child)


def kinds_in(annotation: Any) -> set[Any]:
    """Plain types that a value of this annotation holds, in containers too."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kinds_in(get_args(annotation)[0])
    if origin in {Union, UnionType, tuple, dict, list}:
        return {kind for each in get_args(annotation) for kind in kinds_in(each)}
    return {annotation}


def numeric_fields() -> list[tuple[type[StrictModel], str, Any]]:
    return [
        (kind, name, info.annotation)
        for kind in dict.fromkeys(settings_classes())
        for name, info in kind.model_fields.items()
        if {int, float} & kinds_in(info.annotation)
    ]


FIELDS = numeric_fields()


def faults_at(kind: type[StrictModel], name: str, value: Any) -> list[Any]:
    """Errors at one field of a settings class that is given this field alone."""
    try:
        kind.model_validate({name: value})
    except ValidationError as error:
        return [item for item in error.errors(include_input=False) if item["loc"][:1] == (name,)]
    return []


def written(annotation: Any, value: Any) -> Any:
    """The value where this annotation holds it: as it is, or in a table or a list."""
    origins = {get_origin(each) for each in (annotation, *get_args(annotation))}
    if dict in origins:
        return {"key": value}
    return [value] * 4 if tuple in origins else value


def test_settings_of_every_room_are_walked_over() -> None:
    names = {f"{kind.__name__}.{name}" for kind, name, _ in FIELDS}
    assert {"SFTConfig.learning_rate", "IntRange.high", "Machine.usd_per_hour"} <= names
    assert {"Experiment.verl", "RewardConfig.weights", "DataConfig.split_shares"} <= names
    assert {"EngineSettings.num_cpus", "Choice.values", "ServingSettings.seed"} <= names
    assert len(names) > 110


@pytest.mark.parametrize(
    ("kind", "name", "annotation"),
    FIELDS,
    ids=[f"{kind.__name__}-{name}" for kind, name, _ in FIELDS],
)
def test_no_number_of_a_setting_is_infinite_or_beyond_what_libraries_take(
    kind: type[StrictModel], name: str, annotation: Any
) -> None:
    has_text = str in kinds_in(annotation)  # then a text is no number
    for value in HOSTILE:
        if not (has_text and isinstance(value, str)):
            assert faults_at(kind, name, written(annotation, value)), (value, annotation)
    if not has_text and written(annotation, True) is True:
        (fault,) = faults_at(kind, name, True)
        assert "not true or false" in fault["msg"]


@pytest.mark.parametrize("address", ["sft.learning_rate", "training.temperature", "sweep.max_cost"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400", "9" * 400, "9" * 5000, "true"])
def test_an_override_that_is_no_usable_number_is_refused_with_its_place(
    tmp_path: Any, address: str, value: str
) -> None:
    (tmp_path / "a.toml").write_text("")
    with pytest.raises(
        ConfigError, match=rf"{address}: .*; change it, or --set {address}="
    ) as told:
        load_experiment(tmp_path / "a.toml", [f"{address}={value}"])
    assert len(str(told.value)) < 400


def test_a_number_of_too_many_digits_in_a_file_is_one_error_that_names_it(tmp_path: Any) -> None:
    for text in (f"seed = {'9' * 5000}", f"seed = {'[' * 5000}", "seed = 0x" + "f" * 9000):
        (tmp_path / "a.toml").write_text(text)
        with pytest.raises(ConfigError, match=r"a\.toml"):
            load_experiment(tmp_path / "a.toml")


@pytest.mark.parametrize("address", ["seed", "data.split_seed"])
@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 2**32, 2**40, 2**64, 1.5])
def test_a_seed_is_refused_alike_everywhere(address: str, seed: float) -> None:
    table = {"data": {"split_seed": seed}} if "." in address else {"seed": seed}
    with pytest.raises(ConfigError, match=rf"here: {address}: "):
        parse_experiment(table, "here")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_library_takes_the_greatest_seed_and_its_successors() -> None:
    import optuna
    import torch
    from sklearn.utils import check_random_state

    greatest = MAX_SEED + 2**20  # ranks and repetitions add to it
    np.random.RandomState(greatest)
    np.random.default_rng([greatest, 1])
    random.seed(greatest)
    torch.Generator().manual_seed(greatest)
    check_random_state(greatest)
    optuna.samplers.TPESampler(seed=greatest)
    optuna.samplers.QMCSampler(qmc_type="sobol", seed=greatest, warn_independent_sampling=False)
    with pytest.raises(ValueError, match="Seed must be between 0 and 2"):
        np.random.RandomState(2**32)  # why it is the limit
    with pytest.raises(ValueError, match="Seed must be between 0 and 2"):
        check_random_state(-1)


def test_seeds_of_repeated_trials_stay_within_the_limit() -> None:
    sweep = {"num_seeds": 2, "confirm_top": 1, "confirm_seeds": 3}
    assert parse_experiment({"seed": MAX_SEED - 4, "sweep": sweep}, "here")
    with pytest.raises(ConfigError, match=r"seed \(2147483644\) and those that follow it"):
        parse_experiment({"seed": MAX_SEED - 3, "sweep": sweep}, "here")


def test_every_path_of_every_settings_class_is_expanded(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STORE", "there")
    places = [
        (f"{kind.__name__}.{name}", TypeAdapter(info.rebuild_annotation()))
        for kind in dict.fromkeys(settings_classes())
        for name, info in kind.model_fields.items()
        if Path in kinds_in(info.annotation)
    ]
    assert {"DataConfig.root", "ServingSettings.log", "ServedModel.path"} <= {n for n, _ in places}
    for name, adapter in places:
        assert adapter.validate_python("~/$STORE/a") == tmp_path / "there" / "a", name


def test_the_defaults_are_within_their_own_limits() -> None:
    assert Experiment.model_validate(Experiment().model_dump(mode="json")) == Experiment()
    assert sys.get_int_max_str_digits() == 4300, "what `9` * 5000 above is about"
