"""A loaded model → what the gate is shown of it, and how sure it may be.

In: `offline.LoadedModel`, the promotion split and the validation split. Out:
`records.Examination` and `records.Calibration`. Decided here: the calibration is fitted on the
validation split, which training watched, and never on the promotion split, by which the model is
judged.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from deepicd import scoring
from deepicd.errors import DataError
from deepicd.inference.offline import LoadedModel, Sampling
from deepicd.promotion import behaviour_tests
from deepicd.records import Calibration, Examination, Note, Prediction

_NUM_TIMED = 12
"""Notes that are asked one by one, for the time of an answer."""


def examine(
    model: LoadedModel,
    notes: Sequence[Note],
    predictions: Sequence[Prediction],
    *,
    sampling: Sampling,
) -> Examination:
    """Behaviour and speed beside the predictions on the promotion split, whose notes these are.

    Raises:
        CheckpointError: vLLM failed on the model.
        CapacityError: its process died.
    """
    cases = behaviour_tests.build_cases(notes)
    # By text, so that a note which several cases share is answered once.
    asked = {note.text: note for note in chain.from_iterable((c.note, c.changed) for c in cases)}
    # Only these cases look at shares, so only their notes pay for samples.
    sure = {
        note.text
        for case in cases
        if case.test == behaviour_tests.DIRECTION
        for note in (case.note, case.changed)
    }
    answers: dict[str, Prediction | None] = {}
    for texts, drawn in ((sure, sampling), (asked.keys() - sure, None)):
        # In the order of `asked`: that of a set is another one in each process.
        chosen = [asked[text] for text in asked if text in texts]
        answered = model.answer_notes(chosen, sampling=drawn)
        answers |= dict(zip((note.text for note in chosen), answered, strict=True))
    return Examination(
        predictions=predictions,
        seconds=model.time_answers(notes[:_NUM_TIMED]),
        behaviour=behaviour_tests.judge(cases, answers),
    )


def ask_for_calibration(
    model: LoadedModel, split: Path, *, num_notes: int, sampling: Sampling
) -> list[Prediction]:
    """The model's answers to the first notes of a split, with samples; none where no samples or no
    notes are asked for.

    Raises:
        As `LoadedModel.answer_split`.
    """
    if not (sampling.num_samples and num_notes):
        return []
    return model.answer_split(split, limit=num_notes, sampling=sampling)


def measure_calibration(
    predictions: Sequence[Prediction], *, sampling: Sampling
) -> Calibration | None:
    """How often answers of `ask_for_calibration` are right, by how many of their samples agree;
    None where too few of them can be used.
    """
    try:
        calibration = scoring.fit_calibration(predictions)
    except DataError:
        return None
    return replace(calibration, num_samples=sampling.num_samples, temperature=sampling.temperature)
