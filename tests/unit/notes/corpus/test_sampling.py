"""Sampled admissions and the posterior of their code."""

from dataclasses import replace

import numpy as np
import pytest

from deepicd import codes
from deepicd.notes.corpus import sampling
from deepicd.notes.corpus.profiles import Finding, Knowledge, Profile, load_knowledge


def test_the_posterior_is_bayes_rule_worked_by_hand() -> None:
    fever, rash = Finding("fever", "hpi", ("fever",)), Finding("rash", "hpi", ("rash",), noise=0.1)
    a = Profile("A419", "a", weight=3, female=0.5, findings={"fever": 0.5})
    b = Profile("I214", "b", weight=1, female=1.0, findings={"fever": 0.25, "rash": 0.5})
    model = sampling.build_model(Knowledge((fever, rash), (), (a, b)))
    model = replace(model, present=np.array([[0.5, 0.1], [0.25, 0.5]]), denied=np.zeros((2, 2)))
    drawn = sampling.Sample(
        patient=np.array([0, 1]),
        code=np.array([0, 1]),
        female=np.array([True, False]),
        onset=np.array([sampling.NO_ONSET, 0]),
        findings=np.array([[1, 0], [1, 1]], dtype=np.int8),
        conditions=np.zeros((2, 0), dtype=bool),
    )
    weight_a = 0.75 * 0.5 * 0.5 * 0.9
    weight_b = 0.25 * 1.0 * 0.25 * 0.5
    shares = sampling.posterior(model, drawn)
    assert shares[0] == pytest.approx([weight_a, weight_b] / np.sum([weight_a, weight_b]))
    assert shares[1] == pytest.approx([1.0, 0.0])  # b is never male


def test_the_posterior_is_calibrated_on_what_the_generator_draws(knowledge: Knowledge) -> None:
    model = sampling.build_model(knowledge)
    drawn = sampling.sample_admissions(model, 8000, seed=2)
    shares = sampling.posterior(model, drawn)
    is_right = shares.argmax(axis=1) == drawn.code
    assert is_right.mean() == pytest.approx(shares.max(axis=1).mean(), abs=0.015)
    assert 0.85 <= is_right.mean() <= 0.93


def test_labels_are_long_tailed_but_none_is_rare(knowledge: Knowledge) -> None:
    model = sampling.build_model(load_knowledge(51))
    counts = np.bincount(sampling.sample_admissions(model, 6000, seed=1).code, minlength=51)
    assert counts.max() / counts.min() > 3
    assert counts.min() >= 40


def test_patients_have_one_to_three_admissions_and_one_sex(knowledge: Knowledge) -> None:
    drawn = sampling.sample_admissions(sampling.build_model(knowledge), 3000, seed=1)
    counts = np.bincount(drawn.patient)
    assert set(counts.tolist()) == {1, 2, 3}
    for patient in np.flatnonzero(counts > 1)[:50]:
        assert len(set(drawn.female[drawn.patient == patient].tolist())) == 1


def test_sex_specific_codes_go_to_patients_of_that_sex(knowledge: Knowledge) -> None:
    drawn = sampling.sample_admissions(sampling.build_model(knowledge), 6000, seed=1)
    pregnancy = [i for i, p in enumerate(knowledge.profiles) if codes.chapter(p.code) == "XV"]
    assert drawn.female[np.isin(drawn.code, pregnancy)].all()
