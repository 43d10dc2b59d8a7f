"""The authored profiles: codes, probabilities, names."""

import pytest

from deepicd import codes
from deepicd.errors import ConfigError
from deepicd.notes.corpus.profiles import Knowledge, load_knowledge


def test_labels_are_billable_in_every_release_and_span_chapters_and_siblings(
    knowledge: Knowledge,
) -> None:
    labels = [profile.code for profile in knowledge.profiles]
    assert len(labels) == len(set(labels)) >= 60
    assert all(codes.is_billable(code, year) for code in labels for year in codes.RELEASES)
    default = [profile.code for profile in load_knowledge(51).profiles]
    assert len({codes.chapter(code) for code in default}) >= 9
    categories = [codes.category(code) for code in default]
    assert sum(categories.count(category) > 1 for category in categories) >= 20


def test_probabilities_are_probabilities_and_names_are_known(knowledge: Knowledge) -> None:
    known = {entry.name for entry in (*knowledge.findings, *knowledge.conditions)}
    for profile in knowledge.profiles:
        assert {*profile.findings, *profile.conditions, *profile.denies} <= known
        assert all(0 < p < 1 for p in (*profile.findings.values(), *profile.conditions.values()))
    assert {finding.place for finding in knowledge.findings} == {"hpi", "detail", "exam", "social"}


def test_no_two_findings_share_a_phrase(knowledge: Knowledge) -> None:
    said = [words for finding in knowledge.findings for words in (*finding.say, *finding.held)]
    said += [words for condition in knowledge.conditions for words in condition.say]
    assert len(said) == len(set(said))


def test_more_codes_than_are_authored_are_refused(knowledge: Knowledge) -> None:
    with pytest.raises(ConfigError, match=r"got data.num_codes = 1000"):
        load_knowledge(1000)
