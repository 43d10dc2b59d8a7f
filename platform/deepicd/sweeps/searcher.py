"""Ray Tune's Optuna searcher over an experiment's search space, for sweeps that can go on.

In: an experiment and the sweep's folder. Out: a searcher whose study is a journal there, which
`optuna-dashboard` opens.
"""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from deepicd.config import Experiment
from deepicd.paths import STUDY
from deepicd.sweeps.grid import grid_trials
from deepicd.sweeps.samplers import build_sampler
from deepicd.sweeps.space import suggest
from deepicd.training.trial import OBJECTIVE


class Searcher(OptunaSearch):
    """Proposes trials; one for a new sweep begins a study of its own.

    Its study is on disk: when a sweep goes on, the study may know of a trial, or of the end of one,
    that Tune's last snapshot does not have.
    """

    def __init__(self, experiment: Experiment, *, storage: Path) -> None:
        sweep, journal = experiment.sweep, storage.resolve() / STUDY
        journal.parent.mkdir(parents=True, exist_ok=True)
        journal.unlink(missing_ok=True)
        queued = grid_trials(experiment)[: sweep.num_trials] if sweep.sampler == "grid" else None
        super().__init__(
            space=partial(suggest, search=sweep.search),
            metric=OBJECTIVE,
            mode="max",
            points_to_evaluate=queued,
            sampler=build_sampler(experiment),
            study_name=experiment.name,
            storage=JournalStorage(JournalFileBackend(str(journal))),
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass a report on, unless the study has closed the trial."""
        with suppress(UpdateFinishedTrialError):
            super().on_trial_result(trial_id, result)

    def restore(self, checkpoint_path: str) -> None:
        """Go on from Tune's snapshot; trials that were proposed after it, and that Tune knows
        nothing of, are closed. A queued one is queued again, others the sampler proposes again.
        """
        super().restore(checkpoint_path)
        known = {trial.number for trial in self._ot_trials.values()}
        for trial in self._ot_study.get_trials(states=(TrialState.RUNNING,)):
            if trial.number not in known:
                self._ot_study.tell(trial.number, state=TrialState.FAIL)
                if queued := trial.system_attrs.get("fixed_params"):
                    self._ot_study.enqueue_trial(queued)
