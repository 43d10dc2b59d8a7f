"""`deepicd promote VERSION`: judge a version against the champion; make it champion if it wins.

In: a registry, a version, and how to judge it. Out: the decision with its reasons; an endpoint that
follows the registry changes by itself. Decided here: a decision that the registry already holds
against the present champion is used; else both models are asked on the promotion split of the run
that the registry lies in (or `--split`). A rejection is a report: it exits with 0 and moves
nothing.
"""

import getpass
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepicd.cli.registry import JsonOption, NameArgument, RegistryOption

if TYPE_CHECKING:
    from deepicd.config import Experiment
    from deepicd.paths import RunPaths
    from deepicd.promotion.registry import Registry
    from deepicd.records import Decision, Examination

_log = logging.getLogger(__name__)


def command(
    name: NameArgument,
    registry: RegistryOption,
    force: Annotated[bool, typer.Option("--force", help="Move the alias without a gate.")] = False,
    split: Annotated[
        Path | None, typer.Option(help="Promotion split (default: the run's own).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge VERSION against the champion and make it champion if it wins.

    Example: deepicd promote v0003 --registry runs/demo/registry
    """
    from deepicd.promotion.remote_registry import open_registry

    store = open_registry(registry)
    if force:
        event = store.promote(name, reason=f"forced by {getpass.getuser()}")
        typer.echo(
            json.dumps(asdict(event)) if as_json else f"{event.version} is champion (forced)"
        )
        return
    decision = decide(store, name, split, run_of(registry))
    if as_json:
        typer.echo(json.dumps({**asdict(decision), "champion": store.aliases().get("champion")}))
        return
    verdict = "is champion now" if decision.accepted else "was not promoted; nothing changed"
    typer.echo(
        "\n".join([f"{store.get(name).name} {verdict}", *map("  {}".format, decision.reasons)])
    )


def run_of(registry: str) -> "RunPaths":
    """The run that a registry lies in; the present folder for one in an object store."""
    from deepicd.paths import RunPaths
    from deepicd.promotion.remote_registry import is_url

    return RunPaths(Path() if is_url(registry) else Path(registry).resolve().parent)


def decide(store: "Registry", name: str, split: Path | None, run: "RunPaths") -> "Decision":
    """The decision that is on record, or a new one; the alias moves if it is accepted."""
    from deepicd.promotion.promote import promote_candidate
    from deepicd.promotion.registry import CHAMPION

    champion = store.aliases().get(CHAMPION)
    recorded = store.decision(name)
    if recorded is not None and split is None:
        if recorded.accepted:
            store.promote(name, reason="won at the gate before", expected=champion)
        return recorded
    experiment = experiment_of(run.experiment)
    names = {store.get(name).name, *([champion] if champion else [])}
    notes = split or run.split("promotion")
    return promote_candidate(
        store,
        name,
        examinations={each: examine_version(store, each, notes, experiment) for each in names},
        config=experiment.promotion,
        seed=experiment.seed,
    )


def experiment_of(path: Path) -> "Experiment":
    """The resolved experiment beside a run's results, or the defaults where there is none."""
    from deepicd.config import Experiment, read_experiment

    if not path.is_file():
        return Experiment()
    return read_experiment(path)


def examine_version(
    store: "Registry", name: str, split: Path, experiment: "Experiment"
) -> "Examination":
    """What the gate is shown of a version, by the run's own limits."""
    from deepicd.errors import MissingError
    from deepicd.inference.offline import OfflineEngine, load_model
    from deepicd.notes.split_files import read_split
    from deepicd.pipeline.stages import sampling_of
    from deepicd.promotion.examine import examine

    if not split.is_file():
        raise MissingError(
            f"no promotion split at {split}, and no decision about this version on record. Name "
            "the split with --split, or move the title without a gate with --force."
        )
    _log.info("asking %s on %s ...", name, split)
    engine = OfflineEngine.for_profile(experiment.profile, seed=experiment.seed)
    with load_model(store.verify(name).path, limits=experiment.limits, engine=engine) as answering:
        predictions = answering.answer_split(split)
        sampling = sampling_of(experiment)
        return examine(answering, read_split(split), predictions, sampling=sampling)
