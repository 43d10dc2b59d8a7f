"""A model of a run, as it is registered and judged; and the champion, asked on the same notes.

In: a run and its scored models, a registry. Out: versions, examinations. Decided here: a model that
training went on from is looked up in the registry, and the patients that it was trained on count
for what came of it too.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepicd import checkpoints
from deepicd.config import Experiment
from deepicd.errors import DeepICDError, PromotionError
from deepicd.pipeline.candidates import Candidate, model_folder
from deepicd.pipeline.context import START_MODEL, card_facts, winner_of
from deepicd.pipeline.promotion.lineage import (
    find_version,
    lineage_of_start,
    lineage_of_trial,
    trained_patients,
)
from deepicd.pipeline.run import Run
from deepicd.pipeline.stages import Scored, sampling_of
from deepicd.promotion.lineage import SFT, Lineage
from deepicd.promotion.patients import PatientList
from deepicd.promotion.registry import Registry
from deepicd.promotion.versions import Version
from deepicd.records import Examination

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contestant:
    """A scored model of a run that may be registered."""

    folder: Path
    lineage: Lineage
    patients: Collection[str]
    """Identifiers of those that the run trained it on."""
    scored: Scored
    card: Mapping[str, Any]
    """What its model card says beside lineage and scores."""

    @classmethod
    def of_start(cls, run: Run, scored: Scored) -> "Contestant":
        """The model that every trial starts from."""
        patients = trained_patients(run, is_trial=False)
        card = card_facts(run.paths, run.experiment, {**START_MODEL, "scores": scored.test})
        return cls(run.paths.sft, lineage_of_start(run), patients, scored, card)

    @classmethod
    def of_trial(cls, run: Run, candidate: Candidate) -> "Contestant":
        """A trial's best checkpoint."""
        patients = trained_patients(run, is_trial=True)
        trial, scored = candidate.trial, candidate.scored
        card = card_facts(run.paths, run.experiment, winner_of(trial, scored.test))
        return cls(model_folder(trial), lineage_of_trial(run, trial), patients, scored, card)

    def register(self, registry: Registry) -> Version:
        """The version of this model; the same one at a second time."""
        return registry.register(
            self.folder,
            lineage=self.lineage.as_dict(),
            scores=self.scored.test,
            calibration=self.scored.calibration,
            patients=self._list_patients(registry),
            card=self.card,
        )

    def _list_patients(self, registry: Registry) -> PatientList | None:
        """With those of the model that training went on from; None where that one's are not
        known.
        """
        own = registry.list_patients(self.patients)
        base = self.lineage.base_model
        if base is None:
            return own
        if not Path(base.path).is_dir():  # whom it was trained on cannot be looked up
            return None
        inherited = _patients_of_base(registry, Path(base.path))
        return None if inherited is None else own | inherited


def _patients_of_base(registry: Registry, folder: Path) -> PatientList | None:
    """Of a public or freshly built model nobody; None where it was trained on notes and nobody
    recorded whose.
    """
    version = find_version(registry, folder)
    if version is not None:
        return registry.patients_of(version)
    has_manifest = (folder / checkpoints.MANIFEST).is_file()
    facts = checkpoints.read_manifest(folder)["facts"] if has_manifest else {}
    return None if facts.get("stage") == SFT else registry.list_patients(())


def examine_version(
    registry: Registry, name: str, *, split: Path, experiment: Experiment
) -> Examination:
    """What the gate is shown of a version: asked on a split, under its own limits.

    Raises:
        MissingError: no such version or split.
        CheckpointError: it is damaged, or vLLM cannot load it.
        CapacityError: the engine's process died.
    """
    from deepicd.inference.offline import OfflineEngine, load_model
    from deepicd.notes.split_files import read_split
    from deepicd.promotion.examine import examine

    notes = read_split(split)
    version = registry.verify(name)
    _log.info("asking %s on %s ...", version.name, split)
    engine = OfflineEngine.for_profile(experiment.profile, seed=experiment.seed)
    limits = version.origin.limits or experiment.limits
    with load_model(version.path, limits=limits, engine=engine) as model:
        predictions = model.answer_split(split)
        return examine(model, notes, predictions, sampling=sampling_of(experiment))


def examine_champion(
    registry: Registry, name: str, *, split: Path, experiment: Experiment
) -> Examination:
    """As `examine_version`.

    Raises:
        PromotionError: it cannot be asked on this machine; what is registered stays so.
    """
    try:
        return examine_version(registry, name, split=split, experiment=experiment)
    except DeepICDError as error:
        raise PromotionError(
            f"the champion {name} of {registry.place} cannot be asked here: {error} The candidates "
            "stay registered. Go on where it can be loaded (deepicd resume, deepicd promote), give "
            "the alias to another version (deepicd rollback, deepicd promote VERSION --force), or "
            "name another registry (promotion.registry)."
        ) from error
