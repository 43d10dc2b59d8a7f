"""What is known of a candidate and of the champion → Decision, with reasons.

In: an `Examination` of both models, with their predictions for the same notes of the promotion
split, which no trial saw. Out: `records.Decision`; a rejection is a report, not an error. Decided
here:

- The candidate gains in hierarchical F1: the lower end of the paired interval (bootstrap by
  patient) lies above `min_difference`. A tie changes nothing.
- It is non-inferior in every chapter and group of patients with enough notes: the lower end of the
  difference lies above minus the margin. With too few notes to know, the answer is "undecided",
  with the number of notes that would be enough.
- Fewer than `min_patients` patients are too few: the gate does not judge.
- Its answers are usable, short and quick, and no behaviour test is lost beyond chance.

Whatever is looked at more than once is held to more. A comparison that brings the best of several
candidates, or uses a promotion split again, has wider intervals (`confidence_of`), and no rule ever
becomes easier to meet by that. All parts have to pass, so looking at more of them already makes
promotion harder (an intersection-union test, Berger 1982) and their intervals are not widened for
their number.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist, fmean

from deepicd import codes, scoring
from deepicd.config import PromotionConfig
from deepicd.errors import DataError
from deepicd.records import Decision, Examination, Prediction
from deepicd.scoring.bootstrap import PairedDifference, match_notes

_NONEXISTENT = ("unknown_code", "not_billable")
"""Reasons (`answers.FAULTS`) of an answer whose code nobody could bill."""
_POWER = 0.8
"""Chance that an equally good model is found non-inferior, at which notes count as enough."""
_MIN_TAIL = 10
_MAX_BOOTSTRAP = 100_000
"""Replicates that are wanted beyond either end of an interval, and the most that are drawn."""


@dataclass
class _Report:
    """Reasons collected so far; `is_accepted` turns False at the first rule that is not met."""

    is_accepted: bool = True
    reasons: list[str] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)

    def rule(self, is_met: bool, reason: str) -> None:
        self.is_accepted &= is_met
        self.reasons.append(f"{'met' if is_met else 'NOT met'}: {reason}")

    def undecided(self, reason: str, *, is_blocking: bool) -> None:
        self.is_accepted &= not is_blocking
        self.reasons.append(f"undecided{', which blocks' if is_blocking else ''}: {reason}")

    def mark_few(self, prefix: str, compared: PairedDifference) -> None:
        if compared.has_few_patients:
            self.numbers[f"{prefix}has_few_patients"] = 1.0


def confidence_of(config: PromotionConfig, *, num_candidates: int = 1, num_uses: int = 1) -> float:
    """Confidence of one interval, so that all of them together keep the configured one.

    The error that is allowed, 1 - `confidence`, is divided by the number of candidates (Bonferroni)
    and spent over the uses of a promotion split: its n-th use gets the share 1 / (n (n + 1)). These
    shares add up to 1 over any number of uses, so a split is never used up, only less sharp.
    """
    return 1 - (1 - config.confidence) / (num_candidates * num_uses * (num_uses + 1))


def gate(
    candidate: Examination,
    champion: Examination | None,
    *,
    config: PromotionConfig,
    seed: int,
    num_candidates: int = 1,
    num_uses: int = 1,
) -> Decision:
    """Compare on the same notes; `champion` is None while there is none.

    Args:
        candidate: what is known of the candidate.
        champion: the same of the champion.
        config: thresholds.
        seed: of the bootstrap.
        num_candidates: candidates of which the best is brought here.
        num_uses: comparisons on this promotion split, this one included.

    Numbers: `num_notes`, `num_patients`, `num_uses`, `confidence`, `candidate_*` and `champion_*`
    scores, `difference`, `low`, `high`, `p`; for each chapter (`chapter_N_*`) and group of patients
    (`ATTRIBUTE_GROUP_*`) that was compared `difference`, `low`, `high` and `needed` (notes that
    would be enough); `has_few_patients` (1) beside each interval that is widened because of that;
    `num_undecided`; and of each behaviour test the shares passed.

    Raises:
        DataError: no predictions, or the two do not cover the same notes with the same gold codes.
    """
    rows = candidate.predictions
    if not rows:
        raise DataError("the candidate has no predictions; predict on the promotion split first.")
    num_patients = len({row.patient_id for row in rows})
    if champion is not None and num_patients < config.min_patients:
        return refuse_to_judge(num_patients, config)
    report = _Report()
    report.numbers["num_notes"] = float(len(rows))
    report.numbers["num_patients"] = float(num_patients)
    _check_answers(report, rows, config)
    if champion is None:
        _check_behaviour(report, candidate, None, config=config)
        report.reasons.append("nobody is champion yet: there is nothing to beat")
    else:
        theirs = [row for _, row in match_notes(rows, champion.predictions)]
        confidence = confidence_of(config, num_candidates=num_candidates, num_uses=num_uses)
        pair = _Pair(rows, theirs, config, seed, confidence)
        report.numbers |= {"num_uses": float(num_uses), "confidence": confidence}
        _check_size(report, num_uses, pair)
        _check_gain(report, pair)
        _check_parts(report, pair)
        _check_length(report, pair)
        _check_seconds(report, candidate.seconds, champion.seconds, config=config)
        _check_behaviour(report, candidate, champion, config=config)
    return Decision(report.is_accepted, tuple(report.reasons), report.numbers)


def refuse_to_judge(num_patients: int, config: PromotionConfig) -> Decision:
    """The decision where too few patients are left: nothing was compared, nothing changes."""
    reason = (
        f"NOT judged: {num_patients} patients are left to compare on, and fewer than "
        f"{config.min_patients} say too little (promotion.min_patients). Build more notes, or "
        "judge on a promotion split of patients that neither model was trained on"
    )
    return Decision(False, (reason,), {"num_patients": float(num_patients)})


@dataclass(frozen=True)
class _Pair:
    """Both models' answers to the same notes in the same order, and how they are compared."""

    candidate: Sequence[Prediction]
    champion: Sequence[Prediction]
    config: PromotionConfig
    seed: int
    confidence: float
    """Of one interval."""

    def compare(self) -> PairedDifference:
        """Difference in hierarchical F1."""
        # A percentile needs replicates beyond it: the wider the interval, the more are drawn.
        needed = math.ceil(2 * _MIN_TAIL / (1 - self.confidence))
        return scoring.compare_paired(
            self.candidate,
            self.champion,
            num_bootstrap=max(self.config.num_bootstrap, min(needed, _MAX_BOOTSTRAP)),
            seed=self.seed,
        )

    def subset(self, at: Sequence[int]) -> "_Pair":
        """The notes at these places."""
        return replace(
            self,
            candidate=[self.candidate[i] for i in at],
            champion=[self.champion[i] for i in at],
        )

    def places(self, names: Callable[[Prediction], Iterable[str]]) -> dict[str, list[int]]:
        """Name → places of its notes."""
        by_name: dict[str, list[int]] = defaultdict(list)
        for index, prediction in enumerate(self.candidate):
            for name in names(prediction):
                by_name[name].append(index)
        # Sorted: the order of reasons must not follow that of the notes.
        return {name: by_name[name] for name in sorted(by_name)}

    def describe(self, compared: PairedDifference) -> str:
        """The difference and its interval in words."""
        low, high = compared.interval(self.confidence)
        few = f" of few patients ({compared.num_patients})" if compared.has_few_patients else ""
        interval = f"{self.confidence:.2%} interval {low:+.4f} to {high:+.4f}"
        return f"{compared.observed:+.4f}, {interval}{few}"


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
    share = fmean(row.reason in _NONEXISTENT for row in candidate)
    report.numbers["candidate_share_nonexistent"] = share
    report.rule(
        share <= config.max_nonexistent,
        f"{share:.1%} name a code that does not exist or cannot be billed (at most "
        f"{config.max_nonexistent:.1%})",
    )


def _check_size(report: _Report, num_uses: int, pair: _Pair) -> None:
    report.rule(
        # Always met: this is told, not judged.
        True,
        f"{report.numbers['num_patients']:.0f} patients are compared (at least "
        f"{pair.config.min_patients}); use {num_uses} of this promotion split, so every interval "
        f"is one of {pair.confidence:.2%}",
    )


def _check_gain(report: _Report, pair: _Pair) -> None:
    config = pair.config
    scores = scoring.score_predictions(pair.champion)
    report.numbers |= {f"champion_{name}": value for name, value in scores.items()}
    compared = pair.compare()
    gain, (low, high) = compared.observed, compared.interval(pair.confidence)
    report.numbers |= {"difference": gain, "low": low, "high": high, "p": compared.p}
    report.mark_few("", compared)
    report.rule(
        # Only a negative `min_difference` asks for a tie or a loss to be taken.
        gain >= config.min_difference and (gain > 0 or config.min_difference < 0),
        f"hierarchical F1 {report.numbers['candidate_hierarchical_f1']:.4f} against the champion's "
        f"{scores['hierarchical_f1']:.4f}: {pair.describe(compared)} "
        f"(wanted: a gain of at least {config.min_difference:.4f}; a tie changes nothing)",
    )
    if config.require_significance:
        report.rule(
            low > config.min_difference,
            f"the interval's lower end {low:+.4f} lies above {config.min_difference:.4f}",
        )


def _check_parts(report: _Report, pair: _Pair) -> None:
    config, num_undecided = pair.config, 0
    for what, names, least, margin in (
        ("chapters", _chapter, config.min_chapter_notes, config.max_chapter_loss),
        ("groups of patients", _groups, config.min_subgroup_notes, config.max_subgroup_loss),
    ):
        places = pair.places(names)
        judged = {
            name: _judge_part(report, name, pair.subset(at), margin=margin)
            for name, at in places.items()
            if len(at) >= least
        }
        lost = [reason for verdict, reason in judged.values() if verdict == "lost"]
        open_ones = [reason for verdict, reason in judged.values() if verdict == "undecided"]
        open_ones += [
            f"{name} ({len(at)} notes of at least {least})"
            for name, at in places.items()
            if len(at) < least
        ]
        num_undecided += len(open_ones)
        report.rule(
            not lost,
            f"of {len(judged)} {what} with at least {least} notes, {len(lost)} may have lost more "
            f"than {margin:.2f}" + (f": {'; '.join(lost)}" if lost else ""),
        )
        if open_ones:
            report.undecided(
                f"{len(open_ones)} {what} have too few notes to know: {'; '.join(open_ones)}",
                is_blocking=config.undecided_blocks,
            )
    report.numbers["num_undecided"] = float(num_undecided)


def _judge_part(report: _Report, name: str, subset: _Pair, *, margin: float) -> tuple[str, str]:
    """`passed`, `lost` or `undecided`, and the part in words.

    A part is in doubt only while its notes are too few and its difference itself is within the
    margin. Whether notes are enough is judged at the configured confidence: a wider interval makes
    it harder to pass and turns no loss into a doubt.
    """
    compared, confidence = subset.compare(), subset.config.confidence
    low, high = compared.interval(subset.confidence)
    plain_low, _ = compared.interval(confidence)
    num_notes = len(subset.candidate)
    half_width = compared.observed - plain_low
    needed = _notes_needed(num_notes, half_width, margin=margin, confidence=confidence)
    report.numbers |= {
        f"{name}_difference": compared.observed,
        f"{name}_low": low,
        f"{name}_high": high,
    }
    report.mark_few(f"{name}_", compared)
    text = f"{name} ({subset.describe(compared)})"
    enough = f"{num_notes} notes; no number of them shows that an equally good model lost nothing"
    # JSON has no infinity, and nobody can bring so many notes.
    if needed < math.inf:
        report.numbers[f"{name}_needed"] = needed
        enough = f"{num_notes} notes of about {needed:.0f} needed"
    if low > -margin:
        return "passed", text
    if compared.observed < -margin or num_notes >= needed:
        return "lost", text
    return "undecided", f"{text}, {enough}"


def _notes_needed(num_notes: int, half_width: float, *, margin: float, confidence: float) -> float:
    """Notes at which an equally good model is found non-inferior with probability `_POWER`, as far
    as these notes tell how much the difference scatters (it shrinks with the root of their number).
    """
    # Nothing scatters: more notes would tell nothing new.
    if half_width <= 0:
        return float(num_notes)
    # An equally good model lies on the margin itself: no number of notes shows it above.
    if margin <= 0:
        return math.inf
    normal = NormalDist()
    quantile = normal.inv_cdf((1 + confidence) / 2)
    # `half_width` is `quantile` standard errors.
    wanted = half_width * (quantile + normal.inv_cdf(_POWER)) / quantile
    return float(math.ceil(num_notes * (wanted / margin) ** 2))


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
) -> None:
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
            # Not divided by the number of tests: that would make a loss easier to overlook.
            is_met &= not (is_lost and p < 1 - config.confidence)
            reason += f" against the champion's {fmean(theirs):.0%} (p of a loss {p:.3f})"
        report.rule(is_met, reason)


def _chance_of_loss(ours: Sequence[bool], theirs: Sequence[bool]) -> float:
    """Exact one-sided McNemar test: probability of so many cases lost, were it a coin's toss."""
    from scipy.stats import binomtest

    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    won = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    # scipy takes no test without a case.
    if not lost:
        return 1.0
    return float(binomtest(lost, lost + won, alternative="greater").pvalue)
