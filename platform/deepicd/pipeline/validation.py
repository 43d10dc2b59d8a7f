"""What is refused before a run starts: one list of checks for every command that runs something.

In: an experiment, or the file of one. Out: every fault, or the error that tells the first. Decided
here: each package finds the faults of its own settings (`find_faults`); here stands only which
packages are asked, from the top layer down. The sweep's own check asks the packages below it,
rewards and training's effects. A fault is `missing` when the experiment is right and only this
machine lacks something: `validate` and `plan` go on without it, a run does not. `run_sweep` asks
the sweep's own again, and the plan that of verl's keys: both may be called without this list.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from deepicd.config import Experiment, differing, inspect_file, read_experiment, single_training
from deepicd.errors import (
    CapacityError,
    ConfigError,
    DeepICDError,
    Fault,
    MissingError,
    fault_of,
    refuse,
)
from deepicd.paths import RunPaths
from deepicd.pipeline.stage import settled_paths

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What `deepicd validate` finds in a file."""

    file: Path
    experiment: Experiment | None
    """None where the file cannot be read at all."""
    faults: tuple[Fault, ...]
    """What no machine could run."""
    missing: tuple[Fault, ...]
    """What only this machine lacks."""

    def exit_code(self, *, is_here: bool) -> int:
        """0, or the code of the error that a run would end with; what is missing counts only where
        the run is to be here.
        """
        if self.faults:
            return ConfigError.exit_code
        return MissingError.exit_code if is_here and self.missing else 0

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        lists = {
            name: [_as_row(fault) for fault in found]
            for name, found in (("faults", self.faults), ("missing", self.missing))
        }
        if self.experiment is None:
            return {"file": str(self.file), **lists}
        experiment = self.experiment
        return {
            "file": str(self.file),
            "name": experiment.name,
            "profile": experiment.profile,
            "kind": "sweep" if experiment.sweep.search else "training",
            "searched": list(experiment.sweep.search),
            **lists,
        }


def _as_row(fault: Fault) -> dict[str, Any]:
    row = asdict(fault)
    return {name: row[name] for name in ("place", "rule", "value", "way_out")}


def validate_file(file: Path, overrides: Sequence[str] = ()) -> Verdict:
    """Everything that would be refused of an experiment file, and what this machine lacks for it.

    Args:
        file: the experiment file.
        overrides: `a.b=value`, as for a run.

    Raises:
        MissingError: it, or a file that it begins from, is not there.
    """
    from deepicd.clusters.local_gpus import find_missing

    try:
        read = inspect_file(file, overrides)
    except ConfigError as error:  # broken TOML: there is no table to look at
        return Verdict(file, None, (Fault(str(file), str(error), "correct the file"),), ())
    begun, faults = _begin(read.experiment)
    faults += [*find_faults(begun), *find_missing(begun)]
    found = [*read.faults, *filter(read.is_own, faults)]
    return Verdict(
        file,
        begun,
        tuple(fault for fault in found if not fault.is_missing),
        tuple(fault for fault in found if fault.is_missing),
    )


def _begin(experiment: Experiment) -> tuple[Experiment, list[Fault]]:
    """The experiment with what an earlier sweep found, or as it is with the reason why not."""
    from deepicd.sweeps.search.warm_start import apply_warm_start

    try:
        return apply_warm_start(experiment), []
    except DeepICDError as error:
        return experiment, [fault_of(error, "sweep.start_from")]


def prepare(experiment: Experiment) -> Experiment:
    """The experiment with what an earlier sweep found (`sweep.start_from`), after `check`.

    Raises:
        As `check`, and `sweeps.search.warm_start.apply_warm_start`.
    """
    from deepicd.sweeps.search.warm_start import apply_warm_start

    experiment = apply_warm_start(experiment)
    check(experiment)
    return experiment


def prepare_plan(experiment: Experiment) -> tuple[Experiment, list[Fault]]:
    """The experiment as a run would begin it, and what only this machine lacks.

    Raises:
        ConfigError: as `check`.
    """
    experiment, faults = _begin(experiment)
    faults += find_faults(experiment)
    refuse(fault for fault in faults if not fault.is_missing)
    if not experiment.sweep.search:
        experiment = single_training(experiment)
    return experiment, faults


def check(experiment: Experiment) -> None:
    """Refuse what cannot run on any machine, or not on this one for want of a file.

    Raises:
        ConfigError: settings that cannot work, keys that verl lacks or refuses, or an endpoint that
            others can reach and that has no token.
        MissingError: a model, traces or tables that the experiment names are not there.
    """
    refuse(_quick_faults(experiment))
    refuse(_composed_faults(experiment))  # takes seconds


def check_rest(experiment: Experiment, paths: RunPaths, walked: Sequence[str]) -> None:
    """As `check`, for a run that goes on: files that no stage opens any more may be gone.

    Args:
        experiment: the run's.
        paths: its folder.
        walked: names of its stages.
    """
    whole = [name for name in walked if paths.seal(name).is_file()]
    settled = settled_paths(whole, walked)
    faults = list(find_faults(experiment))
    refuse(fault for fault in faults if fault.place not in settled)
    for fault in faults:
        _log.info(f"{fault.rule}; the run goes on with what was made of it")


def check_machine(experiment: Experiment, root: Path) -> None:
    """Refuse to start a run for which this machine, or the cluster that `RAY_ADDRESS` names, has
    not enough disk or GPUs, or that the cheap half of `deepicd doctor` says cannot work.

    Raises:
        CapacityError: names what is lacking.
    """
    from deepicd.clusters.local_gpus import find_missing
    from deepicd.doctor.examination import check_before_run, examine
    from deepicd.pipeline.folder.place import check_space
    from deepicd.sweeps.planning.memory import bytes_of_checkpoint

    check_space(root, bytes_of_checkpoint(experiment))
    for fault in find_missing(experiment):
        raise CapacityError(str(fault))
    check_before_run(examine(root, is_quick=True).checks)
    if os.environ.get("RAY_ADDRESS"):
        _check_cluster(experiment)


def _check_cluster(experiment: Experiment) -> None:
    from deepicd.clusters.ray_session import library_output_to, ray_session
    from deepicd.sweeps.search.validation import check_capacity

    with library_output_to(Path(os.devnull)), ray_session():
        check_capacity(experiment)


def find_faults(experiment: Experiment) -> Iterator[Fault]:
    """Everything that `check` refuses."""
    yield from _quick_faults(experiment)
    yield from _composed_faults(experiment)


def _quick_faults(experiment: Experiment) -> Iterator[Fault]:
    from deepicd.serving import applications
    from deepicd.sweeps.search import validation as sweeps

    yield from sweeps.find_faults(experiment)  # which asks training for its effects, and rewards
    yield from applications.find_faults(experiment)


def require_search(experiment: Experiment) -> None:
    """Refuse to sweep over nothing.

    Raises:
        ConfigError: the experiment has no [sweep.search].
    """
    if not experiment.sweep.search:
        raise ConfigError(
            f"experiment {experiment.name} has an empty [sweep.search], so it is one training; "
            "`deepicd train FILE` runs it. To sweep, add at least one address, for example "
            '"training.learning_rate" = {type = "loguniform", low = 1e-5, high = 1e-3}'
        )


def check_endpoint(experiment: Experiment) -> None:
    """Refuse a port that is taken now, before hours of training end at it.

    Raises:
        ConfigError: something listens there.
    """
    from deepicd.serving.endpoint import check_port
    from deepicd.serving.settings import ServingSettings

    check_port(ServingSettings.of_experiment(experiment))


def _composed_faults(experiment: Experiment) -> list[Fault]:
    """What the installed verl says of keys of its own that an experiment sets or searches: one that
    it lacks, a value that it refuses, or that does not reach it.

    In a process that ends again: verl takes seconds and half a gigabyte to import.
    """
    if not experiment.verl and not any(key.startswith("verl.") for key in experiment.sweep.search):
        return []
    _log.info("asking the installed verl about its keys: 10 seconds to a minute")
    # spawn: a forked process would inherit the threads' locks of what is imported here.
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(_find_composed_faults, experiment).result()


def _find_composed_faults(experiment: Experiment) -> list[Fault]:
    from deepicd.training.grpo.differences import find_faults

    return list(find_faults(experiment))


def check_folder(root: Path, experiment: Experiment) -> None:
    """Raise ConfigError for a folder that holds another experiment's run, or no run at all.

    A run of the same experiment is put aside when it is started anew.
    """
    paths = RunPaths(root.resolve())
    if paths.root in {paths.cache, paths.registry, RunPaths(paths.root.parent).monitor}:
        raise ConfigError(
            f"a run cannot be named {root.name!r}: {root} is what the runs beside it share; choose "
            "another --name"
        )
    if paths.experiment.is_file():
        check_same(paths.experiment, experiment, "choose another --name, or remove the folder")
        return
    others = sorted({path.name for path in root.glob("*")} - {paths.console.name})
    if others:
        raise ConfigError(
            f"{root} holds {', '.join(others[:3])} and no run; choose another --name or --runs"
        )


def check_same(
    file: Path, experiment: Experiment, way_out: str, *, ignored: Sequence[str] = ()
) -> None:
    """Raise ConfigError, with the differences, when a resolved experiment on disk is another.

    Args:
        file: the one on disk.
        experiment: the one that it should be.
        way_out: what the user can do.
        ignored: addresses that may differ.
    """
    try:
        there = read_experiment(file)
    except ConfigError as error:
        # The reader's own way out is for a file that a user wrote.
        raise ConfigError(f"{str(error).partition('; ')[0]}; {way_out}") from None
    found = differing(there, experiment)
    changes = {name: values for name, values in found.items() if name not in ignored}
    if not changes:
        return
    shown = [f"{name} is {old!r} there and {new!r} here" for name, (old, new) in changes.items()]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    raise ConfigError(
        f"{file.parent} holds another experiment: {'; '.join(shown[:3])}{more}; {way_out}"
    )
