"""What is refused before a run starts: settings, missing paths, a folder of another experiment."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from pydantic import ValidationError

from deepicd.config import Experiment, differing, read_experiment
from deepicd.errors import ConfigError
from deepicd.paths import RunPaths


def check_before_start(experiment: Experiment) -> None:
    """Refuse at once what a later stage would refuse: the port, the token, the search space."""
    from deepicd.serving.endpoint import check_port
    from deepicd.serving.settings import ServingSettings

    check_plan(experiment)
    check_port(ServingSettings.of_experiment(experiment))


def check_plan(experiment: Experiment) -> None:
    """Refuse what cannot run on any machine: settings, missing paths, an endpoint without token."""
    from deepicd.serving.applications import read_tokens
    from deepicd.serving.settings import ServingSettings
    from deepicd.sweeps.search.validation import check_settings

    check_settings(experiment)
    read_tokens(ServingSettings.of_experiment(experiment))
    check_composed(experiment)


def check_composed(experiment: Experiment) -> None:
    """Let the installed verl judge keys of its own that an experiment sets or searches.

    In a process that ends again: verl takes seconds and half a gigabyte to import.

    Raises:
        ConfigError: it lacks one, refuses a value, or a searched one does not reach it.
    """
    if not experiment.verl and not any(key.startswith("verl.") for key in experiment.sweep.search):
        return
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        process.submit(_check_mapped, experiment).result()


def _check_mapped(experiment: Experiment) -> None:
    from deepicd.training.grpo.differences import check_mapped

    check_mapped(experiment)


def check_folder(root: Path, experiment: Experiment) -> None:
    """Raise ConfigError for a folder that holds another experiment's run, or no run at all.

    A run of the same experiment is put aside when it is started anew.
    """
    paths = RunPaths(root.resolve())
    if paths.experiment.is_file():
        check_same(paths.experiment, experiment, "choose another --name, or remove the folder")
        return
    strange = sorted({path.name for path in root.glob("*")} - {paths.console.name})
    if strange:
        raise ConfigError(
            f"{root} holds {', '.join(strange[:3])} and no run; choose another --name or --runs"
        )


def check_same(file: Path, experiment: Experiment, way_out: str) -> None:
    """Raise ConfigError, with the differences, when a resolved experiment on disk is another."""
    try:
        there = read_experiment(file)
    except ValidationError as error:
        raise ConfigError(
            f"{file} is no experiment of this version ({error.error_count()} faults); {way_out}"
        ) from None
    found = differing(there, experiment)
    if not found:
        return
    shown = [f"{name} is {old!r} there and {new!r} here" for name, (old, new) in found.items()]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    raise ConfigError(
        f"{file.parent} holds another experiment: {'; '.join(shown[:3])}{more}; {way_out}"
    )
