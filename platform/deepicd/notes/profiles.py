"""Hand-authored clinical profiles → a probability model of admissions.

In: `corpus/{findings,conditions,profiles}.toml`. Out: `Knowledge`: findings and conditions with
their wordings, profiles with the probability of each. Decided here: a finding that a profile does
not list has the finding's `noise` as its probability, so every profile gives every finding a
probability and the Bayes-optimal answer can be computed (`draws.posterior`).
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


@dataclass(frozen=True)
class Finding:
    """Something a note can say about a patient."""

    name: str
    place: str
    """hpi, detail, exam or social."""
    say: tuple[str, ...]
    """Wordings used in every split."""
    held: tuple[str, ...] = ()
    """Wordings that never occur in the training split."""
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
    """Name that a trace gives; not a wording of the note."""
    weight: float = 1.0
    female: float = 0.5
    onset: Mapping[str, float] = field(default_factory=dict)
    findings: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, float] = field(default_factory=dict)
    denies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Knowledge:
    """Everything the generator knows, in fixed order."""

    findings: tuple[Finding, ...]
    conditions: tuple[Condition, ...]
    profiles: tuple[Profile, ...]

    def profile(self, code: str) -> Profile | None:
        """Profile of a canonical code, or None."""
        return next((profile for profile in self.profiles if profile.code == code), None)


def load_knowledge(num_codes: int = 0) -> Knowledge:
    """Profiles of the package; the first `num_codes` in authored order, 0 takes all.

    Raises ConfigError when more codes are asked for than are authored.
    """
    everything = _load_all()
    if num_codes > len(everything.profiles):
        raise ConfigError(
            f"the embedded corpus has {len(everything.profiles)} codes; got data.num_codes = "
            f"{num_codes}. Ask for at most that many (0 takes all)."
        )
    profiles = everything.profiles[: num_codes or None]
    return Knowledge(everything.findings, everything.conditions, profiles)


@cache
def _load_all() -> Knowledge:
    findings = tuple(
        Finding(name=name, **_tuples(entry)) for name, entry in _read("findings").items()
    )
    conditions = tuple(
        Condition(name=name, **_tuples(entry)) for name, entry in _read("conditions").items()
    )
    groups: Sequence[dict[str, Any]] = _read("profiles")["groups"]
    by_name = {finding.name: finding for finding in findings}
    profiles = tuple(
        profile
        for group in groups
        for profile in _add_siblings([_profile(group, e) for e in group["profiles"]], by_name)
    )
    return Knowledge(findings, conditions, profiles)


def _add_siblings(profiles: Sequence[Profile], findings: Mapping[str, Finding]) -> list[Profile]:
    """Give each profile a small probability of what only its siblings have."""
    names = {name for profile in profiles for name in profile.findings}
    floor = {name: max(SIBLING_NOISE, findings[name].noise) for name in sorted(names)}
    return [replace(profile, findings={**floor, **profile.findings}) for profile in profiles]


def _profile(group: Mapping[str, Any], entry: Mapping[str, Any]) -> Profile:
    shared = {name: group.get(name, {}) for name in ("findings", "conditions")}
    merged = {name: {**shared[name], **entry.get(name, {})} for name in shared}
    return Profile(**{**entry, **merged, "denies": tuple(group.get("denies", ()))})


def _read(name: str) -> dict[str, Any]:
    source = resources.files("deepicd.notes").joinpath(f"corpus/{name}.toml")
    return tomllib.loads(source.read_text(encoding="utf-8"))


def _tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
