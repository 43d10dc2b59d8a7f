"""The best trials of a sweep, checked by loading and scored: what is brought to the gate.

In: a run and what its sweep ended with. Out: `evaluation/candidates.json`, who is brought.
Decided here: each trial that is scored is a part of its own, so that an interrupted evaluation, and
`deepicd promote RUN:TRIAL`, ask no model twice; scores are there alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepicd.errors import CheckpointError, MissingError, SweepError
from deepicd.pipeline.folder.trials import with_root, without_root
from deepicd.pipeline.run import Run
from deepicd.pipeline.stages import Scored, score_model
from deepicd.pipeline.values import read_value, write_value
from deepicd.records import Trial

if TYPE_CHECKING:
    from deepicd.sweeps.results.decision import SweepResult

_NUM_COMPARED = 4
"""Validation notes whose logits are compared between a winner's export and its actor."""


@dataclass(frozen=True)
class Candidate:
    """A trial of the sweep that may be promoted."""

    trial: Trial
    scored: Scored


def evaluate_best(run: Run, swept: "SweepResult") -> list[Candidate]:
    """The sweep's best trials, best first, their exports checked by loading, scored like the SFT
    start.
    """
    file = run.paths.evaluation / "candidates.json"

    def work() -> list[Candidate]:
        candidates = [evaluate_trial(run, trial) for trial in find_usable(run, swept)]
        kept = [without_root(each.trial, run.paths.root) for each in candidates]
        write_value(file, kept, list[Trial])
        return candidates

    number = run.experiment.promotion.num_candidates
    who = "the winner" if number == 1 else f"the best {number} trials"
    done = run.do("evaluation", f"{who} on the test and promotion splits", work)
    if done is not None:
        return done
    kept: list[Trial] = read_value(file, list[Trial])
    return [evaluate_trial(run, with_root(trial, run.paths.root)) for trial in kept]


def evaluate_trial(run: Run, trial: Trial) -> Candidate:
    """A trial's scores; those of an interrupted evaluation are taken as they are, unless the trial
    has another best checkpoint since then.

    Raises:
        DataError: they were changed by hand.
    """
    from deepicd import checkpoints

    assert trial.checkpoint is not None, "ranked trials have a checkpoint"
    name, file = f"trial-{trial.id}", run.paths.evaluation / f"trial-{trial.id}.json"
    manifest = checkpoints.read_manifest(Path(trial.checkpoint.path))
    made_from = {"checkpoint": checkpoints.content_digest(manifest)}

    def work() -> Scored:
        scored = score_model(run, name, model_folder(trial))
        write_value(file, scored, Scored)
        return scored

    done = run.do_part("evaluation", name, made_from=made_from, work=work)
    whole: Scored = done or read_value(file, Scored)
    return Candidate(trial, whole)


def find_usable(run: Run, swept: "SweepResult") -> list[Trial]:
    """The best trials of a sweep, as many as are brought to the gate; one whose checkpoint is
    damaged or gone is passed over, which is said.

    Raises:
        CheckpointError, MissingError: all of them are.
    """
    from deepicd.sweeps.results.decision import rank_trials

    usable: list[Trial] = []
    ranked = rank_trials(swept.trials, swept.decision)
    if not ranked:
        raise SweepError(
            f"{swept.decision.why}, so there is nothing to evaluate; raise the cap that ended the "
            "trials, lower training.validate_every, or start another run"
        )
    for trial in ranked:
        try:
            check_winner(run, trial)
        except (CheckpointError, MissingError) as error:
            if trial is ranked[-1] and not usable:
                raise
            run.detail(f"trial {trial.id} is passed over: {error}")
        else:
            usable.append(trial)
        if len(usable) == run.experiment.promotion.num_candidates:
            break
    return usable


def check_winner(run: Run, best: Trial) -> None:
    """Refuse a winner whose checkpoint is damaged, or whose export is not the actor it trained.

    Raises:
        CheckpointError: what is wrong with it.
    """
    from deepicd import checkpoints
    from deepicd.notes.split_files import read_split
    from deepicd.prompts import PromptEncoder
    from deepicd.training.checkpoints.export_check import check_export

    assert best.checkpoint is not None, "ranked trials have a checkpoint"
    save, model = Path(best.checkpoint.path), model_folder(best)
    checkpoints.verify_trainer_manifest(save)
    if not run.experiment.promotion.compare_logits:
        checkpoints.verify_by_loading(model)
        return
    notes = read_split(run.paths.split("validation"))[:_NUM_COMPARED]
    encoder = PromptEncoder.of_model(model, run.experiment.limits)
    prompts = [prompt.token_ids for prompt in encoder.encode([note.text for note in notes])]
    # A note that does not fit has no ids.
    difference = check_export(save, run.paths.sft, [ids for ids in prompts if ids])
    run.detail(
        f"trial {best.id} step {best.checkpoint.step}: its export is its actor (logits "
        f"{difference['logits']:.1e} off)"
    )


def model_folder(trial: Trial) -> Path:
    """Hugging Face folder of a trial's best checkpoint."""
    from deepicd.training.checkpoints.retention import CHECKPOINT_MODEL

    assert trial.checkpoint is not None, "ranked trials have a checkpoint"
    return Path(trial.checkpoint.path) / CHECKPOINT_MODEL
