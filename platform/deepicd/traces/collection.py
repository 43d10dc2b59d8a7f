"""The traces of an experiment: of a file that it names, of its teacher, or of the corpus.

In: training notes and settings. Out: checked rows. Decided here: a file is checked against the
training notes and its card, so traces of validation or test notes, of other notes and of another
code table are refused, whoever wrote them.
"""

from collections.abc import Sequence
from pathlib import Path

from deepicd.config import Experiment, SFTConfig
from deepicd.errors import DataError
from deepicd.records import Note
from deepicd.traces.build import build_from_teacher
from deepicd.traces.card import check_card
from deepicd.traces.corpus import build_traces
from deepicd.traces.trace_file import check_traces, read_traces, write_traces


def write_experiment_traces(
    experiment: Experiment, notes: Sequence[Note], out: Path
) -> list[dict[str, str]]:
    """Write the traces that an experiment's SFT learns from, and return them.

    Args:
        experiment: its `sft`, `traces` and `seed`.
        notes: training notes.
        out: Parquet file; a build that was interrupted beside it is gone on with.

    Raises:
        DataError: a file's traces do not belong to the notes, or no trace was accepted.
        TeacherError: the teacher does not answer; what it wrote is kept.
    """
    sft = experiment.sft
    if sft.is_enabled and sft.traces is None and experiment.traces.model:
        # The stage's own folder: what lies there was made by an interrupted run of it.
        card = build_from_teacher(
            notes,
            out,
            experiment.traces,
            num_traces=sft.num_traces,
            seed=experiment.seed,
            may_replace=True,
        )
        if not card["accepted"]:
            raise DataError(
                f"none of the teacher's {card['asked']} replies passed as a trace "
                f"({_told(card['refused'])}); take another teacher, or loosen [traces]"
            )
        return read_traces(out)
    traces = collect_traces(notes, sft, seed=experiment.seed) if sft.is_enabled else []
    write_traces(traces, out)
    return traces


def collect_traces(notes: Sequence[Note], config: SFTConfig, *, seed: int) -> list[dict[str, str]]:
    """Traces for SFT: of the file that the settings name, checked, else written from the profiles.

    `notes` are the training notes. Of a file the first `config.num_traces` rows are taken.
    """
    if config.traces is None:
        return build_traces(notes, num_traces=config.num_traces, seed=seed)
    rows = read_traces(config.traces)
    traces = rows[: config.num_traces]
    if not traces:
        raise DataError(f"{config.traces} holds no trace; SFT needs at least one.")
    check_traces(traces, notes)
    check_card(config.traces, rows, notes)
    return traces


def _told(refused: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in refused.items()) or "none came"
