"""Say whether the locks hold what `pyproject.toml` asks for, without a network.

In: `pyproject.toml`, `requirements/cpu.lock`, `requirements/gpu.lock`, the overrides of the CPU
profile, and the metadata of the packages that are installed here. Out: one line for each
requirement that a lock does not hold, and exit code 1.

Decided here: a requirement is held when its name is pinned and the pin lies in its range. What a
package with its extras requires in turn is read from the installed package, where the installed
version is the one that is locked: the whole of the CPU lock after `make setup`, the shared part of
the GPU lock. Nothing is resolved; `make lock` does that.

    python scripts/check_locks.py [ROOT]
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

# Profile → the extras of pyproject.toml that its lock was made from, as in `make lock`.
PROFILES = {"cpu": ("cpu", "dev"), "gpu": ("gpu", "dev")}
# The interpreter and platform that both locks are for (`--python-platform` in the Makefile).
TARGET = {
    **default_environment(),
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_version": "3.11",
    "sys_platform": "linux",
}


def read_pins(lock: Path) -> dict[str, Version]:
    """Name in its canonical form → pinned version."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in pins}


def read_requirements(root: Path, extras: tuple[str, ...]) -> list[Requirement]:
    """What the project and these extras of it ask for."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    optional = project.get("optional-dependencies", {})
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [Requirement(line) for line in lines]


def read_overridden(overrides: Path) -> set[str]:
    """Names whose requirements the overrides replace; they are not looked up."""
    lines = overrides.read_text().splitlines() if overrides.exists() else []
    return {
        canonicalize_name(Requirement(line).name)
        for line in lines
        if line.strip() and not line.startswith("#")
    }


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Whether a requirement is asked for by a package that is wanted with these extras."""
    marker = requirement.marker
    environments = [{**TARGET, "extra": extra} for extra in ("", *extras)]
    return marker is None or any(marker.evaluate(environment) for environment in environments)


def _requirements_of(name: str, version: Version, extras: frozenset[str]) -> Iterator[Requirement]:
    """What a locked package requires, as far as that version is installed here."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return
    if Version(found.version) == version:
        for line in found.requires or []:
            if _applies(requirement := Requirement(line), extras):
                yield requirement


def find_gaps(
    wanted: list[Requirement], pins: dict[str, Version], overridden: frozenset[str] = frozenset()
) -> list[str]:
    """One line for each requirement, direct or not, that the pins do not hold."""
    gaps: list[str] = []
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(requirement, "pyproject.toml") for requirement in wanted]
    while waiting:
        requirement, asked_by = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in overridden:
            continue
        pinned = pins.get(name)
        if pinned is None or not requirement.specifier.contains(pinned, prereleases=True):
            state = "no pin" if pinned is None else f"{pinned} is pinned"
            gaps.append(f"{requirement} is wanted by {asked_by}; {state}")
        elif (name, extras) not in seen:
            seen.add((name, extras))
            more = _requirements_of(name, pinned, extras)
            waiting += [(inner, f"{name} {pinned}") for inner in more]
    return sorted(set(gaps))


def main(root: Path) -> int:
    """Print every gap of both locks; 1 when there is one."""
    gaps = [
        f"requirements/{profile}.lock: {gap}. Run `make lock`."
        for profile, extras in PROFILES.items()
        for gap in find_gaps(
            read_requirements(root, extras),
            read_pins(root / "requirements" / f"{profile}.lock"),
            frozenset(read_overridden(root / "requirements" / f"{profile}-overrides.txt")),
        )
    ]
    print("\n".join(gaps) or "Both locks hold what pyproject.toml asks for.")
    return int(bool(gaps))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[1]))
