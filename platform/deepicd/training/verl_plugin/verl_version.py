"""The version of verl whose inside this room knows, in one place.

In: why somebody reaches into verl's private code. Out: nothing, or a refusal
(`upstream.require_version`). Both locks hold this version, so the guard stands on both roads.
`docs/decisions/upstream.md` lists every reach. Light: every process that imports verl imports this.
"""

from deepicd.upstream import require_version

_VERSION = "0.9.1"


def require_verl(why: str) -> None:
    """Raise UpstreamError unless verl is installed in the version that was read.

    Args:
        why: what is written for it, as the subject of a sentence.
    """
    require_version("verl", _VERSION, why)
