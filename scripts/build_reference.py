"""Write the API reference: one Markdown page a room, from the docstrings of its modules.

In: `platform/deepicd`. Out: `docs/reference/ROOM.md` for each room.
Decided here: the source is parsed and not imported, so that Ray, verl and vLLM need not start, and
a docstring is Markdown, as it is written. Public is what has a docstring and no leading underscore.

    python scripts/build_reference.py [ROOT]
"""

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):$", re.MULTILINE)
ENTRY = re.compile(r"^    (\*{0,2}[\w.]+):", re.MULTILINE)
Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstring_of(node: ast.Module | Documented) -> str:
    """A docstring as Markdown: sections in bold, what they list as a list."""
    parts = SECTION.split(ast.get_docstring(node) or "")
    text = parts[0].rstrip()
    for title, body in zip(parts[1::2], parts[2::2], strict=True):
        listed = ENTRY.sub(r"- `\1`:", body)
        text += f"\n\n**{title}**\n\n" + re.sub(r"^ {4}", "  ", listed, flags=re.MULTILINE).strip()
    return text


def signature_of(node: Documented) -> str:
    """The head of a class or function, without decorators and body."""
    shell = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(shell, Documented)
    shell.decorator_list, shell.body = [], [ast.Expr(ast.Constant(...))]
    return ast.unparse(shell).rsplit("\n", 1)[0].rstrip(":")


def attributes_of(node: ast.ClassDef | ast.Module) -> Iterator[str]:
    """A line for each variable that is followed by a docstring of its own."""
    for variable, text in zip(node.body, node.body[1:], strict=False):
        named = variable.target if isinstance(variable, ast.AnnAssign) else None
        if isinstance(variable, ast.Assign):
            named = variable.targets[0]
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(named, ast.Name) and is_text and not named.id.startswith("_"):
            yield f"- `{named.id}`: " + " ".join(str(text.value.value).split())


def describe(node: Documented, level: int, prefix: str = "") -> Iterator[str]:
    """Heading, signature and docstring of a class or function, then of a class's methods."""
    yield f"{'#' * level} {prefix}{node.name}"
    yield f"```python\n{signature_of(node)}\n```"
    yield docstring_of(node)
    if isinstance(node, ast.ClassDef):
        yield "\n".join(attributes_of(node))
        for child in public(node.body):
            yield from describe(child, level + 1, f"{node.name}.")


def public(body: list[ast.stmt]) -> list[Documented]:
    """What others may use: documented, and without an underscore."""
    return [
        node
        for node in body
        if isinstance(node, Documented) and not node.name.startswith("_")
        if ast.get_docstring(node)
    ]


def page_of(room: str, files: list[Path], package: Path) -> str:
    """The reference of one room."""
    blocks = [f"# {room}"]
    for path in files:
        tree = ast.parse(path.read_text())
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts)
        blocks += [f"## {name.removesuffix('.__init__')}", docstring_of(tree)]
        blocks += ["\n".join(attributes_of(tree))]
        blocks += [block for node in public(tree.body) for block in describe(node, 3)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def build(root: Path) -> list[Path]:
    """Write every page anew; return them in order."""
    package, out = root / "platform" / "deepicd", root / "docs" / "reference"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    rooms: dict[str, list[Path]] = {}
    for path in sorted(package.rglob("*.py")):
        rooms.setdefault(path.relative_to(package).parts[0].removesuffix(".py"), []).append(path)
    pages = []
    for room, files in sorted(rooms.items()):
        if not room.startswith("__"):
            pages.append(out / f"{room}.md")
            pages[-1].write_text(page_of(room, files, package))
    return pages


if __name__ == "__main__":
    build(Path(sys.argv[1] if sys.argv[1:] else "."))
