"""Profiles → drawn admissions, as arrays, and the best answer anyone could give to them.

In: `Knowledge`, a number of admissions, a seed. Out: `Draws`: principal code, sex, onset, and for
every finding whether it is present, denied or not mentioned. Decided here: given the code all of
these are independent (naive Bayes), so the posterior of the code is exact and its accuracy is the
ceiling of every model that reads the notes: wordings, order, style of negation and everything else
in the text are drawn without looking at the code.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepicd.notes.profiles import ONSETS, Knowledge, Profile

UNMENTIONED, PRESENT, DENIED = 0, 1, 2
"""States of a finding in a note."""

NO_ONSET = len(ONSETS)
"""Index of "not said" beside `ONSETS`."""

SHARE_NO_ONSET = 0.15
DENY_PERTINENT, DENY_OTHER = 0.3, 0.012
"""Probability that an absent finding is denied: pertinent to the group, or commonly asked."""
DOCUMENTED = {"hpi": 0.88, "detail": 0.62, "exam": 0.8, "social": 0.8}
"""Probability that a present finding is written down, by place."""
COMMON_NOISE = 0.015
"""Findings at least this common are asked of anyone."""
ADMISSIONS = (0.6, 0.3, 0.1)
"""Shares of patients with one, two and three admissions."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Model:
    """The generator's probabilities as arrays; rows are codes."""

    prior: Floats
    female: Floats
    onset: Floats
    """[codes, onsets + 1]"""
    present: Floats
    """[codes, findings]"""
    denied: Floats
    """[codes, findings], given that the finding is absent"""
    conditions: Floats
    """[codes, conditions]"""


@dataclass(frozen=True)
class Draws:
    """Drawn admissions; every array has one row an admission."""

    patient: Integers
    """Index of the patient, ascending from 0."""
    code: Integers
    """Index into `Knowledge.profiles`."""
    female: NDArray[np.bool_]
    onset: Integers
    findings: NDArray[np.int8]
    """[admissions, findings] of UNMENTIONED, PRESENT, DENIED"""
    conditions: NDArray[np.bool_]
    """[admissions, conditions]"""


def build_model(knowledge: Knowledge) -> Model:
    """Lay the probabilities of all profiles out as arrays."""
    profiles = knowledge.profiles
    weights = np.array([profile.weight for profile in profiles])
    findings, conditions = knowledge.findings, knowledge.conditions
    return Model(
        prior=weights / weights.sum(),
        female=np.array([profile.female for profile in profiles]),
        onset=np.array([_onset(profile) for profile in profiles]),
        present=np.array(
            [
                [p.findings.get(f.name, f.noise) * DOCUMENTED[f.place] for f in findings]
                for p in profiles
            ]
        ),
        denied=np.array(
            [
                [_denied(p, f.name, f.noise if f.place == "hpi" else 0.0) for f in findings]
                for p in profiles
            ]
        ),
        conditions=np.array(
            [[p.conditions.get(c.name, c.noise) for c in conditions] for p in profiles]
        ),
    )


def draw_admissions(model: Model, num_notes: int, seed: int) -> Draws:
    """Draw `num_notes` admissions of patients with one to three admissions each."""
    rng = np.random.default_rng([seed, 1])
    counts = rng.choice([1, 2, 3], size=num_notes, p=ADMISSIONS)
    patient = np.repeat(np.arange(num_notes), counts)[:num_notes]
    is_first = np.diff(patient, prepend=-1) > 0
    first_code = rng.choice(len(model.prior), size=num_notes, p=model.prior)
    female = (rng.random(num_notes) < model.female[first_code])[is_first][patient]
    code = np.where(is_first, first_code, _codes_given_sex(model, female, rng))
    onset = _draw_rows(model.onset[code], rng)
    present = rng.random((num_notes, model.present.shape[1])) < model.present[code]
    denied = rng.random(present.shape) < model.denied[code]
    findings = np.where(present, PRESENT, np.where(denied, DENIED, UNMENTIONED)).astype(np.int8)
    conditions = rng.random((num_notes, model.conditions.shape[1])) < model.conditions[code]
    return Draws(patient, code, female, onset, findings, conditions)


def posterior(model: Model, draws: Draws) -> Floats:
    """P(code | note) of every admission, [admissions, codes]."""
    with np.errstate(divide="ignore"):
        scores = np.log(model.prior)[None, :].repeat(len(draws.code), axis=0)
        scores += np.where(draws.female[:, None], np.log(model.female), np.log1p(-model.female))
        scores += np.log(model.onset).T[draws.onset]
    absent = 1.0 - model.present
    for state, share in (
        (PRESENT, model.present),
        (DENIED, absent * model.denied),
        (UNMENTIONED, absent * (1.0 - model.denied)),
    ):
        scores += (draws.findings == state).astype(float) @ np.log(np.maximum(share, 1e-12)).T
    scores += draws.conditions.astype(float) @ np.log(model.conditions).T
    scores += (~draws.conditions).astype(float) @ np.log1p(-model.conditions).T
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _onset(profile: Profile) -> list[float]:
    weights = np.array([profile.onset.get(name, 0.0) + 0.1 for name in ONSETS])
    return [*(weights / weights.sum() * (1.0 - SHARE_NO_ONSET)), SHARE_NO_ONSET]


def _denied(profile: Profile, name: str, noise: float) -> float:
    if name in profile.denies:
        return DENY_PERTINENT
    return DENY_OTHER if noise >= COMMON_NOISE else 0.0


def _codes_given_sex(model: Model, female: NDArray[np.bool_], rng: np.random.Generator) -> Integers:
    """A code for each admission from P(code | sex), so that the prior over all admissions stays."""
    by_sex = np.stack([model.prior * (1.0 - model.female), model.prior * model.female])
    by_sex /= by_sex.sum(axis=1, keepdims=True)
    return _draw_rows(by_sex[female.astype(int)], rng)


def _draw_rows(shares: Floats, rng: np.random.Generator) -> Integers:
    """One index a row, by the row's probabilities."""
    edges = shares.cumsum(axis=1)
    picks = rng.random((len(shares), 1)) * edges[:, -1:]
    return np.asarray((picks >= edges).sum(axis=1).clip(max=shares.shape[1] - 1), dtype=np.int64)
