"""Hand-authored clinical profiles → what each diagnosis brings, as probabilities.

In: `corpus/{findings,conditions,profiles}.toml`. Out: `Knowledge`: findings and conditions with
their phrases, profiles with the probability of each. Decided here: a finding that a profile does
not list has the finding's `noise` as its probability, so every profile gives every finding a
probability and the Bayes-optimal answer can be computed (`sampling.posterior`).

A corpus of fewer codes knows only what can matter to it: findings and conditions that one of its
profiles lists or denies, and the common ones (`COMMON_NOISE`), in authored order. So groups that
are appended later change no smaller corpus, as long as what they bring is rarer than that.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

from deepicd.errors import ConfigError

ONSETS = ("sudden", "hours", "days", "weeks", "months")
"""How a complaint began, in the order of `Profile.onset`."""

NOISE = 0.002
"""Probability of a finding in patients whose profile does not list it, unless the finding says."""

SIBLING_NOISE = 0.012
"""The same for a finding that a profile of the same group lists: siblings are confused at times."""

COMMON_NOISE = 0.015
"""Findings and conditions at least this common are in every corpus, and asked of anyone."""

AUTHORED_DIFFICULTY = 0.5
"""Difficulty at which the authored probabilities hold as they stand."""


@dataclass(frozen=True)
class Finding:
    """Something a note can say about a patient."""

    name: str
    place: str
    """Where in the note it stands: hpi, detail, exam or social."""
    say: tuple[str, ...]
    """Phrases used in every split."""
    held: tuple[str, ...] = ()
    """Phrases that never occur in the training split."""
    cc: str = ""
    """Chief complaint, empty where the finding is none."""
    noise: float = NOISE
    system: str = ""


@dataclass(frozen=True)
class Condition:
    """A chronic condition: past history, home medication, secondary diagnosis."""

    name: str
    say: tuple[str, ...]
    meds: tuple[str, ...]
    code: str
    noise: float = NOISE


@dataclass(frozen=True)
class Profile:
    """One principal diagnosis and what comes with it."""

    code: str
    disease: str
    """Name that a trace gives; not a phrase of the note."""
    weight: float = 1.0
    female: float = 0.5
    onset: Mapping[str, float] = field(default_factory=dict)
    findings: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, float] = field(default_factory=dict)
    denies: tuple[str, ...] = ()
    siblings: frozenset[str] = frozenset()
    """Findings that only other profiles of the group list."""


@dataclass(frozen=True)
class Knowledge:
    """Everything the generator knows, in fixed order."""

    findings: tuple[Finding, ...]
    conditions: tuple[Condition, ...]
    profiles: tuple[Profile, ...]
    difficulty: float = AUTHORED_DIFFICULTY
    """In [0, 1]; see `sampling.build_model`."""

    def profile(self, code: str) -> Profile | None:
        """Profile of a canonical code, or None."""
        return next((profile for profile in self.profiles if profile.code == code), None)


def load_knowledge(num_codes: int = 0, *, difficulty: float = AUTHORED_DIFFICULTY) -> Knowledge:
    """The first `num_codes` profiles in authored order, 0 takes all, and what matters to them.

    `difficulty` in [0, 1] thins documentation and adds noise (`sampling.build_model`). Raises
    ConfigError when more codes are asked for than are authored.
    """
    everything = _load_all()
    if num_codes > len(everything.profiles):
        raise ConfigError(
            f"the embedded corpus has {len(everything.profiles)} codes; got data.num_codes = "
            f"{num_codes}. Ask for at most that many (0 takes all)."
        )
    profiles = everything.profiles[: num_codes or None]
    return replace(_narrow(everything, profiles), difficulty=difficulty)


def _narrow(everything: Knowledge, profiles: tuple[Profile, ...]) -> Knowledge:
    """Keep what these profiles list or deny and what is common, in authored order."""
    names = {name for p in profiles for name in (*p.findings, *p.siblings, *p.denies)}
    names |= {name for p in profiles for name in p.conditions}
    return Knowledge(
        tuple(f for f in everything.findings if f.name in names or f.noise >= COMMON_NOISE),
        tuple(c for c in everything.conditions if c.name in names or c.noise >= COMMON_NOISE),
        profiles,
    )


@cache
def _load_all() -> Knowledge:
    findings = tuple(
        Finding(name=name, **_tuples(entry)) for name, entry in _read("findings").items()
    )
    conditions = tuple(
        Condition(name=name, **_tuples(entry)) for name, entry in _read("conditions").items()
    )
    groups: Sequence[dict[str, Any]] = _read("profiles")["groups"]
    profiles = tuple(
        profile
        for group in groups
        for profile in _add_siblings([_profile(group, entry) for entry in group["profiles"]])
    )
    return Knowledge(findings, conditions, profiles)


def _add_siblings(profiles: Sequence[Profile]) -> list[Profile]:
    """Tell each profile which findings only its siblings list."""
    names = {name for profile in profiles for name in profile.findings}
    return [
        replace(profile, siblings=frozenset(names.difference(profile.findings)))
        for profile in profiles
    ]


def _profile(group: Mapping[str, Any], entry: Mapping[str, Any]) -> Profile:
    shared = {name: group.get(name, {}) for name in ("findings", "conditions")}
    merged = {name: {**shared[name], **entry.get(name, {})} for name in shared}
    return Profile(**{**entry, **merged, "denies": tuple(group.get("denies", ()))})


def _read(name: str) -> dict[str, Any]:
    source = resources.files("deepicd.notes").joinpath(f"corpus/{name}.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))


def _tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
