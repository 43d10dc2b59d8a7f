"""A searcher around another one: what a wrapper hands on unchanged.

In: the searcher inside. Out: a Ray Tune searcher whose subclasses decide what the inner one is
asked and told. Decided here: a wrapper's state is every attribute of its own. Ray Tune walks down
the `searcher` attributes (`SearchGenerator.save_to_dir`), saves the state of each wrapper, and lets
the innermost searcher save itself.
"""

from typing import Any, Generic, TypeVar

from ray.tune.search import Searcher as TuneSearcher

from deepicd.config import Experiment

_Inner = TypeVar("_Inner", bound=TuneSearcher)


class SearcherWrapper(TuneSearcher, Generic[_Inner]):
    """Hands everything on to the searcher inside; a subclass changes `suggest` and
    `on_trial_complete`.
    """

    def __init__(self, searcher: _Inner, experiment: Experiment) -> None:
        super().__init__(metric=searcher.metric, mode=searcher.mode)
        self.searcher = searcher
        self._experiment = experiment

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Hand a report on."""
        self.searcher.on_trial_result(trial_id, result)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Hand the search space on."""
        return bool(self.searcher.set_search_properties(metric, mode, config, **spec))

    def get_state(self) -> dict[str, Any]:
        """What Tune saves beside the inner searcher."""
        return {name: value for name, value in vars(self).items() if name != "searcher"}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.__dict__.update(state)

    def save(self, checkpoint_path: str) -> None:
        """Save the inner searcher."""
        self.searcher.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Restore the inner searcher."""
        self.searcher.restore(checkpoint_path)
