"""Which of verl's platforms this process was started for. Light: every process imports it."""

import os

PLATFORM_VARIABLE = "VERL_PLATFORM"
"""verl's own variable; it looks once a process."""


def is_cpu_platform() -> bool:
    """True when this process was started for the CPU profile."""
    return os.environ.get(PLATFORM_VARIABLE, "").strip().lower() == "cpu"
