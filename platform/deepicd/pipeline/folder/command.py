"""What a run is to do, as it lies in its folder: the experiment, and how far the command goes.

In: a run's folder. Out: the experiment and the command that it was started with. Decided here: what
`resume --set` gave is kept beside the command, so that the next `resume` needs it no more; the
experiment itself stays as it was started, for a later run in this folder is compared with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deepicd.config import Experiment, override, read_experiment
from deepicd.errors import MissingError
from deepicd.paths import RunPaths
from deepicd.pipeline.stage import PATIENCE, STAGES
from deepicd.pipeline.values import read_value, write_value

_START = "`deepicd run FILE --name NAME` makes one"


@dataclass(frozen=True)
class Command:
    """How far a run goes; kept beside it, so that `resume` goes as far."""

    is_promoted: bool = True
    """The winner is evaluated, judged and registered."""
    is_deployed: bool = True
    """The champion is served and asked at the end."""
    is_single: bool = False
    """One training, whatever the experiment searches."""
    overrides: tuple[str, ...] = ()
    """What `resume --set` gave so far, one for each address."""

    def with_overrides(self, given: Sequence[str]) -> "Command":
        """With what a further `resume --set` gave: the last value of an address counts."""
        last = {text.partition("=")[0].strip(): text for text in (*self.overrides, *given)}
        return replace(self, overrides=tuple(last.values()))

    def fit_to(self, experiment: Experiment) -> "Command":
        """Without deployment where an experiment asks the endpoint nothing."""
        is_asked = bool(experiment.serving.num_check_notes)
        return replace(self, is_deployed=self.is_deployed and is_asked)

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in their order."""
        left_out = set() if self.is_deployed else {"deployment"}
        if not self.is_promoted:
            left_out = {"baselines", "evaluation", "promotion", "deployment", "report"}
        return tuple(name for name in STAGES if name not in left_out)


def write_command(paths: RunPaths, command: Command) -> None:
    """Keep a command beside the run."""
    write_value(paths.command, command, Command)


def read_command(paths: RunPaths) -> Command:
    """The command of a run.

    Raises:
        MissingError: no run lies there that can be resumed.
    """
    if not paths.command.is_file():
        raise MissingError(f"no run in {paths.root} that can go on; {_START}")
    command: Command = read_value(paths.command, Command)
    return command


def experiment_of_run(paths: RunPaths) -> Experiment:
    """The experiment that a run was started with, and what `resume --set` changed since then.

    Raises:
        MissingError: no run lies there.
    """
    if not paths.experiment.is_file():
        raise MissingError(f"no run in {paths.root}; {_START}")
    experiment = read_experiment(paths.experiment)
    if not paths.command.is_file():
        return experiment
    return override(experiment, read_command(paths).overrides, allowed=PATIENCE)


def experiment_or_defaults(file: Path) -> Experiment:
    """The resolved experiment beside a run's results, or the defaults where there is none."""
    return read_experiment(file) if file.is_file() else Experiment()


def run_of_registry(registry: str) -> RunPaths:
    """The run that a registry lies in; the working directory for one in an object store."""
    from deepicd.promotion.remote_registry import is_url

    return RunPaths(Path() if is_url(registry) else Path(registry).resolve().parent)


def find_registry(recorded: str, experiment: Experiment, paths: RunPaths) -> str:
    """Folder or URL of the registry that a run promoted into, also when the run was moved since
    then, or moved together with the registry beside it.
    """
    from deepicd.promotion.remote_registry import is_url

    address = recorded.replace("{run}", str(paths.root))
    is_there = is_url(address) or bool(address and Path(address).is_dir())
    return address if is_there else registry_address(experiment, paths)


def registry_address(experiment: Experiment, paths: RunPaths) -> str:
    """Folder or URL of the registry that a run promotes into."""
    named = experiment.promotion.registry
    return named.replace("{run}", str(paths.root)) if named else str(paths.registry)
