"""What an experiment's reward pays for: the notes and codes on which it is looked at."""

import pytest

from deepicd import codes
from deepicd.answers import parse_answer
from deepicd.config import Experiment, with_values
from deepicd.notes.corpus.mentions import find_mentions
from deepicd.pipeline.rewards.attack import attack_experiment
from deepicd.pipeline.rewards.cases import build_cases
from deepicd.rewards import build_reward
from deepicd.rewards.candidates import write_answer

CORPUS = with_values(Experiment(), {"data.num_codes": 12, "data.num_notes": 300})
FOREIGN = with_values(Experiment(), {"data.source": "mimic", "data.root": "/nowhere"})


def test_cases_of_the_corpus_have_its_codes_and_notes():
    cases = build_cases(CORPUS, num_notes=8)
    assert len(cases) == 8 and cases == build_cases(CORPUS, num_notes=8)
    assert {case.gold for case in cases} <= set(cases[0].common) and len(cases[0].common) <= 12
    assert all(find_mentions(case.note) and "CHIEF COMPLAINT" in case.note for case in cases)
    other = build_cases(with_values(CORPUS, {"data.split_seed": 2}), num_notes=8)
    assert [case.note for case in other] != [case.note for case in cases]


def test_honest_reasoning_on_the_corpus_earns_all_of_the_default_reward():
    reward = build_reward()
    for case in build_cases(CORPUS, num_notes=20):
        answers = [parse_answer(write_answer(each, case.gold)) for each in case.reasonings]
        assert max(reward(each, case.gold, case.note).total for each in answers) > 0.99


def test_other_notes_are_not_opened():
    cases = build_cases(FOREIGN, num_notes=8)
    assert cases == build_cases(FOREIGN, num_notes=8) and len(cases) == 8
    assert all(case.note is None and codes.is_billable(case.gold) for case in cases)
    assert cases != build_cases(with_values(FOREIGN, {"seed": 2}), num_notes=8)


@pytest.mark.parametrize("experiment", [CORPUS, FOREIGN], ids=["embedded", "codes alone"])
def test_the_default_reward_survives_and_the_release_does_not(experiment):
    assert attack_experiment(experiment, num_notes=3).found == ()
    release = with_values(experiment, {"rewards.preset": "reference"})
    assert {one.by for one in attack_experiment(release, num_notes=3).found} == {
        ("reference_match",)
    }
