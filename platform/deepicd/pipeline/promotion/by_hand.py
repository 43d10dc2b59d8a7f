"""Promotion from the command line: a registered version, a run's trial, a model of no run.

In: what somebody typed. Out: versions, decisions. Decided here: a name with a colon, or one under
which a run lies, is a run; every other one is a version or an alias. A decision that the registry
holds against the present champion is used, and no comparison is made twice. The limits and the
promotion split of a version are those of its own run where that lies here.
"""

import logging
from dataclasses import dataclass
from functools import cache
from getpass import getuser
from pathlib import Path

from deepicd.config import Experiment, load_experiment, nearest
from deepicd.errors import MissingError, PromotionError
from deepicd.paths import REGISTRY, RunPaths
from deepicd.pipeline import candidates, stages
from deepicd.pipeline.folder.command import (
    experiment_of_run,
    experiment_or_defaults,
    registry_address,
    run_of_registry,
)
from deepicd.pipeline.folder.lock import locked
from deepicd.pipeline.folder.trials import read_swept
from deepicd.pipeline.promotion.contestant import examine_champion, examine_version
from deepicd.pipeline.promotion.lineage import lineage_by_hand
from deepicd.pipeline.promotion.stage import Outcome, Promotion
from deepicd.pipeline.run import Run
from deepicd.pipeline.seal import find_whole
from deepicd.pipeline.values import read_value
from deepicd.promotion.event_log import Event
from deepicd.promotion.promote import check_fair, promote_best
from deepicd.promotion.registry import Registry
from deepicd.promotion.remote_registry import open_registry
from deepicd.promotion.versions import CHAMPION, Version
from deepicd.records import Trial

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """What is to be promoted."""

    registry: Registry
    version: str
    """Name or alias of a registered version; empty for a trial of a run."""
    run: RunPaths | None
    """The run whose trial it is, or whose limits and notes a version is judged by."""
    trial: str = ""
    """Id; empty for the winner."""


def find_target(name: str, *, registry: str, runs: Path) -> Target:
    """What `VERSION` or `RUN[:TRIAL]` stands for.

    Args:
        name: as it was typed.
        registry: folder or URL; empty takes the one that the run names, or `RUNS/registry`.
        runs: folder of the runs.
    """
    found = _find_run(name, runs)
    if found is None:
        address = registry or str(runs / REGISTRY)
        store = open_registry(address)
        return Target(store, name, _run_of_version(store, name, address=address, runs=runs))
    paths, trial = found
    address = registry or registry_address(experiment_of_run(paths), paths)
    return Target(open_registry(address), "", paths, trial)


def judge(target: Target, *, split: Path | None) -> Outcome:
    """Judge against the champion, and move the alias if the target is accepted.

    Args:
        target: what is judged.
        split: notes to judge a version on; None takes the promotion split of its run.

    Raises:
        MissingError: there is no such version, run, trial or split.
        PromotionError: it is champion already, or cannot be compared with the champion.
        SweepError: the run is going on.
    """
    if target.version:
        return _judge_version(target, split)
    with locked(_paths_of(target).lock):
        run, candidate = _evaluate(target)
        score_start = cache(lambda: _score_start(run))  # as floor, and as the champion it then is
        promotion = Promotion(run, target.registry, score_start, is_judged_anew=True)
        return promotion.decide([candidate])


def force(target: Target) -> Event:
    """Make the target champion without a comparison.

    Raises:
        As `judge`.
    """
    name = target.version
    if not name:
        with locked(_paths_of(target).lock):
            run, candidate = _evaluate(target)
            promotion = Promotion(run, target.registry, lambda: _score_start(run))
            name = promotion.register(candidate).name
    return target.registry.promote(name, reason=f"forced by {getuser()}")


def add_version(folder: Path, *, registry: str, experiment: Path | None) -> Version:
    """Register a model folder that comes from no run.

    Args:
        folder: Hugging Face folder.
        registry: folder or URL, made where there is none.
        experiment: file that says by which limits and on which notes it was trained.

    Raises:
        MissingError: it is no Hugging Face folder.
        CheckpointError: it holds pickles or scripts, or lacks weights or tokeniser.
    """
    from deepicd.checkpoints import check_layout

    check_layout(folder)  # before the registry's folder is made
    values = load_experiment(experiment) if experiment else None
    lineage = lineage_by_hand(folder, values).as_dict()
    return open_registry(registry).register(folder, lineage=lineage)


def _find_run(name: str, runs: Path) -> tuple[RunPaths, str] | None:
    """The run and the trial that a name stands for; None where it is no run."""
    # The last colon: a folder's name may hold one too.
    root, colon, trial = name.rpartition(":")
    for folder, named in ((name, ""), *([(root, trial)] if colon and root else [])):
        for place in (Path(folder), runs / folder):
            paths = RunPaths(place.resolve())
            if paths.experiment.is_file():
                return paths, named
    # A URL has a colon of its own.
    if colon and "://" not in name:
        raise MissingError(f"no run at {root} or {runs / root}; RUN:TRIAL names a run's trial.")
    return None


def _run_of_version(store: Registry, name: str, *, address: str, runs: Path) -> RunPaths | None:
    """Its own run, by its lineage, or the run that the registry lies in; None where neither is
    here.
    """
    around = run_of_registry(address)
    own = store.get(name).origin.run
    places = [around.root / own, runs / own] if own else []
    found = (RunPaths(place.resolve()) for place in (*places, around.root))
    return next((paths for paths in found if paths.experiment.is_file()), None)


def _judge_version(target: Target, split: Path | None) -> Outcome:
    store = target.registry
    name = store.get(target.version).name
    champion = store.aliases().get(CHAMPION)
    recorded = store.decision(name)
    if recorded is not None and split is None:
        if recorded.accepted and champion != name:
            store.promote(name, reason="won at the gate before", expected=champion)
        return Outcome(name, recorded, store.aliases().get(CHAMPION, ""))
    if champion == name:
        raise PromotionError(f"{name} is champion already in {store.place}; nothing to do.")
    notes, experiment = _judged_on(target, split)
    if champion is not None:
        check_fair(store, [name], champion)  # before minutes are spent on loading
    examinations = {name: examine_version(store, name, split=notes, experiment=experiment)}
    if champion is not None:
        examinations[champion] = examine_champion(
            store, champion, split=notes, experiment=experiment
        )
    verdict = promote_best(
        store,
        [name],
        examinations=examinations,
        config=experiment.promotion,
        seed=experiment.seed,
    )
    return Outcome(name, verdict.decision, store.aliases().get(CHAMPION, ""))


def _judged_on(target: Target, split: Path | None) -> tuple[Path, Experiment]:
    """Notes and settings by which a version is judged."""
    run = target.run
    notes = split or (run.split("promotion") if run else None)
    if notes is None or not notes.is_file():
        raise MissingError(
            f"no promotion split at {notes or 'its run, which does not lie here'}, and no decision "
            f"about {target.version} on record. Name the split with --split, or move the alias "
            "without a gate with --force."
        )
    return notes, experiment_or_defaults(run.experiment) if run else Experiment()


def _paths_of(target: Target) -> RunPaths:
    assert target.run is not None, "find_target gives every trial its run"
    return target.run


def _evaluate(target: Target) -> tuple[Run, candidates.Candidate]:
    """The run and its scored trial, its export checked."""
    paths = _paths_of(target)
    run = Run(experiment_of_run(paths), paths)
    trial = _find_trial(run, target.trial)
    candidates.check_winner(run, trial)
    return run, candidates.evaluate_trial(run, trial)


def _find_trial(run: Run, name: str) -> Trial:
    """A trial with a checkpoint: the one of that id, or the winner.

    Raises:
        MissingError: there is none; names those that there are.
    """
    if find_whole(run.paths.root, run.paths.seal("sweep")) is None:
        raise MissingError(
            f"the sweep of {run.paths.root} has not ended, so no trial of it can be promoted; "
            f"deepicd resume {run.paths.root.name} goes on with it."
        )
    swept = read_swept(run.paths)
    trials = {trial.id: trial for trial in swept.trials if trial.checkpoint is not None}
    wanted = name or swept.decision.winner or ""
    if wanted not in trials:
        raise MissingError(
            f"{run.paths.root} has no trial {wanted or 'that won'} with a checkpoint"
            f"{nearest(wanted, list(trials))}; known: {', '.join(trials) or 'none'}. Name one with "
            f"{run.paths.root.name}:TRIAL."
        )
    return trials[wanted]


def _score_start(run: Run) -> stages.Scored:
    """The run's start model, scored before or now."""
    if find_whole(run.paths.root, run.paths.seal("baselines")) is not None:
        scored: stages.Scored = read_value(run.paths.evaluation / "sft.json", stages.Scored)
        return scored
    return stages.score_model(run, "sft", run.paths.sft)
