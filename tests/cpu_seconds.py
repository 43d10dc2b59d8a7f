"""CPU seconds of a command with all that it starts, as JSON: whole, and by kind of process.

    python tests/cpu_seconds.py .venv/bin/deepicd run experiments/demo.toml --name measured

On a machine that others use too, wall time measures them; CPU seconds much less. Each process is
looked at twice a second, so what it does after the last look is missing: half a second a process at
most. The kernel's own sum for children cannot be used, since Ray's raylet never waits for its
workers. What outlives its parent is found, because it becomes this process's child (Linux). What
the command says goes to standard error.
"""

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.5


def name_of(process: psutil.Process) -> str:
    """Ray's name of a worker, a module, or a program."""
    words = process.cmdline() or [process.name()]
    if words[0].startswith("ray::"):
        return words[0].split("(")[0]
    if "-m" in words[:-1]:
        return words[words.index("-m") + 1]
    scripts = [word for word in words[1:4] if word.endswith(".py") or "bin/" in word]
    return Path(scripts[0] if scripts else words[0].split()[0]).name


class Watch:
    """Reads the processes below this one, until it is closed."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], tuple[str, float]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> Counter[str]:
        """Name → seconds."""
        self._over.set()
        self._thread.join()
        seconds: Counter[str] = Counter()
        for name, spent in self._seen.values():
            seconds[name] += spent
        return seconds

    def _run(self) -> None:
        while not self._over.wait(_LOOK_S):
            for process in psutil.Process().children(recursive=True):
                try:
                    times, key = process.cpu_times(), (process.pid, process.create_time())
                    self._seen[key] = (name_of(process), times.user + times.system)
                except psutil.Error:  # it has just ended
                    continue


def measure(command: list[str]) -> dict[str, object]:
    """Run a command to its end, and to the end of all that it has started."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    load, began, watch = os.getloadavg()[0], time.monotonic(), Watch()
    exit_code = subprocess.Popen(command, stdout=sys.stderr).wait()
    try:
        while True:
            os.wait()
    except ChildProcessError:  # nobody is left
        wall_s = time.monotonic() - began
    seconds = watch.close()
    return {
        "exit_code": exit_code,
        "cpu_s": round(seconds.total(), 1),
        "wall_s": round(wall_s, 1),
        "cores": os.cpu_count(),
        "load_before": round(load, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "cpu_s_by_process": {
            name: round(spent, 1) for name, spent in seconds.most_common() if spent >= 1
        },
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1:]), indent=2))
