"""The best trials of a run against the champion of a registry, whichever run that one is of.

In: a run, its scored trials and start model. Out: the gate's decision, and who is champion now.
Decided here: where nobody is champion, the start model of the run becomes it first, without a gate:
it is the floor that has to be beaten. Every step is found again after a kill: a model is registered
once, a comparison that is on record is not made again and uses up no more of the promotion split,
and ends as it was decided.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepicd.config import Experiment
from deepicd.errors import PromotionError
from deepicd.paths import RunPaths
from deepicd.pipeline.candidates import Candidate
from deepicd.pipeline.folder.command import registry_address
from deepicd.pipeline.promotion.contestant import Contestant, examine_champion
from deepicd.pipeline.promotion.lineage import digest_model, lineage_of_experiment
from deepicd.pipeline.run import Run
from deepicd.pipeline.stages import Scored
from deepicd.promotion.fairness import find_differences
from deepicd.promotion.promote import check_fair, promote_best, split_digest
from deepicd.promotion.registry import Registry
from deepicd.promotion.remote_registry import is_url, open_registry
from deepicd.promotion.versions import CHAMPION, Version
from deepicd.records import Decision, Examination

_MAX_ATTEMPTS = 5
"""Champions in a row that others may promote while this run compares with the one before."""
_FLOOR = "the start model: nobody is champion yet, and it is the floor"


@dataclass(frozen=True)
class Outcome:
    """What came of a promotion."""

    version: str
    """The candidate that the decision is about."""
    decision: Decision
    champion: str
    """Version that is champion now."""


def check_champion(experiment: Experiment, paths: RunPaths) -> None:
    """Raise PromotionError where the registry of a run that is to start cannot be read, or its
    champion could not be compared with what the run would train: before that takes days.
    """
    address = registry_address(experiment, paths)
    if not is_url(address) and Path(address).is_relative_to(paths.root):
        return  # what lies in the run's own folder is moved aside with it
    registry = open_registry(address)
    champion = registry.aliases().get(CHAMPION)
    if champion is None:
        return
    ours = lineage_of_experiment(experiment)
    differences = find_differences(ours, registry.get(champion).origin)
    if differences:
        raise PromotionError(
            f"the champion {champion} of {registry.place} could not be compared with what this "
            f"experiment trains: {'; '.join(differences)}. Take the champion's values, name "
            "another registry (promotion.registry), or leave promotion out (--no-promote)."
        )


def promote(run: Run, candidates: Sequence[Candidate], *, sft: Scored) -> tuple[Decision, str]:
    """Register the candidates and judge them against the present champion, on the split that no
    trial saw.

    Args:
        run: in progress.
        candidates: best first.
        sft: the scored start model.

    Returns:
        The decision about the best candidate, and the name of the version that is champion now.

    Raises:
        PromotionError: the champion cannot be compared with or loaded here; the candidates stay
            registered, and the stage can be done again.
    """
    registry = open_registry(registry_address(run.experiment, run.paths))
    outcome = Promotion(run, registry, lambda: sft).decide(candidates)
    _log_outcome(run, registry, outcome)
    return outcome.decision, outcome.champion


@dataclass(frozen=True)
class Promotion:
    """A run's models and the registry that they compete in."""

    run: Run
    registry: Registry
    score_start: Callable[[], Scored]
    """Scores of the start model; asked only where they are needed."""
    is_judged_anew: bool = False
    """Whether candidates that were rejected are judged again where another one is champion now."""

    def decide(self, candidates: Sequence[Candidate]) -> Outcome:
        """Register, judge, and promote if a candidate wins."""
        self._ensure_champion()
        scored = {self.register(each).name: each.scored.promotion for each in candidates}
        # All of them were asked the same notes.
        split = split_digest(candidates[0].scored.promotion.predictions)
        for attempt in range(_MAX_ATTEMPTS):
            settled = self._find_settled(list(scored), split)
            if settled is not None:
                return settled
            champion = self.registry.aliases()[CHAMPION]
            try:
                return self._judge(scored, champion)
            except PromotionError:
                # Somebody else promoted meanwhile: the candidates meet the new champion.
                is_last = attempt == _MAX_ATTEMPTS - 1
                if is_last or self.registry.aliases()[CHAMPION] == champion:
                    raise
        raise AssertionError("the last attempt raises")

    def register(self, candidate: Candidate) -> Version:
        """The version of a candidate."""
        return Contestant.of_trial(self.run, candidate).register(self.registry)

    def _ensure_champion(self) -> None:
        if CHAMPION in self.registry.aliases():
            return
        start = Contestant.of_start(self.run, self.score_start()).register(self.registry)
        try:
            self.registry.promote(start.name, reason=_FLOOR, expected=None)
        except PromotionError:
            # Somebody else was faster: that champion is the one to beat.
            if CHAMPION not in self.registry.aliases():
                raise

    def _judge(self, scored: Mapping[str, Examination], champion: str) -> Outcome:
        if champion in scored:
            reason = f"{champion} is champion already, without a comparison that is on record"
            return Outcome(champion, Decision(True, (reason,), {}), champion)
        # Before minutes are spent on loading.
        check_fair(self.registry, list(scored), champion)
        verdict = promote_best(
            self.registry,
            list(scored),
            examinations={**scored, champion: self._examine(champion)},
            config=self.run.experiment.promotion,
            seed=self.run.experiment.seed,
        )
        now = self.registry.aliases()[CHAMPION]
        return Outcome(verdict.version, verdict.decision, now)

    def _examine(self, champion: str) -> Examination:
        """Of the champion, on this run's notes; of the run's own start model it was made before."""
        run, checkpoint = self.run, self.registry.get(champion).origin.checkpoint
        if checkpoint is not None and checkpoint.sha256 == digest_model(run.paths.sft):
            return self.score_start().promotion
        split = run.paths.split("promotion")
        return examine_champion(self.registry, champion, split=split, experiment=run.experiment)

    def _find_settled(self, names: Sequence[str], split: str) -> Outcome | None:
        """What was decided about exactly these candidates before; a promotion that a kill
        prevented is made now.
        """
        judged = self.registry.find_judgement(names, split)
        if judged is None:
            return None
        champion = self.registry.aliases()[CHAMPION]
        is_against_champion = champion == judged.champion
        if judged.decision.accepted and champion != judged.version:
            # A kill came between decision and promotion, or a roll-back since then is undone by
            # hand.
            if is_against_champion and (not judged.is_promoted or self.is_judged_anew):
                self.registry.promote(judged.version, reason="won at the gate", expected=champion)
                champion = judged.version
            # Another one is champion now, whom nobody has compared it with.
            elif not judged.is_promoted:
                return None
        is_outdated = not is_against_champion and champion != judged.version
        if self.is_judged_anew and is_outdated:
            return None
        return Outcome(judged.version, judged.decision, champion)


def _log_outcome(run: Run, registry: Registry, outcome: Outcome) -> None:
    """What the gate decided, and why."""
    origin = registry.get(outcome.champion).origin
    whose = f" (run {origin.run})" if origin.run not in {"", run.paths.root.name} else ""
    has_won = outcome.champion == outcome.version
    verdict = "is champion now" if has_won else "stays champion; nothing changed"
    run.detail(f"{outcome.champion}{whose} {verdict}:")
    for reason in outcome.decision.reasons:
        run.detail(f"  {reason}")
