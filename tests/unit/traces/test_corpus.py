"""Reasoning traces: they parse, name what the note states, and leak nothing."""

from pathlib import Path
from random import Random

import pytest

from deepicd import answers, codes, traces
from deepicd.config import SFTConfig
from deepicd.errors import ConfigError, DataError, MissingError
from deepicd.notes.corpus.mentions import find_mentions
from deepicd.notes.corpus.mimic_tables import write_summaries
from deepicd.notes.corpus.profiles import load_knowledge
from deepicd.notes.corpus.sampling import build_model, sample_admissions
from deepicd.notes.mimic.sections import cut_sections, render_note
from deepicd.records import Note

ANGINA = Note(
    note_id="n1",
    patient_id="p1",
    admission_id="a1",
    text=(
        "CHIEF COMPLAINT: chest pain\n"
        "PRESENT ILLNESS: ___M p/w SOB, chest pain, on exertion x3 months. Denies cough, fever.\n"
        "MEDICAL HISTORY: HTN\nPHYSICAL EXAM: RRR"
    ),
    code="I2510",
)

LINKS = {"and", "suggest", "suggests", "point", "points", "to", "is", "are", "typical", "of"}


@pytest.fixture(scope="module")
def notes() -> list[Note]:
    """400 notes of the embedded corpus, straight from the writer."""
    knowledge = load_knowledge()
    drawn = sample_admissions(build_model(knowledge), 400, seed=3)
    worded = write_summaries(knowledge, drawn, splits=["train", "test"] * 200, seed=3)
    return [
        Note(
            note_id=f"{one.admission_id}-DS-1",
            patient_id=one.patient_id,
            admission_id=one.admission_id,
            text=render_note(cut_sections(one.text)),
            code=one.code,
        )
        for one in worded
    ]


def test_a_trace_names_the_notes_own_findings_in_its_order_then_the_disease_and_the_code() -> None:
    trace = traces.build_traces([ANGINA], num_traces=1, seed=0)[0]
    reasoning, _, answer = trace["response"].partition("</think>\n")
    assert reasoning.startswith("SOB, chest pain and on exertion ")
    assert reasoning.endswith(" chronic coronary disease.")
    assert answer == "<diagnosis>I25.10</diagnosis>"
    assert "fever" not in reasoning


def test_every_trace_parses_and_answers_its_notes_code(notes: list[Note]) -> None:
    for trace in traces.build_traces(notes, num_traces=len(notes), seed=1):
        answer = answers.parse_answer(trace["response"], is_prefilled=True)
        assert (answer.code, answer.faults) == (trace["code"], ())


def test_a_trace_names_nothing_that_the_note_does_not_state(notes: list[Note]) -> None:
    knowledge = load_knowledge()
    for note in notes:
        profile = knowledge.profile(note.code)
        assert profile is not None
        text = traces.trace_text(note, profile, knowledge=knowledge, rng=Random(0))
        claims = text.removesuffix(f"{profile.disease}.").lower()
        stated = {mention.words.lower() for mention in find_mentions(note.text)}
        for words in sorted(stated, key=len, reverse=True):
            claims = claims.replace(words, "")
        assert set(claims.replace(",", "").split()) <= LINKS or claims.startswith("the note states")


def test_traces_are_short_and_mostly_specific(notes: list[Note]) -> None:
    written = traces.build_traces(notes, num_traces=len(notes), seed=1)
    lengths = [len(trace["response"].split()) for trace in written]
    assert max(lengths) <= 45
    assert sum("little that is specific" in trace["response"] for trace in written) < 12


def test_a_note_without_a_finding_of_its_code_gets_a_trace_that_says_so() -> None:
    bare = Note("n", "p", "a", "PRESENT ILLNESS: ___M admitted with ___.", "I2510")
    trace = traces.build_traces([bare], num_traces=1, seed=0)[0]
    assert trace["response"].startswith("The note states little that is specific")


def test_equal_seeds_give_equal_traces_and_another_seed_does_not(notes: list[Note]) -> None:
    first = traces.build_traces(notes, num_traces=50, seed=7)
    assert first == traces.build_traces(notes, num_traces=50, seed=7)
    assert first != traces.build_traces(notes, num_traces=50, seed=8)
    assert len({trace["note_id"] for trace in first}) == 50


def test_more_traces_than_notes_are_refused(notes: list[Note]) -> None:
    with pytest.raises(ConfigError, match="got 401 with 400 notes"):
        traces.build_traces(notes, num_traces=401, seed=1)


def test_notes_without_a_profile_need_traces_from_a_file() -> None:
    other = Note("n", "p", "a", "CHIEF COMPLAINT: rash", "L400")
    with pytest.raises(ConfigError, match=r"Parquet file with note_id, patient_id, code, response"):
        traces.build_traces([other], num_traces=1, seed=0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"note_id": "other"}, "belongs to none of the training notes"),
        ({"response": "CP.</think>\n<diagnosis>I21.4</diagnosis>"}, "answers I214, not the note"),
        ({"response": "CP. <diagnosis>I25.10</diagnosis>"}, r"does not parse \(.*truncated|does"),
        ({"response": None}, "has no response"),
    ],
)
def test_a_wrong_trace_is_refused_by_number(change: dict[str, str], reason: str) -> None:
    good = traces.build_traces([ANGINA], num_traces=1, seed=0)[0]
    traces.check_traces([good], [ANGINA])
    with pytest.raises(DataError, match=f"trace 1 of 2 {reason}"):
        traces.check_traces([good, {**good, **change}], [ANGINA])


def test_traces_survive_the_file(notes: list[Note], tmp_path: Path) -> None:
    written = traces.build_traces(notes, num_traces=20, seed=1)
    path = tmp_path / "new" / "traces.parquet"
    traces.write_traces(written, path)
    assert traces.read_traces(path) == written
    assert [entry.name for entry in path.parent.iterdir()] == ["traces.parquet"]


def test_traces_of_a_file_are_taken_when_the_settings_name_one(
    notes: list[Note], tmp_path: Path
) -> None:
    written = traces.build_traces(notes, num_traces=20, seed=1)
    path = tmp_path / "traces.parquet"
    traces.write_traces(written, path)
    config = SFTConfig(num_traces=5, traces=path)
    assert traces.collect_traces(notes, config, seed=3) == written[:5]
    with pytest.raises(DataError, match="trace 0 of 5 belongs to none of the training notes"):
        traces.collect_traces([ANGINA], config, seed=3)
    built = traces.collect_traces(notes, SFTConfig(num_traces=5), seed=3)
    assert built == traces.build_traces(notes, num_traces=5, seed=3)


def test_missing_and_broken_trace_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no traces at"):
        traces.read_traces(tmp_path / "none.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_text("not parquet")
    with pytest.raises(DataError, match="holds no traces"):
        traces.read_traces(broken)


def test_the_code_is_written_with_its_dot(notes: list[Note]) -> None:
    for trace in traces.build_traces(notes, num_traces=40, seed=2):
        assert f"<diagnosis>{codes.dotted(trace['code'])}</diagnosis>" in trace["response"]
