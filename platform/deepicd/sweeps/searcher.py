"""Ray Tune's Optuna searcher, with the guard that a sweep which goes on needs."""

from contextlib import suppress
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from ray.tune.search.optuna import OptunaSearch


class Searcher(OptunaSearch):
    """Whose study is on disk: when a sweep goes on, the study may know the end of a trial that
    Tune's last snapshot still has running.
    """

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass a report on, unless the study has closed the trial."""
        with suppress(UpdateFinishedTrialError):
            super().on_trial_result(trial_id, result)
