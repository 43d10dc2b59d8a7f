"""A guard for code that knows the inside of a library: it runs with the version it was read in.

In: a package, the version whose private code was read, and why it is needed. Out: nothing, or a
refusal. Decided here: a reach into private code is right for one version only; with another one it
may do something else silently, so it is refused. `docs/decisions/upstream.md` lists every reach,
and `tests/ray/test_upstream.py` fails when the code behind one has changed.
"""

from functools import cache
from importlib.metadata import version

from deepicd.errors import UpstreamError


# Some callers stand where every tensor passes (`reshard.cut`); a version is read from disk.
@cache
def require_version(package: str, wanted: str | tuple[str, ...], why: str) -> None:
    """Raise UpstreamError unless `package` is installed in a version of `wanted`.

    Args:
        package: name of the distribution, as `pip` knows it.
        wanted: the version whose private code the caller was written for, or several where the
            code of each was read (the CPU and the GPU lock hold different ones).
        why: what is written for that version, as the subject of a sentence ("the CPU patch").
    """
    installed = version(package)
    versions = (wanted,) if isinstance(wanted, str) else wanted
    if installed not in versions:
        raise UpstreamError(
            f"{why} is written for {package} {' or '.join(versions)}; installed is {installed}. "
            "Install the locked set, or review docs/decisions/upstream.md against the new version."
        )
