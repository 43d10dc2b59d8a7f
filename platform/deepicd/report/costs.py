"""Where the seconds of the trials went, from `start/seconds` and verl's `timing_s/*`.

In: every report of every trial, one list each time that the sweep was started (a trial that went on
from a checkpoint has done some steps twice, and both were paid). Out: seconds by phase, a figure, a
table.
"""

from collections.abc import Mapping, Sequence

from deepicd.report.curves import History
from deepicd.report.html import GREY, PALETTE, Figure, Table, new_plot
from deepicd.training.grpo.metric_names import START_SECONDS, timing

Starts = Sequence[History]
"""Reports of one trial, one list each time that its sweep was started."""
_PHASES: Mapping[str, tuple[str, ...]] = {
    "rollout": ("gen",),
    "reward": ("reward",),
    "update": (
        "old_log_prob",
        "ref",
        "values",
        "adv",
        "update_critic",
        "update_actor",
        "update_weights",
    ),
    "validation": ("testing",),
    "checkpoint": ("save_checkpoint",),
}
"""Phase → verl's timers, which do not overlap."""
_START, _OTHER = "start", "other"
_MAX_BARS = 40


def seconds_by_phase(starts: Starts) -> dict[str, float]:
    """Phase → seconds; `other` is what is left of the time that the trial ran."""
    seconds = dict.fromkeys((_START, *_PHASES), 0.0)
    total = 0.0
    for rows in starts:
        # Tune's total runs on within one start, so its largest value is the whole start's.
        total += max((float(row.get("time_total_s", 0.0)) for row in rows), default=0.0)
        seconds[_START] += max((float(row.get(START_SECONDS, 0.0)) for row in rows), default=0.0)
        for phase, timers in _PHASES.items():
            keys = [timing(timer) for timer in timers]
            seconds[phase] += sum(float(row.get(key, 0.0)) for row in rows for key in keys)
    # Not below 0: Tune's clock and verl's timers are two.
    return {**seconds, _OTHER: max(0.0, total - sum(seconds.values()))}


def _spent_on(seconds: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Phases that took time."""
    phases = (_START, *_PHASES, _OTHER)
    return [phase for phase in phases if any(by_phase[phase] for by_phase in seconds.values())]


def phase_table(seconds: Mapping[str, Mapping[str, float]], num_gpus: int) -> Table:
    """All trials together, by phase."""
    total = sum(sum(by_phase.values()) for by_phase in seconds.values())
    rows = []
    for phase in _spent_on(seconds):
        spent = sum(by_phase[phase] for by_phase in seconds.values())
        rows.append(
            {
                "phase": phase,
                "seconds": round(spent, 1),
                "share": f"{spent / total:.1%}" if total else "–",
                "GPU-hours": round(spent * num_gpus / 3600, 4),
            }
        )
    return Table("All trials together", rows)


def draw_costs(seconds: Mapping[str, Mapping[str, float]]) -> Figure:
    """A stacked bar a trial."""
    names = list(seconds)[:_MAX_BARS]
    plot = new_plot(
        x="seconds", height=180 + 26 * len(names), barmode="stack", legend={"traceorder": "normal"}
    )
    colours = dict(zip((_START, *_PHASES, _OTHER), (*PALETTE[:6], GREY), strict=True))
    for phase in _spent_on(seconds):
        values, colour = [seconds[name][phase] for name in names], {"color": colours[phase]}
        plot.add_bar(name=phase, x=values, y=names, orientation="h", marker=colour)
    # plotly begins at the bottom.
    plot.update_yaxes(type="category", autorange="reversed")
    left = len(seconds) - len(names)
    rest = f" The other {left} trials are in the table only." if left else ""
    return Figure(
        "Seconds of each trial",
        "In the order they were started. Start: from the request until the first step could begin. "
        "Update: log probabilities, advantages, actor and the weights' way to the rollout engine. "
        f"Other: Ray Train's own start and end, and what no timer covers.{rest}",
        plot,
    )
