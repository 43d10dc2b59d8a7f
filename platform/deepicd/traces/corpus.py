"""Notes of the embedded corpus → reasoning traces from its own profiles, without a teacher.

In: notes and their codes. Out: rows with the response a model is to give after the `<think>`
prefill. Decided here: a trace names up to `_MAX_FINDINGS` findings that the note itself states, in
the note's words and order, chosen by how much each speaks for the gold code; then the disease; then
the code with its dot. Every trace is checked before it is given out. Notes that state nothing in
favour of their code get a trace that says so.
"""

import math
from collections.abc import Sequence
from random import Random

from deepicd import codes, prompts
from deepicd.errors import ConfigError
from deepicd.notes.corpus.mentions import Mention, find_mentions
from deepicd.notes.corpus.profiles import NOISE, Knowledge, Profile, load_knowledge
from deepicd.records import Note
from deepicd.traces.trace_file import COLUMNS, check_traces

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
            f"{note.code} has no profile of the embedded corpus, so there is no trace without a "
            f"teacher; set sft.traces to a Parquet file with {', '.join(COLUMNS)} "
            "(deepicd traces build), or name a teacher in [traces]"
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
