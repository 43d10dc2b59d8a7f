"""Ray Tune's median rule, with the guards that a sweep of ours needs."""

from typing import Any

from ray.tune.schedulers import MedianStoppingRule, TrialScheduler


class MedianRule(MedianStoppingRule):
    """Compares trials at validations only, and never pauses one (Ray 2.60).

    Between validations, and before the first, a report's objective is an older one or NaN, and NaN
    as a trial's best would stop it. While few trials can be compared Tune's rule pauses a trial for
    a waiting one; ours run one at a time.
    """

    def __init__(self, validation: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._validation = validation

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Continue, or stop."""
        if self._validation not in result:
            return str(TrialScheduler.CONTINUE)
        return str(super().on_trial_result(tune_controller, trial, result))

    def _on_insufficient_samples(self, *_: Any) -> str:
        return str(TrialScheduler.CONTINUE)
