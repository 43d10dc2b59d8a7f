"""The outcome of a run: `summary.json`, `report.html`, plain values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from deepicd.pipeline.run import Run
from deepicd.pipeline.stages import Scored
from deepicd.provenance import versions
from deepicd.records import Decision, Trial


@dataclass
class RunOutcome:
    """What the stages handed on; filled in the order of the run."""

    trials: Sequence[Trial]
    best: Trial
    sft: Scored
    candidate: Scored
    decision: Decision = field(default_factory=lambda: Decision(False, (), {}))
    version: str = ""
    """Version that serves."""
    reply: Mapping[str, Any] = field(default_factory=dict)
    monitor: Mapping[str, Any] = field(default_factory=dict)


def write(run: Run, outcome: RunOutcome) -> dict[str, Any]:
    """Write report and, last, summary; returns the summary."""
    with run.stage("report", str(run.paths.report)):
        summary = _summarise(run, outcome)
        run.paths.report.write_text(render(run, summary), encoding="utf-8")
    # After the report, whose own seconds belong to it. The summary is written last: who finds one
    # knows that the run came to its end.
    summary["stages"] = run.seconds
    text = json.dumps(summary, indent=2, sort_keys=True, default=list)
    run.paths.summary.write_text(text + "\n", encoding="utf-8")
    return summary


def _summarise(run: Run, outcome: RunOutcome) -> dict[str, Any]:
    """The run as plain values."""
    has_won = outcome.decision.accepted
    champion = outcome.candidate if has_won else outcome.sft
    return {
        "experiment": run.experiment.name,
        "question": run.experiment.question,
        "seed": run.experiment.seed,
        "trials": [trial_row(trial) for trial in outcome.trials],
        "baselines": {"majority": outcome.sft.majority, "sft": outcome.sft.test},
        "best": {"trial": outcome.best.id, "test": outcome.candidate.test},
        "champion": {"trial": outcome.best.id if has_won else None, "test": champion.test},
        "decision": asdict(outcome.decision),
        "version": outcome.version,
        "reply": dict(outcome.reply),
        "monitor": dict(outcome.monitor),
        "versions": versions(),
    }


def render(run: Run, summary: Mapping[str, Any]) -> str:
    """The report's HTML."""
    from deepicd.report.run import render_run
    from deepicd.sweeps.results.trials import read_histories

    histories = read_histories(run.paths.tune)
    return render_run(summary, histories, stages=run.seconds, experiment=run.experiment)


def trial_row(trial: Trial) -> dict[str, Any]:
    """One trial, its checkpoint as a path."""
    return {**asdict(trial), "checkpoint": trial.checkpoint.path if trial.checkpoint else None}
