"""From a sweep's winner to the champion: gate and registry."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepicd.config import Experiment
from deepicd.errors import MissingError
from deepicd.pipeline.context import START_MODEL, card_facts, winner_of
from deepicd.pipeline.run import Run, experiment_or_defaults, registry_address
from deepicd.pipeline.stages import Candidate, Scored, lineage_of, model_folder, sampling_of
from deepicd.provenance import code_commit
from deepicd.records import Decision, Examination

if TYPE_CHECKING:
    from deepicd.paths import RunPaths
    from deepicd.promotion.registry import Registry

_log = logging.getLogger(__name__)


def promote(run: Run, candidates: Sequence[Candidate], *, sft: Scored) -> tuple[Decision, str]:
    """The SFT start becomes champion; the winner challenges it on the split that no trial saw.

    Returns the decision about the winner and the name of the version that is champion now.
    """
    from deepicd.promotion.promote import promote_best
    from deepicd.promotion.remote_registry import open_registry
    from deepicd.promotion.versions import CHAMPION

    best, candidate = candidates[0].trial, candidates[0].scored
    experiment = run.experiment
    registry = open_registry(registry_address(experiment, run.paths))
    lineage = {"experiment": experiment.name, "seed": experiment.seed, "code": code_commit()}
    start = registry.register(
        run.paths.sft,
        lineage=lineage | {"stage": "sft"},
        scores=sft.test,
        calibration=sft.calibration,
        card=card_facts(run.paths, experiment, {**START_MODEL, "scores": sft.test}),
    )
    # Without a gate: there is no champion to compare with, and the winner needs an opponent.
    registry.promote(start.name, reason="the SFT start: nothing else can serve yet")
    winner = registry.register(
        model_folder(best),
        lineage=lineage | lineage_of(best),
        scores=candidate.test,
        calibration=candidate.calibration,
        card=card_facts(run.paths, experiment, winner_of(best, candidate.test)),
    )
    decision = promote_best(
        registry,
        [winner.name],
        examinations={start.name: sft.promotion, winner.name: candidate.promotion},
        config=experiment.promotion,
        seed=experiment.seed,
    ).decision
    champion = registry.aliases()[CHAMPION]
    _log_decision(run, decision, champion)
    return decision, champion


def _log_decision(run: Run, decision: Decision, champion: str) -> None:
    """What the gate decided, and why."""
    verdict = "is champion now" if decision.accepted else "stays champion; nothing changed"
    run.detail(f"{champion} {verdict}:")
    for reason in decision.reasons:
        run.detail(f"  {reason}")


def judge_version(store: "Registry", name: str, *, split: Path | None, run: "RunPaths") -> Decision:
    """Decide about a registered version, and move the alias if it is accepted.

    A decision that the registry holds against the present champion is used, unless a split is
    named. Otherwise the version and the champion answer the promotion split.

    Args:
        store: the registry.
        name: version or alias.
        split: notes to judge on; None takes the promotion split of the run.
        run: the run that the registry lies in.

    Raises:
        MissingError: nothing is called that, or there is no such split.
        PromotionError: the version is champion already, or the champion changed meanwhile.
    """
    from deepicd.promotion.promote import promote_best
    from deepicd.promotion.versions import CHAMPION

    champion = store.aliases().get(CHAMPION)
    recorded = store.decision(name)
    if recorded is not None and split is None:
        if recorded.accepted:
            store.promote(name, reason="won at the gate before", expected=champion)
        return recorded
    experiment = experiment_or_defaults(run.experiment)
    names = {store.get(name).name, *([champion] if champion else [])}
    notes = split or run.split("promotion")
    return promote_best(
        store,
        [name],
        examinations={
            each: _examine_version(store, each, split=notes, experiment=experiment)
            for each in names
        },
        config=experiment.promotion,
        seed=experiment.seed,
    ).decision


def _examine_version(
    store: "Registry", name: str, *, split: Path, experiment: Experiment
) -> Examination:
    """What the gate is shown of a version, by the run's own limits."""
    from deepicd.inference.offline import OfflineEngine, load_model
    from deepicd.notes.split_files import read_split
    from deepicd.promotion.examine import examine

    if not split.is_file():
        raise MissingError(
            f"no promotion split at {split}, and no decision about this version on record. Name "
            "the split with --split, or move the alias without a gate with --force."
        )
    _log.info("asking %s on %s ...", name, split)
    engine = OfflineEngine.for_profile(experiment.profile, seed=experiment.seed)
    with load_model(store.verify(name).path, limits=experiment.limits, engine=engine) as model:
        predictions = model.answer_split(split)
        sampling = sampling_of(experiment)
        return examine(model, read_split(split), predictions, sampling=sampling)
