"""How long a sweep can still take: its estimated time of arrival (ETA).

In: when trials start, report and end, in seconds of a monotonic clock. Out: seconds left. Decided
here: a trial's first step carries what its start costs; the later ones give the mean seconds of a
step.
"""

import heapq


class SweepEta:
    """Seconds that a sweep's trials can still take, from those that its steps took so far.

    "At most": a trial that a scheduler stops early, or that fails, takes less.
    """

    def __init__(self, num_trials: int, total_steps: int, *, at_once: int = 1) -> None:
        self._to_start = num_trials
        self._at_once = at_once
        self._total_steps = total_steps
        self._start_s = 0.0
        self._step_s = 0.0
        self._running: dict[str, tuple[int, float, float]] = {}

    def start(self, trial: str, now: float) -> None:
        """A trial starts; one that starts again (after a failure) is the same trial."""
        if trial not in self._running:
            self._to_start = max(0, self._to_start - 1)
        self._running[trial] = (0, now, now)

    def advance(self, trial: str, step: int, now: float) -> None:
        """A trial has done `step` steps. The first one carries what starting costs."""
        done, began, first = self._running.get(trial, (0, now, now))
        if done == 0 and step > 0:
            self._start_s, first = now - began, now
        elif step > 1:
            self._step_s = (now - first) / (step - 1)
        self._running[trial] = (step, began, first)

    def end(self, trial: str) -> None:
        """A trial takes no more time."""
        self._running.pop(trial, None)

    def remaining_s(self, trial: str) -> tuple[float, float]:
        """Seconds left in this trial, and at most in the whole sweep."""
        of_running = {
            name: (self._total_steps - done) * self._step_s
            for name, (done, _, _) in self._running.items()
        }
        # Seconds until each of the trials that may run at once is free; idle ones are free now.
        slots = [*of_running.values(), *[0.0] * (self._at_once - len(of_running))]
        heapq.heapify(slots)
        whole = self._start_s + (self._total_steps - 1) * self._step_s
        for _ in range(self._to_start):  # each on the slot that is free first
            heapq.heapreplace(slots, slots[0] + whole)
        return of_running.get(trial, 0.0), max(slots)


def clock(seconds: float) -> str:
    """A duration for people: `0:42`, `12:05`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
