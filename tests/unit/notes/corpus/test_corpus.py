"""The embedded corpus as a whole: size, consistency, leaks, stability, ceiling, difficulty."""

import hashlib
import itertools
import re
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from deepicd import codes
from deepicd.config import DataConfig
from deepicd.errors import ConfigError
from deepicd.notes.corpus import profiles, sampling, text
from deepicd.notes.corpus.mentions import find_mentions
from deepicd.notes.corpus.mimic_tables import Admission, write_summaries
from deepicd.notes.corpus.profiles import Knowledge, load_knowledge
from deepicd.notes.corpus.vitals import STABLE, VITALS, write_vitals
from deepicd.notes.mimic.sections import cut_sections, render_note

NUM_NOTES = 3000
TEMPERATURE = re.compile(r"(?<!\w)T (\d+(?:\.\d)?)")
HEART_RATE = re.compile(r"(?<!F)(?:HR|pulse|tachycardic to) (\d+)")
PRESSURE = re.compile(r"(?:BP|hypotensive to) (\d+)/(\d+)")
SATURATION = re.compile(r"(?:SpO2 |satting )?(\d\d)%(?: RA| on RA)?")
SMALLER = {51: "ca46ab929639", 69: "82e79eb6ab40"}
"""Codes → digest of all that a smaller corpus knows; new groups must not change it."""


@pytest.fixture(scope="module")
def drawn(knowledge: Knowledge) -> sampling.Sample:
    """Admissions of the full corpus."""
    return sampling.sample_admissions(sampling.build_model(knowledge), NUM_NOTES, seed=11)


@pytest.fixture(scope="module")
def worded(knowledge: Knowledge, drawn: sampling.Sample) -> list[Admission]:
    """The same in words; even rows are training, odd ones are not."""
    splits = ["train", "test"] * (NUM_NOTES // 2)
    return list(write_summaries(knowledge, drawn, splits=splits, seed=11))


@pytest.fixture(scope="module")
def notes(worded: list[Admission]) -> list[str]:
    """What the reader keeps of them."""
    return [render_note(cut_sections(one.text)) for one in worded]


@pytest.fixture(scope="module")
def stated(knowledge: Knowledge, drawn: sampling.Sample) -> list[set[str]]:
    """Names of the findings that each note states."""
    names = np.array([finding.name for finding in knowledge.findings])
    return [set(names[row == sampling.PRESENT].tolist()) for row in drawn.findings]


def exam_of(note: str) -> str:
    lines = [line for line in note.splitlines() if line.startswith("PHYSICAL EXAM: ")]
    return lines[0] if lines else ""


def accuracy(num_codes: int, difficulty: float, *, seed: int = 3) -> float:
    model = sampling.build_model(load_knowledge(num_codes, difficulty=difficulty))
    drawn = sampling.sample_admissions(model, 5000, seed=seed)
    return float((sampling.posterior(model, drawn).argmax(axis=1) == drawn.code).mean())


@pytest.mark.parametrize(
    ("num_codes", "wanted"), [(51, "6f0921366e78d149"), (0, "997f0abdf9b35b4d")]
)
def test_summaries_and_admission_notes_of_a_seed_stay_as_they_are(
    num_codes: int, wanted: str
) -> None:
    """Of 300 admissions: a change of corpus or reader that changes one character shows here."""
    knowledge = load_knowledge(num_codes)
    drawn = sampling.sample_admissions(sampling.build_model(knowledge), 300, seed=1)
    splits = ["train", "validation", "test"] * 100
    hasher = hashlib.sha256()
    for summary in write_summaries(knowledge, drawn, splits=splits, seed=1):
        note = render_note(cut_sections(summary.text))
        hasher.update(summary.text.encode() + b"\0" + note.encode() + b"\0")
    assert hasher.hexdigest()[:16] == wanted


def digest(knowledge: Knowledge) -> str:
    """Changes with any finding, condition or profile; sets are sorted first."""
    listed = [replace(one, siblings=frozenset()) for one in knowledge.profiles]
    siblings = [sorted(one.siblings) for one in knowledge.profiles]
    facts = repr((knowledge.findings, knowledge.conditions, listed, siblings))
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


# ---- size and labels


def test_the_corpus_has_120_codes_over_15_chapters_that_are_billable_in_every_release(
    knowledge: Knowledge,
) -> None:
    labels = [one.code for one in knowledge.profiles]
    assert len(labels) == len(set(labels)) == 144
    assert len({codes.chapter(code) for code in labels}) == 19
    assert not [
        (code, year)
        for code in labels
        for year in codes.RELEASES
        if not codes.is_billable(code, year)
    ]


def test_secondary_codes_are_billable_in_every_release(knowledge: Knowledge) -> None:
    years = codes.RELEASES
    billed = [one.code for one in knowledge.conditions]
    assert all(codes.is_billable(code, year) for code in billed for year in years)


def test_frequencies_have_a_long_tail(drawn: sampling.Sample) -> None:
    counts = sorted(np.bincount(drawn.code, minlength=144).tolist(), reverse=True)
    assert counts[0] > 8 * counts[-1] > 0
    assert sum(counts[:48]) > 0.5 * NUM_NOTES  # the head third
    assert sum(counts[-48:]) < 0.2 * NUM_NOTES  # the tail third


def test_siblings_differ_in_a_finding_that_speaks_clearly(knowledge: Knowledge) -> None:
    by_category: dict[str, list[profiles.Profile]] = {}
    for one in knowledge.profiles:
        by_category.setdefault(codes.category(one.code), []).append(one)
    pairs = [pair for ones in by_category.values() for pair in itertools.combinations(ones, 2)]
    assert len(pairs) >= 40
    for left, right in pairs:
        names = {*left.findings, *right.findings}
        gaps = [abs(left.findings.get(n, 0) - right.findings.get(n, 0)) for n in names]
        assert max(gaps) >= 0.4, (left.code, right.code)


def test_every_finding_belongs_to_a_profile(knowledge: Knowledge) -> None:
    listed = {name for one in knowledge.profiles for name in one.findings}
    assert {finding.name for finding in knowledge.findings} == listed


# ---- notes


def test_what_was_sampled_can_be_read_back_from_every_note(
    knowledge: Knowledge,
    drawn: sampling.Sample,
    notes: list[str],
    stated: list[set[str]],
) -> None:
    conditions = np.array([condition.name for condition in knowledge.conditions])
    for row, note in enumerate(notes):
        present = stated[row] | set(conditions[drawn.conditions[row]].tolist())
        assert {mention.name for mention in find_mentions(note)} == present


def test_no_note_names_its_own_title_or_disease(
    knowledge: Knowledge, drawn: sampling.Sample, notes: list[str]
) -> None:
    for code, note in zip(drawn.code, notes, strict=True):
        one = knowledge.profiles[code]
        text = note.lower()
        assert codes.title(one.code).lower() not in text
        assert one.disease.lower() not in text
        assert codes.dotted(one.code) not in note


def test_no_phrase_names_any_title_or_disease(knowledge: Knowledge) -> None:
    said = [words for one in knowledge.findings for words in (*one.say, *one.held, one.cc)]
    said += [words for one in knowledge.conditions for words in (*one.say, *one.meds)]
    text = "\n".join(said).lower()
    for one in knowledge.profiles:
        assert one.disease.lower() not in text
        assert codes.title(one.code).lower() not in text


def test_held_out_phrases_are_never_in_a_training_note(
    knowledge: Knowledge, notes: list[str]
) -> None:
    held = [words for finding in knowledge.findings for words in finding.held]
    train, test = "\n".join(notes[0::2]), "\n".join(notes[1::2])
    assert not [words for words in held if words in train]
    assert sum(words in test for words in held) > len(held) / 2


def test_equal_seeds_give_equal_notes_and_another_seed_does_not(knowledge: Knowledge) -> None:
    def write(seed: int) -> list[str]:
        few = sampling.sample_admissions(sampling.build_model(knowledge), 60, seed=seed)
        splits = ["train", "test"] * 30
        return [one.text for one in write_summaries(knowledge, few, splits=splits, seed=seed)]

    assert write(4) == write(4)
    assert write(4) != write(5)


def test_notes_stay_short(notes: list[str]) -> None:
    lengths = [len(note) for note in notes]
    assert 240 < np.mean(lengths) < 320
    assert np.percentile(lengths, 99) < 430


# ---- vital signs and exam


def test_a_temperature_is_febrile_exactly_where_the_note_has_a_fever(
    notes: list[str], stated: list[set[str]]
) -> None:
    seen = Counter()
    for note, names in zip(notes, stated, strict=True):
        has_fever = bool(names & {"fever", "exam_fever"})
        values = [float(value) for value in TEMPERATURE.findall(exam_of(note))]
        assert values or not has_fever
        for value in values:
            is_febrile = value >= 100.4 if value > 45 else value >= 38.0
            assert is_febrile == has_fever, note
            seen[is_febrile] += 1
    assert min(seen[True], seen[False]) > 50


def test_a_heart_rate_fits_what_the_note_says(notes: list[str], stated: list[set[str]]) -> None:
    fast = {"exam_tachycardia", "af_rvr", "sawtooth"}
    slow = {"exam_bradycardia", "dissociation"}
    seen = Counter()
    for note, names in zip(notes, stated, strict=True):
        for rate in map(int, HEART_RATE.findall(exam_of(note))):
            kind = "fast" if rate > 100 else "slow" if rate < 50 else "normal"
            assert (kind != "fast" or names & fast) and (kind != "slow" or names & slow), note
            assert kind != "normal" or not names & (fast | slow), note
            seen[kind] += 1
        if names & (fast | slow):
            assert HEART_RATE.search(exam_of(note)), note
    assert all(seen[kind] > 10 for kind in ("fast", "slow", "normal"))


def test_a_blood_pressure_fits_what_the_note_says(notes: list[str], stated: list[set[str]]) -> None:
    low = {"exam_hypotension", "hypotension_fluids"}
    high = {"severe_bp", "mild_bp"}
    seen = Counter()
    for note, names in zip(notes, stated, strict=True):
        for systolic, diastolic in PRESSURE.findall(exam_of(note)):
            assert int(systolic) > int(diastolic) + 20
            kind = "low" if int(systolic) < 92 else "high" if int(systolic) >= 140 else "normal"
            assert (kind != "low" or names & low) and (kind != "high" or names & high), note
            assert kind != "normal" or not names & (low | high | {"orthostatic"}), note
            seen[kind] += 1
    assert all(seen[kind] > 5 for kind in ("low", "high", "normal"))


def test_a_saturation_is_low_exactly_where_the_note_has_hypoxia(
    notes: list[str], stated: list[set[str]]
) -> None:
    for note, names in zip(notes, stated, strict=True):
        values = [int(value) for value in SATURATION.findall(exam_of(note))]
        assert all((value < 90) == ("exam_hypoxia" in names) for value in values), note
        assert values or "exam_hypoxia" not in names


def test_stable_vital_signs_are_said_only_without_an_abnormal_one(
    notes: list[str], stated: list[set[str]]
) -> None:
    abnormal = {name for one in VITALS for name in (*one.stated_by, *one.implied)}
    stable = [names for note, names in zip(notes, stated, strict=True) if STABLE in exam_of(note)]
    assert len(stable) > 300
    assert not [names for names in stable if names & abnormal]


def test_a_normal_exam_is_not_written_beside_a_finding_against_it(
    notes: list[str], stated: list[set[str]]
) -> None:
    assert text.DOUBTED.keys() == text.NORMALS.keys()
    for note, names in zip(notes, stated, strict=True):
        parts = exam_of(note).removeprefix("PHYSICAL EXAM: ").split(", ")
        for system, normal in text.NORMALS.items():
            assert normal not in parts or not names & text.DOUBTED[system], note


def test_vital_signs_use_known_findings_and_no_phrase_of_theirs(knowledge: Knowledge) -> None:
    names = {finding.name for finding in knowledge.findings}
    said = {words for finding in knowledge.findings for words in (*finding.say, *finding.held)}
    for one in VITALS:
        assert {*one.stated_by, *one.implied, *one.unsure} <= names
        assert not said & {*one.normal, *itertools.chain(*one.implied.values())}
    assert {name for names in text.DOUBTED.values() for name in names} <= names
    systems = {finding.name for finding in knowledge.findings if finding.system == "vitals"}
    assert systems == {name for one in VITALS for name in one.stated_by}


@pytest.mark.parametrize(
    ("present", "words", "wanted"),
    [
        ({"fever"}, {}, {"T 100.9", "T 101.1"}),
        ({"fever", "exam_fever"}, {"exam_fever": "T 102.4"}, {"T 102.4"}),
        ({"hypotension_fluids"}, {}, {"BP 88/52", "BP 86/50"}),
        ({"af_rvr"}, {}, {"HR 138", "HR 144"}),
        ({"cough"}, {}, {STABLE}),
    ],
)
def test_vital_signs_worked_by_hand(
    present: set[str], words: dict[str, str], wanted: set[str]
) -> None:
    normal = {value for one in VITALS for value in one.normal}
    lines = [write_vitals(present, words, Random(seed)) for seed in range(200)]
    assert {part for parts in lines for part in parts} - normal == wanted
    if wanted != {STABLE}:
        assert all(len(wanted & set(parts)) == 1 for parts in lines)


# ---- stability


@pytest.mark.parametrize("num_codes", [51, 69])
def test_a_smaller_corpus_is_what_it_was(num_codes: int) -> None:
    assert digest(load_knowledge(num_codes)) == SMALLER[num_codes]


def test_a_group_that_is_appended_changes_no_smaller_corpus(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_knowledge(51)
    finding = profiles.Finding("tick_bite", "hpi", ("tick bite",), noise=0.01)
    condition = profiles.Condition("babesiosis", ("babesia",), ("atovaquone",), "B600")
    new = profiles.Profile("A6920", "Lyme disease", findings={"tick_bite": 0.8, "fever": 0.5})
    longer = Knowledge(
        (finding, *knowledge.findings),
        (condition, *knowledge.conditions),
        (*knowledge.profiles, new),
    )
    monkeypatch.setattr(profiles, "_load_all", lambda: longer)
    assert load_knowledge(51) == before
    assert finding in load_knowledge().findings
    assert condition not in load_knowledge().conditions


def test_a_smaller_corpus_knows_what_its_profiles_name_and_what_is_common() -> None:
    few = load_knowledge(5)
    names = {finding.name for finding in few.findings}
    assert {"exertional", "syncope", "fatigue"} <= names  # listed, denied, common
    assert "right_wrist_pain" not in names
    drawn = sampling.sample_admissions(sampling.build_model(few), 50, seed=1)
    assert drawn.findings.shape == (50, len(few.findings))


# ---- ceiling and difficulty


def test_the_ceiling_of_the_full_corpus_leaves_room_and_is_no_giveaway() -> None:
    assert 0.85 < accuracy(0, 0.5) < 0.94


@pytest.mark.parametrize("num_codes", [0, 51])
def test_the_ceiling_falls_with_the_difficulty(num_codes: int) -> None:
    scores = [accuracy(num_codes, difficulty) for difficulty in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert all(easy > hard + 0.015 for easy, hard in itertools.pairwise(scores))
    assert scores[-1] > 0.7 and scores[0] < 0.98


@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_the_posterior_is_calibrated_at_every_difficulty(difficulty: float) -> None:
    model = sampling.build_model(load_knowledge(difficulty=difficulty))
    drawn = sampling.sample_admissions(model, 8000, seed=2)
    shares = sampling.posterior(model, drawn)
    is_right = shares.argmax(axis=1) == drawn.code
    assert is_right.mean() == pytest.approx(shares.max(axis=1).mean(), abs=0.015)


def test_the_default_difficulty_is_the_authored_one() -> None:
    assert DataConfig().difficulty == profiles.AUTHORED_DIFFICULTY
    model = sampling.build_model(load_knowledge(51))
    fever = next(i for i, f in enumerate(load_knowledge(51).findings) if f.name == "fever")
    assert model.present[0, fever] == 0.025 * 0.88  # noise x documented in the illness
    easy = sampling.build_model(load_knowledge(51, difficulty=0.0))
    assert easy.present[0, fever] == pytest.approx(0.025 / 4 / (0.975 + 0.025 / 4))
    with pytest.raises(ValueError, match="less than or equal to 1"):
        DataConfig(difficulty=1.5)


def test_admissions_are_judged_alike_in_chunks(
    drawn: sampling.Sample, knowledge: Knowledge
) -> None:
    model = sampling.build_model(knowledge)
    whole = sampling.posterior(model, drawn)
    twice = replace(drawn, **{name: np.concatenate([c, c]) for name, c in vars(drawn).items()})
    parts = np.concatenate([sampling.posterior(model, part) for part in twice.chunks()])
    assert len([*twice.chunks()]) == 2
    for half in (parts[:NUM_NOTES], parts[NUM_NOTES:]):
        np.testing.assert_allclose(half, whole, rtol=1e-6, atol=1e-12)


def test_more_codes_than_are_authored_are_refused_with_their_number() -> None:
    with pytest.raises(ConfigError, match=r"has 144 codes; got data\.num_codes = 145"):
        load_knowledge(145)
