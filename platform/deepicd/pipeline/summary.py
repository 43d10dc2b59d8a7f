"""The outcome of a run: `summary.json`, `report.html`, plain values."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from deepicd.files import json_text, write_json
from deepicd.pipeline.context import TEST, VALIDATION, rows_of_test, rows_of_trials, winner_of
from deepicd.pipeline.run import Run
from deepicd.pipeline.stages import Scored, trial_row
from deepicd.provenance import versions
from deepicd.records import Decision, Trial


@dataclass(frozen=True)
class Promoted:
    """What the gate decided, and the champion since then, which may be of another run."""

    decision: Decision
    champion: str
    """Its version."""
    run: str
    """Name of its run; empty where it is of none."""
    stage: str
    """What made it: grpo, sft, base or by hand."""
    trial: str | None
    """Its trial; None for a model that no trial made."""
    test: Mapping[str, float]
    """Its scores on the test split of its own run."""
    registry: str = ""
    """Where it is registered: a folder or URL; `{run}` stands for the run's folder."""


@dataclass
class RunOutcome:
    """What the stages handed on; filled in the order of the run."""

    trials: Sequence[Trial]
    best: Trial
    sft: Scored
    candidate: Scored
    promoted: Promoted
    reply: Mapping[str, Any] = field(default_factory=dict)
    monitor: Mapping[str, Any] = field(default_factory=dict)


def write(run: Run, outcome: RunOutcome) -> dict[str, Any]:
    """Write report and, last, summary; returns the summary."""
    done = run.do("report", str(run.paths.report), lambda: _write(run, outcome))
    if done is not None:
        return done
    summary: dict[str, Any] = json.loads(run.paths.summary.read_text(encoding="utf-8"))
    return summary


def _write(run: Run, outcome: RunOutcome) -> dict[str, Any]:
    started = time.monotonic()
    summary = _summarise(run, outcome)
    run.paths.report.write_text(render(run, summary), encoding="utf-8")
    # The report's own stage is not over yet: what it took until here.
    summary["stages"] = {**run.seconds, "report": round(time.monotonic() - started, 1)}
    write_json(run.paths.summary, summary)
    # As whoever reads the file has it: no number that is none.
    plain: dict[str, Any] = json.loads(json_text(summary))
    return plain


def _summarise(run: Run, outcome: RunOutcome) -> dict[str, Any]:
    """The run as plain values."""
    promoted = outcome.promoted
    return {
        "experiment": run.experiment.name,
        "question": run.experiment.question,
        "seed": run.experiment.seed,
        "trials": [trial_row(run, trial) for trial in outcome.trials],
        "baselines": {"majority": outcome.sft.majority, "sft": outcome.sft.test},
        "best": {"trial": outcome.best.id, "test": outcome.candidate.test},
        "context": _context(run, outcome),
        "champion": {
            "run": promoted.run,
            "stage": promoted.stage,
            "trial": promoted.trial,
            "test": dict(promoted.test),
        },
        "decision": asdict(promoted.decision),
        "version": promoted.champion,
        "reply": dict(outcome.reply),
        "monitor": dict(outcome.monitor),
        "versions": versions(),
    }


def _context(run: Run, outcome: RunOutcome) -> dict[str, Any]:
    """Split → what else answered its notes, with the winner in it."""
    best, seed = outcome.best, run.experiment.seed
    model = winner_of(best, outcome.candidate.test)
    trials = rows_of_trials(run.paths, run.experiment, outcome.trials, winner=best.id)
    return {TEST: rows_of_test(run.paths, model, seed=seed), VALIDATION: trials}


def render(run: Run, summary: Mapping[str, Any]) -> str:
    """The report's HTML."""
    from deepicd.report.run import render_run
    from deepicd.sweeps.results.trials import read_histories

    histories = read_histories(run.paths.tune)
    return render_run(summary, histories, stages=run.seconds, experiment=run.experiment)
