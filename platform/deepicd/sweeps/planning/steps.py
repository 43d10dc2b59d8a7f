"""How many GRPO steps a trial takes: the limit that is reached first ends it.

In: an experiment. Out: steps at most, and what had to be assumed of notes that are not built. A
pass over the notes of training is as many steps as they hold whole batches. Decided here: GRPO
trains on notes of patients without a trace, so every trace takes at least one note away; splits of
an earlier build are counted, an embedded corpus and the ICD-10 notes of MIMIC-IV are taken at their
full size, of other notes nothing is assumed. Where no note is left the plan says that a run would
be refused.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from deepicd.config import Experiment
from deepicd.errors import DeepICDError
from deepicd.notes.build_report import read_build_report
from deepicd.training.grpo.effects import possible

_MIMIC_NOTES = 122_279
"""Discharge summaries of MIMIC-IV-Note 2.2 whose admission is coded in ICD-10, the only ones that
the reader keeps (Edin et al., SIGIR 2023, arXiv:2304.10909). All 331,794 include those of
ICD-9."""
_OF_MIMIC = "the {:,} notes of MIMIC-IV with ICD-10 codes"
_SURELY = 2


@dataclass(frozen=True)
class StepCount:
    """Steps of one trial that nobody stops."""

    at_most: int
    assumed: str
    """A sentence; empty where nothing was assumed."""


@dataclass(frozen=True)
class _Notes:
    """Notes that GRPO may train on."""

    at_most: int | None
    """None where nothing is known."""
    source: str
    is_counted: bool = False


def count_steps(experiment: Experiment) -> StepCount:
    """Steps of one trial at most."""
    training, notes = experiment.training, _notes_of(experiment)
    limit = f"training.total_steps = {training.total_steps:,}"
    if notes.at_most is None:
        return StepCount(training.total_steps, f"{notes.source}: {limit} is taken")
    batch = min(int(value) for value in possible(experiment, "training.train_batch_size"))
    if not notes.at_most:
        return StepCount(1, _nothing_left(notes))
    in_epochs = max(1, notes.at_most // batch) * training.total_epochs
    if in_epochs >= training.total_steps:
        # Where the epochs would last far longer, the limit holds with fewer notes as well.
        is_sure = notes.is_counted or in_epochs >= _SURELY * training.total_steps
        return StepCount(training.total_steps, "" if is_sure else _unless(notes, limit))
    epochs = f"training.total_epochs = {training.total_epochs}"
    why = f"{epochs} ends a trial before {limit}: {notes.at_most:,} notes at most, {batch} a step"
    return StepCount(in_epochs, "" if notes.is_counted else f"{why} ({notes.source})")


def _nothing_left(notes: _Notes) -> str:
    return (
        f"no note is left for GRPO, so a run would be refused once its notes are built: "
        f"{notes.source}; lower sft.num_traces"
    )


def _unless(notes: _Notes, limit: str) -> str:
    return f"{limit} ends a trial, if its notes are as many as {notes.source}"


def _notes_of(experiment: Experiment) -> _Notes:
    """Training notes without those that traces take."""
    data, sft = experiment.data, experiment.sft
    num_traces = sft.num_traces if sft.is_enabled else 0
    if data.splits is not None:
        return _count_split(experiment, num_traces)
    share = data.split_shares[0]
    sizes = {"embedded": data.num_notes, "mimic": _MIMIC_NOTES}
    if data.source not in sizes:
        return _Notes(None, "the notes are not built, and nobody knows how many there are")
    total = sizes[data.source]
    left = max(0, int(total * share) - num_traces)
    where = "data.num_notes = {:,}" if data.source == "embedded" else _OF_MIMIC
    source = f"{where.format(total)}, a share of {share:g} in training, less {num_traces:,} traces"
    return _Notes(left, source)


def _count_split(experiment: Experiment, num_traces: int) -> _Notes:
    """Of splits that are built; exactly where the patients of the traces are known too."""
    splits, traces = experiment.data.splits, experiment.sft.traces
    assert splits is not None, "asked for splits only"
    try:
        number = int(read_build_report(splits)["splits"]["train"]["num_notes"])
        if not num_traces:
            return _Notes(number, f"{splits}", is_counted=True)
        if traces is not None:
            return _Notes(_without_traces(experiment), f"{splits} and {traces}", is_counted=True)
    except (DeepICDError, OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return _Notes(None, f"{splits} holds no notes that can be counted")
    left = max(0, number - num_traces)
    return _Notes(left, f"the {number:,} of {splits}, less {num_traces:,} traces")


def _without_traces(experiment: Experiment) -> int:
    """Training notes of patients without one of the traces that are taken."""
    data, sft = experiment.data, experiment.sft
    assert data.splits is not None and sft.traces is not None, "both are named"
    column = "patient_id"
    traced = pq.read_table(sft.traces, columns=[column])[column][: sft.num_traces]
    patients = pq.read_table(data.splits / "train.parquet", columns=[column])[column]
    taken = set(traced.to_pylist())
    return sum(patient not in taken for patient in patients.to_pylist())
