"""Predictions of a candidate and of the champion on one held-out split → Decision, with reasons.

In: predictions of both models for the same notes of the promotion split, which no trial saw. Out:
`records.Decision`; a rejection is a report, not an error. Decided here: the candidate must gain in
hierarchical F1 (a tie changes nothing), keep its share of unparsable answers low, and in no chapter
with enough notes be clearly worse than the champion. Intervals are paired bootstraps by patient
(`scoring.paired_bootstrap`). Where several hypotheses are looked at, the confidence of each is
raised by Bonferroni: over the chapters compared, and over `num_candidates` when the best of several
candidates is brought here.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from deepicd import codes, scoring
from deepicd.config import PromotionConfig
from deepicd.errors import DataError
from deepicd.records import Decision, Prediction
from deepicd.scoring.bootstrap import match_notes


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
    candidate: Sequence[Prediction],
    champion: Sequence[Prediction] | None,
    *,
    config: PromotionConfig,
    seed: int,
    num_candidates: int = 1,
) -> Decision:
    """Compare on the same notes; `champion` is None where nobody holds the title.

    Numbers: `num_notes`, `num_patients`, `candidate_*` and `champion_*` scores, `difference`,
    `low`, `high`, `p`, and `chapter_N_difference|low|high` for each chapter compared.

    Raises:
        DataError: no predictions, or the two do not cover the same notes with the same gold codes.
    """
    if not candidate:
        raise DataError("the candidate has no predictions; predict on the promotion split first.")
    report = _Report()
    report.numbers["num_notes"] = float(len(candidate))
    report.numbers["num_patients"] = float(len({p.patient_id for p in candidate}))
    _check_answers(report, candidate, config)
    if champion is None:
        report.reasons.append("nobody is champion yet: there is nothing to beat")
    else:
        champion = [row for _, row in match_notes(candidate, champion)]
        pair = _Pair(candidate, champion, config, seed, num_candidates)
        _check_gain(report, pair)
        _check_chapters(report, pair)
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

    def by_chapter(self) -> dict[str, "_Pair"]:
        """The notes of each gold chapter that has enough of them."""
        groups: dict[str, list[int]] = defaultdict(list)
        for index, prediction in enumerate(self.candidate):
            groups[codes.chapter(prediction.gold)].append(index)
        kept = {name: at for name, at in groups.items() if len(at) >= self.config.min_chapter_notes}
        return {
            name: replace(
                self,
                candidate=[self.candidate[i] for i in at],
                champion=[self.champion[i] for i in at],
                num_tests=self.num_tests * len(kept),
            )
            for name, at in sorted(kept.items())
        }

    def describe(self, found: Mapping[str, float]) -> str:
        """The difference and its interval in words."""
        interval = f"{found['low']:+.4f} to {found['high']:+.4f}"
        return f"{found['difference']:+.4f}, {self.confidence:.2%} interval {interval}"


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


def _check_gain(report: _Report, pair: _Pair) -> None:
    config = pair.config
    scores = scoring.score_predictions(pair.champion)
    report.numbers |= {f"champion_{name}": value for name, value in scores.items()}
    found = pair.compare()
    report.numbers |= {name: found[name] for name in ("difference", "low", "high", "p")}
    gain = found["difference"]
    report.rule(
        gain >= config.min_difference and (gain > 0 or config.min_difference < 0),
        f"hierarchical F1 {report.numbers['candidate_hierarchical_f1']:.4f} against the champion's "
        f"{scores['hierarchical_f1']:.4f}: {pair.describe(found)} "
        f"(wanted: a gain of at least {config.min_difference:.4f}; a tie changes nothing)",
    )
    if config.require_significance:
        report.rule(
            found["low"] > config.min_difference,
            f"the interval's lower end {found['low']:+.4f} lies above {config.min_difference:.4f}",
        )


def _check_chapters(report: _Report, pair: _Pair) -> None:
    chapters = pair.by_chapter()
    lost = []
    for name, notes in chapters.items():
        found = notes.compare()
        for key in ("difference", "low", "high"):
            report.numbers[f"chapter_{name}_{key}"] = found[key]
        if found["high"] < -pair.config.max_chapter_loss:
            lost.append(f"{name} ({notes.describe(found)})")
    report.rule(
        not lost,
        f"of {len(chapters)} chapters with at least {pair.config.min_chapter_notes} notes, "
        f"{len(lost)} lost more than {pair.config.max_chapter_loss:.2f} beyond doubt"
        + (f": {', '.join(lost)}" if lost else ""),
    )
