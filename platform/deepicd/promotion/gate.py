"""What is known of a candidate and of the champion → Decision, with reasons.

In: an `Examination` of both models, with their predictions for the same notes of the promotion
split, which no trial saw. Out: `records.Decision`; a rejection is a report, not an error. Decided
here: the candidate must gain in hierarchical F1 (a tie changes nothing); keep its shares of
unparsable answers and of codes that do not exist low, its answers short and quick; and neither in a
chapter, nor in a group of patients with enough notes, nor in a behaviour test be worse than the
champion beyond doubt. Intervals are paired bootstraps by patient (`scoring.paired_bootstrap`).
Where several hypotheses are looked at, the confidence of each is raised by Bonferroni: over the
chapters and groups compared, over the behaviour tests, and over `num_candidates` when the best of
several candidates is brought here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from deepicd import codes, scoring
from deepicd.config import PromotionConfig
from deepicd.errors import DataError
from deepicd.records import Decision, Examination, Prediction
from deepicd.scoring.bootstrap import match_notes

NONEXISTENT = ("unknown_code", "not_billable")
"""Reasons (`answers.FAULTS`) of an answer whose code nobody could bill."""


@dataclass
class _Report:
    """Reasons collected so far; `is_accepted` turns False at the first rule that is not met."""

    is_accepted: bool = True
    reasons: list[str] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)

    def rule(self, is_met: bool, reason: str) -> None:
        self.is_accepted &= is_met
        self.reasons.append(f"{'met' if is_met else 'NOT met'}: {reason}")


def gate(
    candidate: Examination,
    champion: Examination | None,
    *,
    config: PromotionConfig,
    seed: int,
    num_candidates: int = 1,
) -> Decision:
    """Compare on the same notes; `champion` is None where there is none.

    Numbers: `num_notes`, `num_patients`, `candidate_*` and `champion_*` scores, `difference`,
    `low`, `high`, `p`, `chapter_N_*` and `ATTRIBUTE_GROUP_*` (difference, low, high) for each part
    compared, and of each behaviour test the shares passed.

    Raises:
        DataError: no predictions, or the two do not cover the same notes with the same gold codes.
    """
    rows = candidate.predictions
    if not rows:
        raise DataError("the candidate has no predictions; predict on the promotion split first.")
    report = _Report()
    report.numbers["num_notes"] = float(len(rows))
    report.numbers["num_patients"] = float(len({row.patient_id for row in rows}))
    _check_answers(report, rows, config)
    if champion is None:
        _check_behaviour(report, candidate, None, config=config, num_tests=num_candidates)
        report.reasons.append("nobody is champion yet: there is nothing to beat")
    else:
        theirs = [row for _, row in match_notes(rows, champion.predictions)]
        pair = _Pair(rows, theirs, config, seed, num_candidates)
        _check_gain(report, pair)
        _check_parts(report, pair)
        _check_length(report, pair)
        _check_seconds(report, candidate.seconds, champion.seconds, config=config)
        _check_behaviour(report, candidate, champion, config=config, num_tests=num_candidates)
    return Decision(report.is_accepted, tuple(report.reasons), report.numbers)


@dataclass(frozen=True)
class _Pair:
    """Both models' answers to the same notes in the same order, and how they are compared."""

    candidate: Sequence[Prediction]
    champion: Sequence[Prediction]
    config: PromotionConfig
    seed: int
    num_tests: int

    @property
    def confidence(self) -> float:
        """Of one interval, so that all `num_tests` together have the configured one."""
        return 1 - (1 - self.config.confidence) / self.num_tests

    def compare(self) -> Mapping[str, float]:
        """Difference in hierarchical F1 with its interval."""
        return scoring.paired_bootstrap(
            self.candidate,
            self.champion,
            num_bootstrap=self.config.num_bootstrap,
            seed=self.seed,
            confidence=self.confidence,
        )

    def part(self, at: Sequence[int], num_parts: int) -> "_Pair":
        """The notes at these places, as one of several parts that are looked at."""
        return replace(
            self,
            candidate=[self.candidate[i] for i in at],
            champion=[self.champion[i] for i in at],
            num_tests=self.num_tests * num_parts,
        )

    def places(
        self, names: Callable[[Prediction], Iterable[str]], least: int
    ) -> dict[str, list[int]]:
        """Name → places of its notes, where it has enough."""
        places: dict[str, list[int]] = defaultdict(list)
        for index, prediction in enumerate(self.candidate):
            for name in names(prediction):
                places[name].append(index)
        return {name: places[name] for name in sorted(places) if len(places[name]) >= least}

    def describe(self, comparison: Mapping[str, float]) -> str:
        """The difference and its interval in words."""
        interval = f"{comparison['low']:+.4f} to {comparison['high']:+.4f}"
        return f"{comparison['difference']:+.4f}, {self.confidence:.2%} interval {interval}"


def _check_answers(
    report: _Report, candidate: Sequence[Prediction], config: PromotionConfig
) -> None:
    scores = scoring.score_predictions(candidate)
    report.numbers |= {f"candidate_{name}": value for name, value in scores.items()}
    share = scores["share_unparsable"]
    report.rule(
        share <= config.max_unparsable,
        f"{share:.1%} of the answers hold no usable code (at most {config.max_unparsable:.1%})",
    )
    share = fmean(row.reason in NONEXISTENT for row in candidate)
    report.numbers["candidate_share_nonexistent"] = share
    report.rule(
        share <= config.max_nonexistent,
        f"{share:.1%} name a code that does not exist or cannot be billed (at most "
        f"{config.max_nonexistent:.1%})",
    )


def _check_gain(report: _Report, pair: _Pair) -> None:
    config = pair.config
    scores = scoring.score_predictions(pair.champion)
    report.numbers |= {f"champion_{name}": value for name, value in scores.items()}
    comparison = pair.compare()
    report.numbers |= {name: comparison[name] for name in ("difference", "low", "high", "p")}
    gain = comparison["difference"]
    report.rule(
        # Only a negative `min_difference` asks for a tie or a loss to be taken.
        gain >= config.min_difference and (gain > 0 or config.min_difference < 0),
        f"hierarchical F1 {report.numbers['candidate_hierarchical_f1']:.4f} against the champion's "
        f"{scores['hierarchical_f1']:.4f}: {pair.describe(comparison)} "
        f"(wanted: a gain of at least {config.min_difference:.4f}; a tie changes nothing)",
    )
    if config.require_significance:
        report.rule(
            comparison["low"] > config.min_difference,
            f"the interval's lower end {comparison['low']:+.4f} lies above "
            f"{config.min_difference:.4f}",
        )


def _check_parts(report: _Report, pair: _Pair) -> None:
    config = pair.config
    chapters = pair.places(_chapter, config.min_chapter_notes)
    groups = pair.places(_groups, config.min_subgroup_notes)
    num_parts = len(chapters) + len(groups)
    for what, parts, least, most in (
        ("chapters", chapters, config.min_chapter_notes, config.max_chapter_loss),
        ("groups of patients", groups, config.min_subgroup_notes, config.max_subgroup_loss),
    ):
        lost = []
        for name, at in parts.items():
            part = pair.part(at, num_parts)
            comparison = part.compare()
            for key in ("difference", "low", "high"):
                report.numbers[f"{name}_{key}"] = comparison[key]
            if comparison["high"] < -most:
                lost.append(f"{name} ({part.describe(comparison)})")
        report.rule(
            not lost,
            f"of {len(parts)} {what} with at least {least} notes, "
            f"{len(lost)} lost more than {most:.2f} beyond doubt"
            + (f": {', '.join(lost)}" if lost else ""),
        )


def _chapter(prediction: Prediction) -> tuple[str, ...]:
    return (f"chapter_{codes.chapter(prediction.gold)}",)


def _groups(prediction: Prediction) -> list[str]:
    return [f"{attribute}_{group}" for attribute, group in prediction.groups.items()]


def _check_length(report: _Report, pair: _Pair) -> None:
    ours, theirs = _mean_length(pair.candidate), _mean_length(pair.champion)
    if ours is None or not theirs:
        return
    report.numbers |= {"candidate_mean_tokens": ours, "champion_mean_tokens": theirs}
    most = pair.config.max_length_ratio
    report.rule(
        ours <= most * theirs,
        f"{ours:.1f} tokens an answer against the champion's {theirs:.1f} (at most {most:g} times)",
    )


def _mean_length(predictions: Sequence[Prediction]) -> float | None:
    counted = [row.num_tokens for row in predictions if row.num_tokens is not None]
    return fmean(counted) if counted else None


def _check_seconds(
    report: _Report, ours: float | None, theirs: float | None, *, config: PromotionConfig
) -> None:
    if ours is None or not theirs:
        return
    report.numbers |= {"candidate_seconds": ours, "champion_seconds": theirs}
    report.rule(
        ours <= config.max_latency_ratio * theirs,
        f"{ours:.3f} s an answer against the champion's {theirs:.3f} (at most "
        f"{config.max_latency_ratio:g} times)",
    )


def _check_behaviour(
    report: _Report,
    candidate: Examination,
    champion: Examination | None,
    *,
    config: PromotionConfig,
    num_tests: int,
) -> None:
    num_tests *= max(1, len(candidate.behaviour))
    for test, passed in candidate.behaviour.items():
        share = fmean(passed)
        report.numbers[f"candidate_{test}"] = share
        reason = f"{test}: {share:.0%} of {len(passed)} cases passed"
        is_met = share >= config.min_behaviour
        if config.min_behaviour:
            reason += f" (at least {config.min_behaviour:.0%})"
        theirs = champion.behaviour.get(test, ()) if champion is not None else ()
        # A champion that was examined with another number of cases is not compared.
        if len(theirs) == len(passed):
            report.numbers[f"champion_{test}"] = fmean(theirs)
            p = _chance_of_loss(passed, theirs)
            is_lost = fmean(theirs) - share > config.max_behaviour_loss
            is_met &= not (is_lost and p < (1 - config.confidence) / num_tests)
            reason += f" against the champion's {fmean(theirs):.0%} (p of a loss {p:.3f})"
        report.rule(is_met, reason)


def _chance_of_loss(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Exact one-sided McNemar test: probability of so many cases lost, were it a coin's toss."""
    from scipy.stats import binomtest

    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    won = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    if not lost:
        return 1.0
    return float(binomtest(lost, lost + won, alternative="greater").pvalue)
