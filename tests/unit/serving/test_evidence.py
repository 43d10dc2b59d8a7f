"""Evidence: spans of the note that the reasoning repeats, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from deepicd.serving.ingress.evidence import find_evidence

NOTE = "CC: chest pain.\nHPI: 61 y/o with crushing chest  pain on effort, ST-elevation in II, III."


def found(reasoning: str, note: str = NOTE) -> list[str]:
    return [note[start:end] for start, end in find_evidence(reasoning, note)]


def test_words_of_the_note_are_found_whatever_their_case_and_white_space():
    said = "Crushing Chest pain on effort and ST-Elevation in II suggest an infarction."
    assert found(said) == ["crushing chest  pain on effort", "ST-elevation in II"]


def test_what_the_note_does_not_say_is_no_evidence():
    assert found("Radiates to the left arm; troponin positive.") == []
    assert found("pain") == [] and found("") == [] and found("chest pain", "") == []


def test_little_words_alone_are_no_evidence():
    assert found("it is on in II") == []


def test_the_longest_place_is_taken_and_the_first_of_equal_ones():
    assert find_evidence("chest pain", NOTE) == [(4, 14)]
    assert found("chest pain on effort") == ["chest  pain on effort"]


IN_NOTES = st.lists(st.sampled_from(["chest", "pain", "acute", "of", "the", "left", "arm", "61"]))
IN_REASONING = st.lists(st.sampled_from(["chest", "pain", "left", "knee"]))


@given(IN_NOTES, IN_REASONING)
def test_spans_are_in_order_apart_and_hold_words_of_the_reasoning(words, said):
    note, reasoning = " ".join(words), " ".join(said)
    spans = find_evidence(reasoning, note)
    ends = [place for span in spans for place in span]
    assert ends == sorted(ends)
    for start, end in spans:
        assert set(note[start:end].split()) <= set(reasoning.split())
