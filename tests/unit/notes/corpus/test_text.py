"""Sampled admissions → text: what a note says, and what it must not say."""

import numpy as np
import pytest

from deepicd import codes
from deepicd.notes.corpus import sampling
from deepicd.notes.corpus.mentions import find_mentions
from deepicd.notes.corpus.mimic_tables import write_summaries
from deepicd.notes.corpus.profiles import Knowledge
from deepicd.notes.mimic.sections import (
    cut_sections,
    render_note,
)


@pytest.fixture(scope="module")
def corpus(knowledge: Knowledge):
    """600 drawn admissions with their notes; even rows are training, odd ones are not."""
    drawn = sampling.sample_admissions(sampling.build_model(knowledge), 600, seed=5)
    splits = ["train", "test"] * 300
    texts = [one.text for one in write_summaries(knowledge, drawn, splits=splits, seed=5)]
    return drawn, texts, [render_note(cut_sections(text)) for text in texts]


def test_what_was_sampled_can_be_read_back_from_the_note(knowledge: Knowledge, corpus) -> None:
    drawn, _, notes = corpus
    findings = np.array([finding.name for finding in knowledge.findings])
    conditions = np.array([condition.name for condition in knowledge.conditions])
    for row, note in enumerate(notes):
        present = set(findings[drawn.findings[row] == sampling.PRESENT])
        present |= set(conditions[drawn.conditions[row]])
        assert {mention.name for mention in find_mentions(note)} == present


def test_held_out_phrases_are_in_test_notes_and_never_in_training(
    knowledge: Knowledge, corpus
) -> None:
    _, texts, _ = corpus
    held = [words for finding in knowledge.findings for words in finding.held]
    seen = {parity: " ".join(texts[parity::2]) for parity in (0, 1)}
    assert not [words for words in held if words in seen[0]]
    assert sum(words in seen[1] for words in held) > 50


def test_no_note_tells_the_disease_or_the_title_and_every_summary_does(
    knowledge: Knowledge, corpus
) -> None:
    drawn, texts, notes = corpus
    for code, text, note in zip(drawn.code, texts, notes, strict=True):
        profile = knowledge.profiles[code]
        title = codes.title(profile.code)
        assert profile.disease in text
        assert title in text
        assert title.lower() not in note.lower()
        assert "was treated for" not in note


def test_notes_are_short(corpus) -> None:
    lengths = [len(note) for note in corpus[2]]
    assert 200 < np.mean(lengths) < 340
    assert max(lengths) < 650
