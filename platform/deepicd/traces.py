"""Notes with gold codes → reasoning traces for supervised fine-tuning (SFT), each one checked.

In: notes of the embedded corpus and their codes. Out: rows with the response a model is to give
after the `<think>` prefill. Decided here: a trace names up to `_MAX_FINDINGS` findings that the
note itself states, in the note's words and order, chosen by how much each speaks for the gold code;
then the disease; then the code with its dot. Every trace is parsed by `answers.parse_answer` before
it is given out. Notes that state nothing in favour of their code get a trace that says so.

MIMIC-IV notes have no authored profiles: their traces come from a generator model, as Parquet with
the columns of `COLUMNS`, and are checked here in the same way.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepicd import answers, codes, prompts
from deepicd.config import SFTConfig
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.files import replaced_file
from deepicd.notes.corpus.mentions import Mention, find_mentions
from deepicd.notes.corpus.profiles import NOISE, Knowledge, Profile, load_knowledge
from deepicd.records import Note

COLUMNS = ("note_id", "patient_id", "code", "response")
"""Columns of a row of traces."""

_MAX_FINDINGS = 3
"""Findings named in one trace."""

_LINKS = ("suggest", "point to", "are typical of")
_LINK_ONE = ("suggests", "points to", "is typical of")
_NOTHING = "The note states little that is specific; most likely"


def build_traces(notes: Sequence[Note], *, num_traces: int, seed: int) -> list[dict[str, str]]:
    """One trace each for `num_traces` of the notes, drawn and ordered by the seed.

    Raises:
        ConfigError: more traces than notes are asked for, or a code has no authored profile (notes
            that are not of the embedded corpus: hand over a Parquet file of traces instead).
    """
    if num_traces > len(notes):
        raise ConfigError(
            f"sft.num_traces must be at most the number of training notes; got {num_traces} with "
            f"{len(notes)} notes. Lower it, or raise data.num_notes."
        )
    knowledge = load_knowledge()
    rng = Random(seed)
    chosen = rng.sample(list(notes), num_traces)
    return [_trace(note, knowledge, rng) for note in chosen]


def collect_traces(notes: Sequence[Note], config: SFTConfig, *, seed: int) -> list[dict[str, str]]:
    """Traces for SFT: of the file that the settings name, checked, else written from the profiles.

    `notes` are the training notes. Of a file the first `config.num_traces` rows are taken.
    """
    if config.traces is None:
        return build_traces(notes, num_traces=config.num_traces, seed=seed)
    traces = read_traces(config.traces)[: config.num_traces]
    if not traces:
        raise DataError(f"{config.traces} holds no trace; SFT needs at least one.")
    check_traces(traces, notes)
    return traces


def check_traces(traces: Sequence[Mapping[str, Any]], notes: Sequence[Note]) -> None:
    """Raise DataError unless every trace belongs to a note, parses, and answers the note's code.

    Pass the training notes: a trace of a validation or test note is then refused as a leak.
    """
    gold = {note.note_id: note.code for note in notes}
    for number, trace in enumerate(traces):
        reason = _find_fault(trace, gold)
        if reason:
            raise DataError(
                f"trace {number} of {len(traces)} {reason}. Traces are for training notes, end in "
                "</think> and one <diagnosis> with the gold code; drop or correct it."
            )


def write_traces(traces: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write traces as Parquet."""
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as aside:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in traces], schema=schema), aside)


def read_traces(path: Path) -> list[dict[str, str]]:
    """Traces of a Parquet file. Raises MissingError or DataError."""
    if not path.is_file():
        raise MissingError(f"no traces at {path}; they are a Parquet file with {_columns()}.")
    try:
        rows: list[dict[str, str]] = pq.read_table(path, columns=list(COLUMNS)).to_pylist()
        return rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} holds no traces ({type(error).__name__}); it needs the columns {_columns()}."
        ) from None


def trace_text(note: Note, profile: Profile, *, knowledge: Knowledge, rng: Random) -> str:
    """Reasoning about one note: what it states, what that suggests."""
    named = _key_mentions(find_mentions(note.text), profile, knowledge)
    if not named:
        return f"{_NOTHING} {profile.disease}."
    words = [mention.words for mention in named]
    listed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    link = rng.choice(_LINK_ONE if len(words) == 1 else _LINKS)
    return f"{listed[0].upper()}{listed[1:]} {link} {profile.disease}."


def _trace(note: Note, knowledge: Knowledge, rng: Random) -> dict[str, str]:
    profile = knowledge.profile(note.code)
    if profile is None:
        raise ConfigError(
            f"traces are written for the embedded corpus only; {note.code} has no profile. For "
            f"other notes set sft.traces to a Parquet file with {_columns()}."
        )
    text = trace_text(note, profile, knowledge=knowledge, rng=rng)
    response = prompts.response_text(text, codes.dotted(note.code))
    row = dict(zip(COLUMNS, (note.note_id, note.patient_id, note.code, response), strict=True))
    check_traces([row], [note])
    return row


def _key_mentions(
    mentions: Sequence[Mention], profile: Profile, knowledge: Knowledge
) -> list[Mention]:
    """The mentions that speak most for the profile, in the order of the note."""
    noise = {finding.name: finding.noise for finding in knowledge.findings}
    noise |= {condition.name: condition.noise for condition in knowledge.conditions}
    shares = {**profile.findings, **profile.conditions}
    # The logarithm of the likelihood ratio: how much a finding speaks for this code. Findings that
    # are rare in the profile, or hardly more frequent than elsewhere, are not named as evidence.
    weights = {
        name: math.log(share / noise.get(name, NOISE))
        for name, share in shares.items()
        if share > 2 * noise.get(name, NOISE) and share >= 0.05
    }
    best = sorted(
        (mention for mention in mentions if mention.name in weights),
        key=lambda mention: -weights[mention.name],
    )[:_MAX_FINDINGS]
    return [mention for mention in mentions if mention in best]


def _find_fault(trace: Mapping[str, Any], gold: Mapping[str, str]) -> str:
    """What is wrong with a trace, empty if nothing."""
    missing = [name for name in COLUMNS if not isinstance(trace.get(name), str)]
    if missing:
        return f"has no {', '.join(missing)}"
    if trace["note_id"] not in gold:
        return "belongs to none of the training notes"
    answer = answers.parse_answer(trace["response"], is_prefilled=True)
    if answer.faults:
        return f"does not parse ({', '.join(answer.faults)})"
    if answer.code != gold[trace["note_id"]]:
        return f"answers {answer.code}, not the note's code"
    return ""


def _columns() -> str:
    return ", ".join(COLUMNS)
