"""Waiting for processes to end."""

import time
from collections.abc import Iterable

import psutil


def wait_until_gone(
    processes: Iterable[psutil.Process], *, timeout_s: float = 30
) -> list[psutil.Process]:
    """Wait for processes to end; returns those that have not.

    psutil's own `wait_procs` opens each process by its id. Some kernels refuse that with another
    error than it expects when the process is gone.
    """
    left, deadline = list(processes), time.monotonic() + timeout_s
    while (left := [process for process in left if _is_alive(process)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    return left


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
