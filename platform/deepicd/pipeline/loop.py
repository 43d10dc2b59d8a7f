"""One pipeline, entered anywhere: `deepicd run`, `train`, `sweep run` and `resume` all run it.

    notes → traces → model → sft → baselines → sweep → evaluation → promotion → deployment → report

In: an experiment, a folder, and how far to go. Out: the stages' outputs as laid out by
`paths.RunPaths`, and `RUN/summary.json` last. Decided here: the order of the stages and what each
hands on. A single training is a sweep of one trial without a search.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepicd.clusters.ray_session import library_output_to
from deepicd.config import Experiment, dump_experiment, override, single_training
from deepicd.errors import ConfigError, SweepError
from deepicd.files import lock_holder
from deepicd.paths import RunPaths
from deepicd.pipeline import candidates, deployment, promotion, stages, summary
from deepicd.pipeline.context import with_context
from deepicd.pipeline.folder.command import (
    Command,
    experiment_of_run,
    find_registry,
    read_command,
    registry_address,
    write_command,
)
from deepicd.pipeline.folder.lock import locked, on_sigterm
from deepicd.pipeline.folder.place import prepare_root, refuse_link
from deepicd.pipeline.resources import explain_exhaustion
from deepicd.pipeline.run import Run
from deepicd.pipeline.seal import find_whole
from deepicd.pipeline.stage import PATIENCE
from deepicd.pipeline.summary import Promoted
from deepicd.pipeline.validation import (
    check_endpoint,
    check_folder,
    check_machine,
    check_rest,
    check_same,
    prepare,
)
from deepicd.pipeline.values import read_value, write_value
from deepicd.records import Decision

if TYPE_CHECKING:
    from deepicd.sweeps.results.decision import SweepResult
    from deepicd.sweeps.results.status import SweepStatus


@dataclass(frozen=True)
class Ended:
    """What a command ends with."""

    command: Command
    sweep: "SweepStatus"
    summary: dict[str, Any]
    """Empty where nothing was promoted."""


def run_pipeline(
    experiment: Experiment,
    root: Path,
    *,
    command: Command,
    may_delete: bool = False,
    serve_on: Callable[[Any], None] | None = None,
) -> Ended:
    """Do every stage of a new run.

    Args:
        experiment: what to run.
        root: folder of the run; an earlier run in it is moved to `NAME.previous`.
        command: how far to go.
        may_delete: whether a run that lies in `NAME.previous` may be deleted.
        serve_on: called with the running endpoint at the end; None leaves no endpoint up.
    """
    if command.is_single or not experiment.sweep.search:
        experiment = single_training(experiment)
    command = command.fit_to(experiment)
    experiment = prepare(experiment)
    refuse_link(root)
    check_folder(root, experiment)
    if command.is_deployed:
        check_endpoint(experiment)
    root = root.resolve()
    check_machine(experiment, root)  # before the next lines move an earlier run aside
    if command.is_promoted:
        promotion.check_champion(experiment, RunPaths(root))
    # The lock lies beside the folder, which the next line may move aside: it must not move along.
    with explain_exhaustion(root), locked(RunPaths(root).lock), on_sigterm():
        paths = RunPaths(prepare_root(root, may_delete=may_delete))
        dump_experiment(experiment, paths.experiment)
        write_command(paths, command)
        return _walk(Run(experiment, paths, command.stages), command, serve_on)


def resume_run(
    root: Path,
    *,
    overrides: Sequence[str] = (),
    serve_on: Callable[[Any], None] | None = None,
) -> Ended:
    """Go on with a run from whatever is whole, as far as its command went: trials that are over
    stay as they are, one that was going on continues from its last checkpoint.

    Args:
        root: the run's folder.
        overrides: `a.b=value` for addresses in `stage.PATIENCE`.
        serve_on: as `run_pipeline`.

    Raises:
        MissingError: no run lies there.
        SweepError: it is going on, or has ended.
        ConfigError: its sweep was started with another experiment, or another address is set.
        DataError: what it was made from, or an output of a stage, was changed.
    """
    refuse_link(root)
    paths = RunPaths(root.resolve())
    experiment = experiment_of_run(paths)
    command = read_command(paths)
    if paths.sweep_experiment.is_file():
        way_out = f"put {paths.experiment} back, or start a new run"
        # A sweep that began in a resumed run has what that one was given by --set.
        check_same(paths.sweep_experiment, experiment, way_out, ignored=PATIENCE)
    experiment = override(experiment, overrides, allowed=PATIENCE)
    check_rest(experiment, paths, command.stages)
    _refuse_to_resume(paths, command, experiment, is_served=serve_on is not None)
    # A deployment that is whole opens no port again.
    if command.is_deployed and not paths.seal("deployment").is_file():
        check_endpoint(experiment)
    with explain_exhaustion(paths.root), locked(paths.lock), on_sigterm():
        if overrides:
            write_command(paths, command.with_overrides(overrides))
        return _walk(Run(experiment, paths, command.stages), command, serve_on)


def _refuse_to_resume(
    paths: RunPaths, command: Command, experiment: Experiment, *, is_served: bool
) -> None:
    """Refuse a run that has ended, and an endpoint for one that names no champion."""
    name = paths.root.name
    if is_served and not command.is_promoted:
        raise ConfigError(
            f"the run in {paths.root} was started with --no-promote and ends without a champion, "
            "so there is nothing for --keep to serve; leave it out"
        )
    if not _has_ended(paths, command):
        return
    serve = ""
    if command.is_promoted and paths.promotion.is_file():
        promoted: Promoted = read_value(paths.promotion, Promoted)
        address = find_registry(promoted.registry, experiment, paths)
        serve = f"`deepicd serve --registry {address}` serves its champion, "
    raise SweepError(
        f"the run in {paths.root} has ended, there is nothing to resume; `deepicd sweep status "
        f"{name}` shows it, {serve}`deepicd run` starts another"
    )


def _has_ended(paths: RunPaths, command: Command) -> bool:
    """Whether every stage is whole: one of which a file is gone runs again."""
    files = [paths.seal(name) for name in command.stages]
    # Before anything is hashed: a run that goes on hashes its whole stages by itself.
    if not all(file.is_file() for file in files):
        return False
    return all(find_whole(paths.root, file) for file in files)


def sweep_status(root: Path) -> "SweepStatus":
    """The sweep of the run in that folder, while it goes on or afterwards.

    Raises:
        MissingError: no run lies there, or it has not reached its sweep.
    """
    from deepicd.sweeps.results.status import read_sweep_status

    paths = RunPaths(root.resolve())
    is_alive = lock_holder(paths.lock) is not None
    status = read_sweep_status(paths, experiment_of_run(paths), is_alive=is_alive)
    return with_context(paths, status)


def _walk(run: Run, command: Command, serve_on: Callable[[Any], None] | None) -> Ended:
    # The recorded seconds are those of the CPU profile.
    run.is_rest_estimated = run.experiment.profile == "cpu" and command.is_promoted
    with _ray(run):
        stages.build_data(run)
        stages.build_start_model(run)
        if not command.is_promoted:
            return Ended(command, _status_of(run, stages.sweep(run)), {})
        # Before the sweep: a cap keeps back for evaluation what this takes (`results.spent`).
        sft = stages.score_start(run)
        swept = stages.sweep(run)
        brought = candidates.evaluate_best(run, swept)
        promoted = _promote(run, brought, sft)
        best = brought[0]
        outcome = summary.RunOutcome(
            swept.trials, best.trial, sft=sft, candidate=best.scored, promoted=promoted
        )
        if command.is_deployed:
            deployed = deployment.deploy(run, promoted)
            outcome.reply, outcome.monitor = deployed.reply, deployed.monitor
        written = summary.write(run, outcome)
        if serve_on is not None:
            deployment.keep_serving(run, promoted, serve_on)
        return Ended(command, _status_of(run, swept), written)


def _promote(run: Run, brought: Sequence[candidates.Candidate], sft: stages.Scored) -> Promoted:
    file = run.paths.promotion

    def work() -> Promoted:
        decision, champion = promotion.promote(run, brought, sft=sft)
        promoted = _describe(run, decision, champion)
        write_value(file, promoted, Promoted)
        return promoted

    what = "the winner against the champion, paired on the promotion split"
    promoted: Promoted = run.do("promotion", what, work) or read_value(file, Promoted)
    return promoted


def _describe(run: Run, decision: Decision, champion: str) -> Promoted:
    from deepicd.promotion.remote_registry import open_registry

    version = open_registry(registry_address(run.experiment, run.paths)).get(champion)
    origin = version.origin
    return Promoted(
        decision,
        champion,
        run=origin.run,
        stage=origin.stage,
        trial=origin.trial or None,
        test=version.scores,
        registry=run.experiment.promotion.registry or str(run.paths.registry),
    )


def _status_of(run: Run, swept: "SweepResult") -> "SweepStatus":
    from deepicd.sweeps.results.status import SweepStatus, budget

    spent = budget(swept.trials, run.paths, run.experiment)
    status = SweepStatus(run.experiment, swept.trials, budget=spent, decision=swept.decision)
    return with_context(run.paths, status)


@contextmanager
def _ray(run: Run) -> Iterator[None]:
    """Ray for a run; what libraries print goes to `console.log`."""
    # Imported only here: Ray and what it loads print while they are imported.
    with library_output_to(run.paths.console):
        from deepicd.clusters.ray_session import run_session
        from deepicd.clusters.storage import check_storage
        from deepicd.sweeps.search.validation import check_capacity

        with run_session(run.experiment, run.paths.root):
            # Before anything is built: notes and SFT may take hours.
            check_capacity(run.experiment)
            model = run.experiment.model.path
            # Gone where no stage needs it any more.
            check_storage(run.paths.root, [model] if model and model.exists() else [])
            yield
