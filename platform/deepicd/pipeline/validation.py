"""What is refused before a run starts: one list of checks for every command that runs a sweep.

In: an experiment. Out: nothing, or the error of the first room that refuses it. Decided here: each
room judges its own settings in its `validate`; here stands only which rooms are asked, from the top
of the house to the bottom. The sweep's own check asks the rooms below it, rewards and training's
effects. `sweep plan`, `sweep run`, `sweep resume` and `demo` all come this way. `run_sweep` asks
the sweep's own again, and the plan that of verl's keys: both may be called without this list.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from pydantic import ValidationError

from deepicd.config import Experiment, differing, read_experiment
from deepicd.errors import ConfigError
from deepicd.paths import RunPaths


def prepare(experiment: Experiment) -> Experiment:
    """The experiment with what an earlier sweep found (`sweep.start_from`), after `check`.

    Raises:
        As `check`, and `sweeps.search.warm_start.apply_warm_start`.
    """
    from deepicd.sweeps.search.warm_start import apply_warm_start

    experiment = apply_warm_start(experiment)
    check(experiment)
    return experiment


def check(experiment: Experiment) -> None:
    """Refuse what cannot run on any machine.

    Raises:
        ConfigError: settings that cannot work, keys that verl lacks or refuses, or an endpoint that
            others can reach and that has no token.
        MissingError: a model, traces or tables that the experiment names are not there.
    """
    from deepicd.serving import applications
    from deepicd.sweeps.search import validation as sweeps

    sweeps.validate(experiment)  # which asks training for its effects, and rewards
    applications.validate(experiment)
    _check_composed(experiment)  # last, because it takes seconds


def check_endpoint(experiment: Experiment) -> None:
    """Refuse a port that is taken now, before hours of training end at it.

    Raises:
        ConfigError: something listens there.
    """
    from deepicd.serving.endpoint import check_port
    from deepicd.serving.settings import ServingSettings

    check_port(ServingSettings.of_experiment(experiment))


def _check_composed(experiment: Experiment) -> None:
    """Let the installed verl judge keys of its own that an experiment sets or searches.

    In a process that ends again: verl takes seconds and half a gigabyte to import.

    Raises:
        ConfigError: it lacks one, refuses a value, or a searched one does not reach it.
    """
    if not experiment.verl and not any(key.startswith("verl.") for key in experiment.sweep.search):
        return
    # spawn: a forked process would inherit the threads' locks of what is imported here.
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        process.submit(_validate_composed, experiment).result()


def _validate_composed(experiment: Experiment) -> None:
    from deepicd.training.grpo.differences import validate

    validate(experiment)


def check_folder(root: Path, experiment: Experiment) -> None:
    """Raise ConfigError for a folder that holds another experiment's run, or no run at all.

    A run of the same experiment is put aside when it is started anew.
    """
    paths = RunPaths(root.resolve())
    if paths.experiment.is_file():
        check_same(paths.experiment, experiment, "choose another --name, or remove the folder")
        return
    others = sorted({path.name for path in root.glob("*")} - {paths.console.name})
    if others:
        raise ConfigError(
            f"{root} holds {', '.join(others[:3])} and no run; choose another --name or --runs"
        )


def check_same(file: Path, experiment: Experiment, way_out: str) -> None:
    """Raise ConfigError, with the differences, when a resolved experiment on disk is another."""
    try:
        there = read_experiment(file)
    except ValidationError as error:
        raise ConfigError(
            f"{file} is no experiment of this version ({error.error_count()} faults); {way_out}"
        ) from None
    changes = differing(there, experiment)
    if not changes:
        return
    shown = [f"{name} is {old!r} there and {new!r} here" for name, (old, new) in changes.items()]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    raise ConfigError(
        f"{file.parent} holds another experiment: {'; '.join(shown[:3])}{more}; {way_out}"
    )
