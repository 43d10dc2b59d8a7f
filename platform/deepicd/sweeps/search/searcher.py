"""Ray Tune's Optuna searcher over an experiment's search space, for sweeps that can resume.

In: an experiment and the sweep's folder. Out: a searcher whose Optuna study is a journal there,
which `optuna-dashboard` opens. Decided here: what the study is told of a trial, what becomes of
its trials that Ray Tune's snapshot does not have, and that equal trials run once while the space
has others.
"""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial
from ray.tune.search.optuna import OptunaSearch

from deepicd.config import MINIMISED, Experiment, Scalar
from deepicd.paths import STUDY, TUNE
from deepicd.sweeps.results.pareto import objectives_of
from deepicd.sweeps.results.trials import best_validation, read_history
from deepicd.sweeps.search.space import (
    build_sampler,
    distributions,
    grid_trials,
    suggest,
    unseen_trial,
)
from deepicd.training.grpo import metric_names
from deepicd.upstream import require_version


class Searcher(OptunaSearch):
    """Proposes trials by Optuna; a searcher for a new sweep starts a new study.

    The study is on disk: when a sweep resumes, it may know of a trial, or of the end of one, that
    Tune's last snapshot does not have. Ray's class offers neither its study nor its trials, so this
    one uses `_ot_study` and `_ot_trials` (Tune's trial id → Optuna's trial).
    """

    def __init__(self, experiment: Experiment, *, storage: Path) -> None:
        require_version("ray", "2.60.0", "the Optuna searcher")
        require_version("optuna", "5.0.0", "the Optuna searcher")
        sweep, journal = experiment.sweep, storage.resolve() / STUDY
        self._experiment, self._sweep, self._tune = experiment, sweep, storage.resolve() / TUNE
        self._validated: dict[str, list[dict[str, Any]]] = {}
        journal.parent.mkdir(parents=True, exist_ok=True)
        # Only a new sweep comes here: Tune unpickles the searcher of one that goes on.
        journal.unlink(missing_ok=True)
        is_grid = sweep.sampler == "grid"
        queued = grid_trials(experiment, sweep.num_trials) if is_grid else None
        super().__init__(
            space=partial(suggest, search=sweep.search),
            metric=list(sweep.objectives) or metric_names.OBJECTIVE,
            mode=["min" if name in MINIMISED else "max" for name in sweep.objectives] or "max",
            points_to_evaluate=queued,
            sampler=build_sampler(experiment),
            study_name=experiment.name,
            storage=JournalStorage(JournalFileBackend(str(journal))),
        )

        self._add_warm_start_trials()

    def _add_warm_start_trials(self) -> None:
        """Tell the study of an earlier sweep's trials; their attribute `warm_start` says which."""
        domains = distributions(self._sweep.search)
        for trial in self._sweep.warm_start_trials:
            self._ot_study.add_trial(
                create_trial(
                    params=trial.params,
                    distributions={address: domains[address] for address in trial.params},
                    values=[trial.objectives[name] for name in self._sweep.pursued],
                    user_attrs={"warm_start": trial.source},
                )
            )

    def suggest(self, trial_id: str) -> dict[str, Scalar] | None:
        """Values of a new trial, whose Tune id the study notes as the attribute `trial`."""
        values: dict[str, Scalar] | None = super().suggest(trial_id)
        if values is not None and (other := self._fresh_instead_of(values, trial_id)):
            # Popped: for a trial that it knows Ray's class asks no other.
            self._ot_study.tell(self._ot_trials.pop(trial_id).number, state=TrialState.FAIL)
            self._ot_study.enqueue_trial(other)
            values = super().suggest(trial_id)
        # The journal outlives Tune: this is what leads from it to a trial's folder.
        self._ot_trials[trial_id].set_user_attr("trial", trial_id)
        return values

    def _fresh_instead_of(
        self, values: dict[str, Scalar], trial_id: str
    ) -> dict[str, Scalar] | None:
        """A trial that was not proposed yet, where this one was: equal values and seeds give equal
        weights. None where it is new, or where every trial of the space was proposed.
        """
        own = self._ot_trials[trial_id].number
        states = (TrialState.RUNNING, TrialState.COMPLETE)
        trials = self._ot_study.get_trials(deepcopy=False, states=states)
        proposed = [trial.params for trial in trials if trial.number != own]
        return unseen_trial(self._experiment, proposed) if values in proposed else None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep a validation until the trial ends: Tune brings reports to disk some seconds later.
        Pass it on, where the study has this trial and has not closed it. Other reports repeat its
        score, and each one that is passed on is forced to disk.
        """
        if metric_names.validation(self._sweep.metric) not in result:
            return
        self._validated.setdefault(trial_id, []).append(result)
        if trial_id in self._ot_trials:
            # The study on disk may have closed a trial that Tune's snapshot still runs.
            with suppress(UpdateFinishedTrialError):
                super().on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study what the trial reached at its best validation, whether it came to its end
        or was stopped. One that failed, or has no such validation, has failed for the study too.
        """
        self.tell(trial_id, {} if error else self.reached(trial_id, result))

    def reached(self, trial_id: str, result: dict[str, Any] | None) -> dict[str, float]:
        """Objectives, at its best validation, of a trial that is over and whose last report this
        is; empty where it lacks one.
        """
        # From disk what earlier starts of the sweep reported, from memory what is not there yet.
        rows = [*read_history(self._tune / trial_id), *self._validated.pop(trial_id, [])]
        rows += [result] if result else []
        best = best_validation(rows, self._sweep.metric)
        values = objectives_of(best, self._sweep.pursued) if best else {}
        # Optuna takes all of its objectives or none.
        return values if len(values) == len(self._sweep.pursued) else {}

    def tell(self, trial_id: str, values: dict[str, float]) -> None:
        """End a trial of the study with these objectives; without any it has failed."""
        if values:
            # Ray reads OBJECTIVE with one objective, and the names of several.
            reached = {**values, metric_names.OBJECTIVE: values[self._sweep.metric]}
            super().on_trial_complete(trial_id, reached)
        else:
            super().on_trial_complete(trial_id, error=True)

    def restore(self, checkpoint_path: str) -> None:
        """Go on from Tune's snapshot; trials that were proposed after it, and that Tune knows
        nothing of, are closed. A queued one is queued again, others the sampler proposes again.
        """
        super().restore(checkpoint_path)
        in_snapshot = {trial.number for trial in self._ot_trials.values()}
        for trial in self._ot_study.get_trials(states=(TrialState.RUNNING,)):
            if trial.number not in in_snapshot:
                # Tune will not tell its end: in the study it would run for ever.
                self._ot_study.tell(trial.number, state=TrialState.FAIL)
                # Where Optuna's `enqueue_trial` keeps the values of a queued trial.
                if queued := trial.system_attrs.get("fixed_params"):
                    self._ot_study.enqueue_trial(queued)
