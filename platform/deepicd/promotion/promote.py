"""Registered candidates, judged and, if one wins, made champion.

In: a registry, versions, and an examination of each and of the champion on the promotion split.
Out: the gate's Decision, recorded in the registry's event log either way. Decided here: what cannot
be compared fairly is refused (`fairness`), and answers about patients that either side was trained
on are left out, counted and said. Every comparison on a promotion split is counted in the registry,
with its decision in one step, and each further one on the same notes is held to more
(`gate.confidence_of`). The alias moves only from the champion that the candidates were compared
with; if another promoter was faster, nothing changes and the caller judges again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from deepicd.config import PromotionConfig
from deepicd.errors import DataError, PromotionError
from deepicd.promotion.fairness import (
    Contender,
    find_remarks,
    leave_out_patients,
    refuse_unfair,
)
from deepicd.promotion.gate import gate, refuse_to_judge
from deepicd.promotion.registry import Registry
from deepicd.promotion.versions import CHAMPION
from deepicd.records import Decision, Examination, Prediction


@dataclass(frozen=True)
class Verdict:
    """What came of a comparison."""

    version: str
    """The candidate that won, or the first one where none did."""
    decision: Decision
    """About that one."""


def promote_best(
    registry: Registry,
    names: Sequence[str],
    *,
    examinations: Mapping[str, Examination],
    config: PromotionConfig,
    seed: int,
) -> Verdict:
    """Judge versions against the champion, and make the best of those that are accepted champion.

    Args:
        registry: where they are registered.
        names: the candidates, best first: several are held to more than one (Bonferroni).
        examinations: version name → what is known of it on the promotion split; the candidates and
            the present champion must be in it (no champion where nobody is one yet).
        config: thresholds.
        seed: of the bootstrap.

    Raises:
        DataError: an examination is missing, or was not made on the same notes.
        PromotionError: a candidate is champion already, cannot be compared with the champion
            (`fairness`), or the champion changed meanwhile.
        CheckpointError: a candidate's files are damaged.
    """
    candidates = [registry.verify(name).name for name in names]
    champion = registry.aliases().get(CHAMPION)
    if champion in candidates:
        raise PromotionError(f"{champion} is champion already in {registry.place}; nothing to do.")
    for needed in (*candidates, champion):
        if needed is not None and needed not in examinations:
            raise DataError(
                f"no predictions of {needed} among {', '.join(examinations) or 'none'}; predict it "
                "on the promotion split too."
            )
    pairs = {
        name: _pair(registry, name, champion=champion, examinations=examinations)
        for name in candidates
    }

    def decide(use: int) -> Mapping[str, Decision]:
        decisions = {
            name: pair.decide(config, seed=seed, num_candidates=len(candidates), num_uses=use)
            for name, pair in pairs.items()
        }
        # Sorting is stable: where none is accepted, the first is the sweep's best.
        best_first = sorted(decisions, key=lambda name: _rank(decisions[name]))
        return {name: decisions[name] for name in best_first}

    split = split_digest(examinations[candidates[0]].predictions)
    event = registry.judge(split, decide, champion=champion)
    decision = Decision(
        event.details["accepted"], event.details["reasons"], event.details["numbers"]
    )
    if decision.accepted:
        registry.promote(event.version, reason="won at the gate", expected=champion)
    return Verdict(event.version, decision)


def check_fair(registry: Registry, names: Sequence[str], champion: str) -> None:
    """Raise PromotionError where one of the versions cannot be compared with the champion."""
    for name in names:
        refuse_unfair(_contender(registry, name), _contender(registry, champion))


@dataclass(frozen=True)
class _Pair:
    """A candidate and the champion, each without the patients that either was trained on."""

    candidate: Examination
    champion: Examination | None
    remarks: Sequence[str]
    num_left_out: int
    """Patients."""

    def decide(
        self, config: PromotionConfig, *, seed: int, num_candidates: int, num_uses: int
    ) -> Decision:
        """The gate's decision, with what has to be said about the comparison."""
        num_patients = len({row.patient_id for row in self.candidate.predictions})
        if self.champion is not None and num_patients < config.min_patients:
            decision = refuse_to_judge(num_patients, config)
        else:
            decision = gate(
                self.candidate,
                self.champion,
                config=config,
                seed=seed,
                num_candidates=num_candidates,
                num_uses=num_uses,
            )
        numbers = {**decision.numbers, "num_left_out": float(self.num_left_out)}
        return replace(decision, reasons=(*decision.reasons, *self.remarks), numbers=numbers)


def _pair(
    registry: Registry,
    name: str,
    *,
    champion: str | None,
    examinations: Mapping[str, Examination],
) -> _Pair:
    """Both sides as they are compared.

    Raises:
        PromotionError: they cannot be compared.
    """
    ours = examinations[name]
    if champion is None:
        return _Pair(ours, None, (), 0)
    sides = [_contender(registry, each) for each in (name, champion)]
    refuse_unfair(*sides)
    patients = {row.patient_id for row in ours.predictions}
    lists = [side.patients for side in sides if side.patients is not None]
    trained = registry.find_listed(patients, lists)
    remarks = find_remarks(*sides)
    if trained:
        remarks.insert(
            0,
            f"left out: {len(trained)} of the {len(patients)} patients of the promotion split, "
            f"whom {name} or {champion} was trained on",
        )
    left = [leave_out_patients(examinations[each], trained) for each in (name, champion)]
    return _Pair(left[0], left[1], remarks, len(trained))


def _contender(registry: Registry, name: str) -> Contender:
    return Contender(name, registry.get(name).origin, registry.patients_of(name))


def _rank(decision: Decision) -> tuple[bool, float]:
    """Accepted ones first, and among them the greatest gain."""
    gain = decision.numbers.get("difference", 0.0) if decision.accepted else 0.0
    return not decision.accepted, -gain


def split_digest(predictions: Sequence[Prediction]) -> str:
    """What tells one promotion split from another: SHA-256 over its note ids and gold codes, in any
    order.
    """
    lines = sorted(f"{row.note_id}\t{row.gold}\n" for row in predictions)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
