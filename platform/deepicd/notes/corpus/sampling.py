"""Profiles → sampled admissions as arrays, and the posterior of each admission's code.

In: `Knowledge`, a number of admissions, a seed. Out: `Sample`: principal code, sex, onset, and for
every finding whether it is present, denied or not mentioned. Decided here: given the code all of
these are independent (naive Bayes), so the posterior of the code is exact and its accuracy is the
ceiling of every model that reads the notes: phrases, order, style of negation, vital signs and
everything else in the text are drawn without looking at the code.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepicd.notes.corpus.profiles import (
    AUTHORED_DIFFICULTY,
    COMMON_NOISE,
    ONSETS,
    SIBLING_NOISE,
    Knowledge,
    Profile,
)

UNMENTIONED, PRESENT, DENIED = 0, 1, 2
"""States of a finding in a note."""

NO_ONSET = len(ONSETS)
"""Index of "not said" beside `ONSETS`."""

_SHARE_NO_ONSET = 0.15
_DENY_PERTINENT, _DENY_OTHER = 0.3, 0.012
"""Probability that an absent finding is denied: pertinent to the group, or commonly asked."""
_DOCUMENTED = {"hpi": 0.88, "detail": 0.62, "exam": 0.8, "social": 0.8}
"""Probability that a present finding is written down, by place."""
_NOISE_RANGE = 4.0
"""Odds of noise at difficulty 1, and their inverse at 0, relative to the authored ones."""
ADMISSIONS = (0.6, 0.3, 0.1)
"""Shares of patients with one, two and three admissions."""

_ROWS_AT_ONCE = 4096
"""Admissions drawn or judged together; bounds the memory, not the result."""

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
_Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Model:
    """The generator's probabilities as arrays; rows are codes."""

    prior: _Floats
    female: _Floats
    onset: _Floats
    """[codes, onsets + 1]"""
    present: _Floats
    """[codes, findings]"""
    denied: _Floats
    """[codes, findings], given that the finding is absent"""
    conditions: _Floats
    """[codes, conditions]"""


@dataclass(frozen=True)
class Sample:
    """Sampled admissions; every array has one row an admission."""

    patient: _Integers
    """Index of the patient, ascending from 0."""
    code: _Integers
    """Index into `Knowledge.profiles`."""
    female: _Booleans
    onset: _Integers
    findings: NDArray[np.int8]
    """[admissions, findings] of UNMENTIONED, PRESENT, DENIED"""
    conditions: _Booleans
    """[admissions, conditions]"""

    def chunks(self) -> Iterator["Sample"]:
        """The same admissions, at most `_ROWS_AT_ONCE` at a time."""
        for start in range(0, len(self.code), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            yield Sample(**{name: column[rows] for name, column in vars(self).items()})


def build_model(knowledge: Knowledge) -> Model:
    """Probabilities of all profiles as arrays.

    With difficulty d in [0, 1] a finding of a profile is written down with its place's share to the
    power of 2d, and the odds of noise (what a profile does not list) are multiplied by 4^(2d - 1):
    at 0 everything is documented, at 0.5 the authored probabilities hold exactly.
    """
    profiles, findings, conditions = knowledge.profiles, knowledge.findings, knowledge.conditions
    weights = np.array([profile.weight for profile in profiles])
    documented = np.array([_DOCUMENTED[f.place] for f in findings])
    asked = np.array([f.place == "hpi" and f.noise >= COMMON_NOISE for f in findings], dtype=bool)
    columns = {finding.name: number for number, finding in enumerate(findings)}
    present = _present(knowledge, columns)
    denied = np.tile(np.where(asked, _DENY_OTHER, 0.0), (len(profiles), 1))
    for row, profile in enumerate(profiles):
        denied[row, [columns[name] for name in profile.denies]] = _DENY_PERTINENT
    rare = _scale_noise(np.array([c.noise for c in conditions]), knowledge.difficulty)
    return Model(
        prior=weights / weights.sum(),
        female=np.array([profile.female for profile in profiles]),
        onset=np.array([_onset(profile) for profile in profiles]),
        present=present * documented ** (knowledge.difficulty / AUTHORED_DIFFICULTY),
        denied=denied,
        conditions=np.array(
            [
                [p.conditions.get(c.name, share) for c, share in zip(conditions, rare, strict=True)]
                for p in profiles
            ]
        ),
    )


def sample_admissions(model: Model, num_notes: int, seed: int) -> Sample:
    """Sample `num_notes` admissions of patients with one to three admissions each."""
    rng = np.random.default_rng([seed, 1])
    # Everybody has one admission at least, so this is more than enough; the rest is cut off.
    counts = rng.choice([1, 2, 3], size=num_notes, p=ADMISSIONS)
    patient = np.repeat(np.arange(num_notes), counts)[:num_notes]
    is_first = np.diff(patient, prepend=-1) > 0
    # A patient has one sex, by the code of the first admission; later codes are drawn given it.
    first_code = rng.choice(len(model.prior), size=num_notes, p=model.prior)
    female = (rng.random(num_notes) < model.female[first_code])[is_first][patient]
    code = np.where(is_first, first_code, _codes_given_sex(model, female, rng))
    onset = _sample_rows(model.onset[code], rng)
    present = _sample_flags(model.present, code, rng)
    denied = _sample_flags(model.denied, code, rng)
    findings = np.where(denied, np.int8(DENIED), np.int8(UNMENTIONED))
    # Last: what is present is not denied.
    findings[present] = PRESENT
    conditions = _sample_flags(model.conditions, code, rng)
    return Sample(patient, code, female, onset, findings, conditions)


def posterior(model: Model, sample: Sample) -> _Floats:
    """P(code | note) of every admission, [admissions, codes]."""
    # A code of one sex only has log 0 for the other, which rightly rules it out.
    with np.errstate(divide="ignore"):
        scores = np.log(model.prior)[None, :].repeat(len(sample.code), axis=0)
        scores += np.where(sample.female[:, None], np.log(model.female), np.log1p(-model.female))
        scores += np.log(model.onset).T[sample.onset]
    # Products of matrices and not a loop over findings: a state is a matrix of zeros and ones.
    absent = 1.0 - model.present
    for state, share in (
        (PRESENT, model.present),
        (DENIED, absent * model.denied),
        (UNMENTIONED, absent * (1.0 - model.denied)),
    ):
        # Not 0: in a product of matrices 0 times minus infinity is no number.
        scores += (sample.findings == state).astype(float) @ np.log(np.maximum(share, 1e-12)).T
    scores += sample.conditions.astype(float) @ np.log(model.conditions).T
    scores += (~sample.conditions).astype(float) @ np.log1p(-model.conditions).T
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _onset(profile: Profile) -> list[float]:
    # No onset is impossible: each needs a logarithm in the posterior.
    weights = np.array([profile.onset.get(name, 0.0) + 0.1 for name in ONSETS])
    return [*(weights / weights.sum() * (1.0 - _SHARE_NO_ONSET)), _SHARE_NO_ONSET]


def _present(knowledge: Knowledge, columns: dict[str, int]) -> _Floats:
    """P(finding | code) before documentation, [codes, findings]."""
    noise = np.array([finding.noise for finding in knowledge.findings])
    of_sibling = _scale_noise(np.maximum(SIBLING_NOISE, noise), knowledge.difficulty)
    shares = np.tile(_scale_noise(noise, knowledge.difficulty), (len(knowledge.profiles), 1))
    for row, profile in enumerate(knowledge.profiles):
        siblings = [columns[name] for name in profile.siblings]
        shares[row, siblings] = of_sibling[siblings]
        shares[row, [columns[name] for name in profile.findings]] = [*profile.findings.values()]
    return shares


def _scale_noise(shares: _Floats, difficulty: float) -> _Floats:
    """Multiply the odds; at the authored difficulty the shares stay as they are, to the bit."""
    factor = _NOISE_RANGE ** (difficulty / AUTHORED_DIFFICULTY - 1.0)
    if factor == 1.0:
        return shares
    return np.asarray(shares * factor / (1.0 - shares + shares * factor))


def _sample_flags(shares: _Floats, code: _Integers, rng: np.random.Generator) -> _Booleans:
    """One flag for each admission and column, by the shares of its code."""
    flags = np.empty((len(code), shares.shape[1]), dtype=bool)
    for start in range(0, len(code), _ROWS_AT_ONCE):
        block = code[start : start + _ROWS_AT_ONCE]
        flags[start : start + len(block)] = (
            rng.random((len(block), shares.shape[1])) < shares[block]
        )
    return flags


def _codes_given_sex(model: Model, female: _Booleans, rng: np.random.Generator) -> _Integers:
    """A code for each admission from P(code | sex), so that the prior over all admissions stays."""
    by_sex = np.stack([model.prior * (1.0 - model.female), model.prior * model.female])
    by_sex /= by_sex.sum(axis=1, keepdims=True)
    return _sample_rows(by_sex[female.astype(int)], rng)


def _sample_rows(shares: _Floats, rng: np.random.Generator) -> _Integers:
    """One index a row, by the row's probabilities."""
    edges = shares.cumsum(axis=1)
    picks = rng.random((len(shares), 1)) * edges[:, -1:]
    # Clipped, because rounding may lift a pick to the last edge.
    return np.asarray((picks >= edges).sum(axis=1).clip(max=shares.shape[1] - 1), dtype=np.int64)
