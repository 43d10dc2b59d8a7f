"""The whole loop: notes, model, SFT, sweep, evaluation, promotion, endpoint, monitoring, report.

In: an experiment and a folder. Out: `RUN/summary.json`, `RUN/report.html` and everything on the
way, as laid out by `paths.RunPaths`. Decided here: the order of the stages and what each hands on.

    run        one run in progress, its folder and its stages     stages    notes to scored models
    release    promotion, endpoint, late labels                   summary   what the run found
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepicd.config import Experiment, dump_experiment
from deepicd.paths import RunPaths
from deepicd.pipeline import release, stages, summary
from deepicd.pipeline.run import Run, Say, prepare_root
from deepicd.records import Trial
from deepicd.session import chatter_to


def run_pipeline(
    experiment: Experiment,
    root: Path,
    *,
    say: Say,
    serve_on: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Run every stage and return the summary.

    Args:
        experiment: what to run.
        root: folder of the run; an earlier run in it is moved to `NAME.previous`.
        say: receives progress lines.
        serve_on: called with the running endpoint after the summary is written; None stops the
            endpoint right away.
    """
    check_before_start(experiment)
    with _running(experiment, root, say) as run:
        stages.build_data(run)
        stages.build_start_model(run)
        sft = stages.score_model(run, "sft", run.paths.sft, stage="baselines")
        trials = stages.sweep(run)
        best, candidate = stages.evaluate_best(run, trials)
        found = summary.Found(trials=trials, best=best, sft=sft, candidate=candidate)
        found.decision, found.version = release.promote(run, best, sft=sft, candidate=candidate)
        endpoint = release.start_endpoint(run, found.version)
        try:
            found.reply, found.monitor = release.query_and_label(run, endpoint.url)
            result = summary.write(run, found)
            if serve_on is not None:
                serve_on(endpoint)
        finally:
            endpoint.stop()
    return result


def run_until_sweep(experiment: Experiment, root: Path, *, say: Say) -> list[Trial]:
    """Notes, model, SFT and sweep only: what `deepicd sweep run` runs. Writes `RUN/trials.json`."""
    from deepicd.sweeps.checks import check_settings

    check_settings(experiment)
    with _running(experiment, root, say) as run:
        stages.build_data(run)
        stages.build_start_model(run)
        trials = stages.sweep(run)
        rows = [summary.trial_row(trial) for trial in trials]
        run.paths.trials.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return trials


@contextmanager
def _running(experiment: Experiment, root: Path, say: Say) -> Iterator[Run]:
    """A run in an empty folder, with Ray up and the chatter of libraries in `console.log`."""
    run = Run(experiment, RunPaths(prepare_root(root, say)), say)
    with chatter_to(run.paths.console):
        from deepicd.clusters.session import run_session

        dump_experiment(experiment, run.paths.experiment)
        with run_session(experiment, run.paths.root):
            yield run


def check_before_start(experiment: Experiment) -> None:
    """Refuse at once what a later stage would refuse: the port, the token, the search space."""
    from deepicd.serving.endpoint import check_port, read_token
    from deepicd.serving.settings import ServingSettings
    from deepicd.sweeps.checks import check_settings

    settings = ServingSettings.of_experiment(experiment)
    check_settings(experiment)
    check_port(settings)
    read_token(settings)
