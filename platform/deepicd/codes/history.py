"""How codes changed: what followed a retired code, and what to use instead of a refused one."""

from typing import Any

from deepicd.codes.near import find_node, near_codes
from deepicd.codes.table import (
    RELEASES,
    billable_releases,
    dotted,
    exists,
    is_billable,
    load_table,
    normalise,
    releases,
    require,
    title,
)
from deepicd.codes.tree import ancestors, children, codes_below, parent, path, siblings
from deepicd.errors import CodeError


def parse(text: str, release: int | None = None) -> str:
    """Canonical form of a billable code, checked.

    Raises:
        CodeError: no such billable code in the release (in any release when None), or an unknown
            release; names the code's last release and successors where it was retired.
    """
    code = normalise(text)
    if is_billable(code, release):
        return code
    where = "any release" if release is None else f"FY{release}"
    raise CodeError(f"not a billable ICD-10-CM code of {where}: {text[:32]!r}{_advise(code)}")


def successors(code: str) -> tuple[str, ...]:
    """Codes that took the place of a retired code, sorted; empty for a code that is billable in the
    newest release.

    The sources hold no conversion table, so this is derived, first rule that finds something:
    billable codes below it (`M5136` → `M51360` ...); codes that fill its placeholders and else
    equal it (`T814XXA` → `T8140XA` ...); the nearest ancestor that became billable
    (`H8141` → `H814`); codes that began under the same parent in the first release without it.

    Raises:
        CodeError: the code does not exist, or is a header that never was billable.
    """
    code = require(code)
    years = billable_releases(code)
    if not years:
        raise CodeError(
            f"only codes that were billable have successors; {dotted(code)} is a header in every"
            " release"
        )
    if years[-1] == RELEASES[-1]:
        return ()
    # The first release without it: codes that began later replaced something else.
    gone = RELEASES[RELEASES.index(years[-1]) + 1]
    below = tuple(c for c in codes_below(code) if is_billable(c, gone))
    rules = (_fill_placeholders, _merged_ancestor, _new_siblings)
    return below or next(filter(None, (rule(code, gone) for rule in rules)), ())


def describe(node: str) -> dict[str, Any]:
    """All facts on a code, block or chapter, as plain values ready for JSON.

    Raises:
        CodeError: no such node.
    """
    node = _find(node)
    if node not in load_table().masks:
        above = parent(node)
        path_titles = {name: title(name) for name in filter(None, (above, node))}
        return {"node": node, "title": title(node), "path": path_titles} | {
            "children": [_written(c) for c in children(node)]
        }
    years = billable_releases(node)
    return {
        "code": dotted(node),
        "title": title(node),
        "billable": is_billable(node, RELEASES[-1]),
        "path": {_written(n): title(n) for n in path(node)},
        "releases": list(releases(node)),
        "billable_in": list(years),
        "siblings": list(map(dotted, siblings(node))),
        "children": list(map(dotted, children(node))),
        "successors": list(map(dotted, successors(node))) if years else [],
    }


def _written(node: str) -> str:
    """A code with its dot, a block or chapter as it is."""
    return dotted(node) if exists(node) else node


def _find(text: str) -> str:
    near = near_codes(text)
    if (node := find_node(text)) or not near:
        return node or require(text)
    raise CodeError(
        f"not an ICD-10-CM code of any release from FY{RELEASES[0]} to FY{RELEASES[-1]}: "
        f"{text[:32]!r}; near it: {', '.join(map(_written, near))}"
    )


def _fill_placeholders(code: str, release: int) -> tuple[str, ...]:
    """Codes that differ from `code` only where it has a placeholder `X`."""
    # From the fourth character on: categories of chapter XX may begin with an X.
    if "X" not in code[3:]:
        return ()
    candidates = codes_below(code[: code.index("X", 3)])
    return tuple(c for c in candidates if _fits(c, code) and is_billable(c, release))


def _fits(candidate: str, code: str) -> bool:
    pairs = zip(candidate, code, strict=False)
    return len(candidate) == len(code) and all(
        letter == wanted or wanted == "X" for letter, wanted in pairs
    )


def _merged_ancestor(code: str, release: int) -> tuple[str, ...]:
    above = (node for node in ancestors(code) if is_billable(node, release))
    return tuple(above)[:1]


def _new_siblings(code: str, release: int) -> tuple[str, ...]:
    # Of the siblings only those that are new: the others stood beside the retired code.
    before = RELEASES[RELEASES.index(release) - 1]
    above = path(code)[-2]
    candidates = codes_below(above) if above in load_table().masks else ()
    return tuple(c for c in candidates if is_billable(c, release) and not is_billable(c, before))


def _advise(code: str) -> str:
    """What to use instead of a code that is not billable, as the end of an error message."""
    years = billable_releases(code)
    if years:
        following = ", ".join(map(dotted, successors(code)[:4]))
        return f" (billable in FY{years[0]} to FY{years[-1]}" + (
            f"; now {following})" if following else ")"
        )
    below = [dotted(c) for c in codes_below(code) if is_billable(c)][:3] if exists(code) else []
    if below:
        return f"; it is a header, use a code below it such as {', '.join(below)}"
    near = ", ".join(map(_written, near_codes(code)))
    return f"; near it: {near}" if near else ""
