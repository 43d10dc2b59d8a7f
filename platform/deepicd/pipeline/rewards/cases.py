"""An experiment → notes with honest reasonings, on which its reward is looked at.

In: `Experiment`, a number of notes. Out: `rewards.candidates.Case`s. Decided here: of the embedded
corpus the first admissions are written anew, with the experiment's codes, difficulty and seed; that
takes no build. What is honest there is the trace that SFT learns from, and reasoning that names
everything the note states; the reward's favourite among them is what others must not pass. Other
notes are not opened: codes are drawn from the table of ICD-10-CM, honest reasoning names what the
code means, and the reward sees no note, so parts that need one are computed without it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random

from deepicd import codes
from deepicd.config import DataConfig, Experiment
from deepicd.notes.corpus import sampling
from deepicd.notes.corpus.mentions import find_mentions
from deepicd.notes.corpus.mimic_tables import Admission, write_summaries
from deepicd.notes.corpus.profiles import Knowledge, load_knowledge
from deepicd.notes.mimic.sections import cut_sections, has_core, render_note
from deepicd.records import Note
from deepicd.rewards.candidates import Case
from deepicd.traces import trace_text

_MAX_SAMPLED = 2000
"""Admissions that are drawn: enough to know which codes are common."""
_NUM_QUOTED = 6
"""Words that are taken from a section as they stand; few, since honest reasoning is no copy."""


def build_cases(experiment: Experiment, *, num_notes: int) -> list[Case]:
    """At most `num_notes` cases; the same ones for equal experiments.

    Raises:
        ConfigError: more codes are asked for than the corpus has.
    """
    data = experiment.data
    if data.source == "embedded" and data.splits is None:
        return _embedded_cases(data, num_notes, seed=experiment.seed)
    drawn = Random(experiment.seed).sample(codes.billable_codes(), num_notes)
    return [Case(code, (_title_reasoning(code),)) for code in drawn]


def _embedded_cases(data: DataConfig, num_notes: int, *, seed: int) -> list[Case]:
    knowledge = load_knowledge(data.num_codes, difficulty=data.difficulty)
    num_sampled = max(num_notes, min(data.num_notes, _MAX_SAMPLED))
    model = sampling.build_model(knowledge)
    sample = sampling.sample_admissions(model, num_sampled, data.split_seed)
    counts = Counter(knowledge.profiles[index].code for index in sample.code.tolist())
    common = tuple(code for code, _ in counts.most_common())
    # Only as many are written as there are splits for.
    splits = ["train"] * num_notes
    written = write_summaries(knowledge, sample, splits=splits, seed=data.split_seed)
    rng = Random(seed)
    cases = (_embedded_case(one, knowledge, common=common, rng=rng) for one in written)
    return [case for case in cases if case]


def _embedded_case(
    admission: Admission, knowledge: Knowledge, *, common: Sequence[str], rng: Random
) -> Case | None:
    """The case of one admission; None where the reader would leave it out."""
    sections = cut_sections(admission.text)
    profile = knowledge.profile(admission.code)
    if profile is None or not has_core(sections):
        return None
    text = render_note(sections)
    note = Note(admission.admission_id, admission.patient_id, "", text=text, code=admission.code)
    trace = trace_text(note, profile, knowledge=knowledge, rng=rng)
    reasonings = (trace, *_name_everything(text, profile.disease))
    return Case(admission.code, reasonings, text, tuple(common))


def _name_everything(text: str, disease: str) -> Iterator[str]:
    """Everything that a note states, each time beside the beginning of another of its sections."""
    stated = ", ".join(mention.words for mention in find_mentions(text)) or "little else"
    for line in text.splitlines():
        section, _, body = line.partition(": ")
        quoted = " ".join(body.split()[:_NUM_QUOTED])
        yield f"{section}: {quoted}. With {stated} this fits {disease} best of all."


def _title_reasoning(code: str) -> str:
    return f"What the note says of complaint, history and exam fits this best: {codes.title(code)}."
