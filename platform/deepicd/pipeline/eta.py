"""How long the rest of `deepicd run` will take on this machine.

In: the seconds that the finished stages took, and the size of the sweep. Out: seconds, and words
for them. The rule: the seconds recorded for the stages that are left (docs/timings.md: 2 cores, no
GPU, experiments/demo.toml), times how much slower or faster the finished stages were than recorded.
The recorded seconds of a sweep are one start and an equal share for each planned step of each
trial.

Decided here: `_PRIOR_S` seconds at the recorded speed count as finished from the beginning. The
first two stages take a few seconds and say little about a machine; SFT, the third, says much. The
estimate is rough for other experiments: only the sweep's size is taken into account.
"""

from collections.abc import Iterable, Mapping

RECORDED_S: Mapping[str, float] = {
    "notes": 38,
    "traces": 3,
    "model": 14,
    "sft": 253,
    "baselines": 89,
    "sweep": 967,
    "evaluation": 105,
    "promotion": 2,
    "deployment": 62,
    "report": 3,
}
"""Stage → seconds, as in the table of docs/timings.md."""

_SWEEP_START_S = 90.0
"""Of the recorded sweep: until its first trial's first step begins."""
_RECORDED_STEPS = 4 * 15
"""Trials times steps of the recorded sweep, as planned: some were stopped early."""
_PRIOR_S = 30.0


def seconds_left(
    finished: Mapping[str, float], *, left: Iterable[str], num_trials: int, total_steps: int
) -> float:
    """Seconds until the end of the last stage.

    Args:
        finished: stage → seconds that it took this process; stages of `RECORDED_S`.
        left: stages that are to be done.
        num_trials: trials of the sweep.
        total_steps: GRPO steps that each of them plans.
    """
    share = num_trials * total_steps / _RECORDED_STEPS
    sweep_s = _SWEEP_START_S + (RECORDED_S["sweep"] - _SWEEP_START_S) * share
    recorded = {**RECORDED_S, "sweep": sweep_s}
    recorded_s = sum(recorded[stage] for stage in finished)
    slowness = (sum(finished.values()) + _PRIOR_S) / (recorded_s + _PRIOR_S)
    remaining = set(left)
    return slowness * sum(s for stage, s in recorded.items() if stage in remaining)


def describe_left(seconds: float) -> str:
    """`about N minutes left`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute left"
    return f"about {minutes} minute{'s' if minutes > 1 else ''} left"
