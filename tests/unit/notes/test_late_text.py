"""The judge of late text: what it learns from, what it finds, and that it keeps no words."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepicd.errors import DataError
from deepicd.notes.corpus import sampling
from deepicd.notes.corpus.mimic_tables import write_summaries
from deepicd.notes.corpus.profiles import load_knowledge
from deepicd.notes.late_text import JUDGE, LateTextJudge, fit_judge, load_judge
from deepicd.notes.mimic.late_passages import MAX_WORDS, sample_passages, split_passages
from deepicd.notes.mimic.sections import Cut, cut_summary, render_note

NUM_NOTES = 1200


class Learnt(NamedTuple):
    judge: LateTextJudge
    cuts: dict[str, Cut]
    folder: Path


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Learnt:
    knowledge = load_knowledge()
    drawn = sampling.sample_admissions(sampling.build_model(knowledge), NUM_NOTES, seed=5)
    texts = write_summaries(knowledge, drawn, splits=["train"] * NUM_NOTES, seed=5)
    cuts = {f"{number}-DS-1": cut_summary(one.text) for number, one in enumerate(texts)}
    rows = [
        {"note_id": name, **row} for name, cut in cuts.items() for row in sample_passages(name, cut)
    ]
    folder = tmp_path_factory.mktemp("passages")
    half = len(rows) // 2
    pq.write_table(pa.Table.from_pylist(rows[:half]), folder / "a")
    pq.write_table(pa.Table.from_pylist(rows[half:]), folder / "b")
    judge = fit_judge(folder)
    assert judge is not None
    return Learnt(judge, cuts, folder)


def test_sentences_of_the_stay_without_any_header_are_found(learnt: Learnt) -> None:
    names = list(learnt.cuts)[:200]
    late = [split_passages("\n".join(learnt.cuts[name].late))[1] for name in [*names[1:], names[0]]]
    notes = [render_note(learnt.cuts[name].sections) for name in names]
    planted = [f"{note}. {said}" for note, said in zip(notes, late, strict=True)]
    before = learnt.judge.find_doubts(names, notes)
    after = learnt.judge.find_doubts(names, planted)
    num_found = sum(len(a) > len(b) for a, b in zip(after, before, strict=True))
    assert num_found > 0.9 * len(names)
    assert sum(map(bool, before)) <= 0.02 * len(names)
    assert learnt.judge.recall > 0.9


def test_a_doubt_names_section_and_passage(learnt: Learnt) -> None:
    name, cut = next(iter(learnt.cuts.items()))
    late = split_passages("\n".join(cut.late))[2]
    text = f"PRESENT ILLNESS: came with pain in the chest today. {late}\nALLERGIES: none"
    (doubts,) = learnt.judge.find_doubts([name], [text])
    assert [(doubt.section, doubt.number) for doubt in doubts] == [("PRESENT ILLNESS", 2)]


def test_the_file_holds_no_word_and_gives_the_same_doubts(learnt: Learnt, tmp_path: Path) -> None:
    learnt.judge.save(tmp_path / JUDGE)
    read = load_judge(tmp_path)
    assert read is not None and read.summary() == learnt.judge.summary()
    names = list(learnt.cuts)[:50]
    late = ["CHIEF COMPLAINT: " + " ".join(learnt.cuts[name].late) for name in names]
    assert read.find_doubts(names, late) == learnt.judge.find_doubts(names, late)
    assert b"treated" not in (tmp_path / JUDGE).read_bytes()


def test_what_is_learnt_does_not_depend_on_the_order_of_the_files(
    learnt: Learnt, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes((learnt.folder / "b").read_bytes())
    (tmp_path / "b").write_bytes((learnt.folder / "a").read_bytes())
    other = fit_judge(tmp_path)
    assert other is not None and other.summary() == learnt.judge.summary()
    assert (other.weights == learnt.judge.weights).all()


def test_too_few_passages_give_no_judge(tmp_path: Path) -> None:
    rows = [{"note_id": f"{n}", "is_late": bool(n % 2), "text": "a b c d e"} for n in range(60)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a")
    assert fit_judge(tmp_path) is None and fit_judge(tmp_path / "none") is None
    assert load_judge(tmp_path) is None


@pytest.mark.parametrize("data", [b"no", b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)])
def test_a_broken_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / JUDGE).write_bytes(data)
    with pytest.raises(DataError, match=r"late_text.npz is no judge of late text"):
        load_judge(tmp_path)


def test_a_judge_of_other_shapes_or_numbers_is_refused(learnt: Learnt, tmp_path: Path) -> None:
    replace(learnt.judge, idf=learnt.judge.idf[:7]).save(tmp_path / JUDGE)
    with pytest.raises(DataError, match="its arrays are of other shapes"):
        load_judge(tmp_path)
    # Nothing scores above NaN: every note would be clean.
    replace(learnt.judge, threshold=float("nan")).save(tmp_path / JUDGE)
    with pytest.raises(DataError, match="a number of it is not finite"):
        load_judge(tmp_path)


def test_passages_are_sentences_of_some_length() -> None:
    long = " ".join(str(number) for number in range(2 * MAX_WORDS + 7))
    assert split_passages("No fever. No chills at all today. ok") == [
        "No fever. No chills at all today."
    ]
    assert [len(passage.split()) for passage in split_passages(long)] == [MAX_WORDS, MAX_WORDS, 7]
