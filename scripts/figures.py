"""Print the house's figures: how large, how plain and how well tested the code is.

In: a checkout with `platform/deepicd` and `tests`. Out: one line a figure. Decided here: lines are
lines of the file; a function's are those from `def` to its end, docstring included. McCabe's number
is 1 and one more for each branch, loop, handler, case and comprehension. A folder's modules are
those of the package that lie in it, `__init__.py` aside. A comment counts that has
a line of its own; code lines are neither blank nor such comments nor docstrings. A reach into
private code is a name with one leading underscore that a file takes from `LIBRARIES`: imported,
read from `super()`, or read from an object where no file of ours defines that name. A reach that
has no such name (an internal option) is not found; `docs/decisions/upstream.md` lists every one.

    python scripts/figures.py [ROOT]
"""

import ast
import re
import sys
from collections import Counter
from itertools import chain
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

LIBRARIES = {"ray", "torch", "transfer_queue", "verl", "vllm"}
MOCK = re.compile(
    r"\b(?:Magic|Async)?Mock\(|\bmocker\b|\bmock\.|@patch\b|\bpatch\.(?:object|dict)\("
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
BRANCHES = (
    *(ast.If, ast.For, ast.AsyncFor, ast.While),
    *(ast.ExceptHandler, ast.match_case, ast.comprehension),
)


class File(NamedTuple):
    """One module: where it lies, its text, its syntax tree flattened."""

    path: Path
    text: str
    nodes: list[ast.AST]


def read_files(folder: Path) -> list[File]:
    """Every module below a folder."""
    texts = [(path, path.read_text()) for path in sorted(folder.rglob("*.py"))]
    return [File(path, text, list(ast.walk(ast.parse(text)))) for path, text in texts]


def spread(values: list[int]) -> str:
    """Median, ninth decile and largest."""
    ninth = quantiles(values, n=10, method="inclusive")[8] if values[1:] else sum(values)
    return f"{median(values):.0f} / {ninth:.0f} / {max(values)}"


def mccabe(function: ast.AST) -> int:
    """Ways through a function that are independent of each other."""
    return 1 + sum(isinstance(node, BRANCHES) for node in ast.walk(function))


def is_annotated(function: Function) -> bool:
    """Whether what it returns and every parameter but `self` and `cls` has a type."""
    signature = function.args
    named = [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]
    starred = [one for one in (signature.vararg, signature.kwarg) if one]
    typed = [one.annotation for one in [*named, *starred] if one.arg not in {"self", "cls"}]
    return function.returns is not None and all(typed)


def num_comments(file: File) -> int:
    """Comments that have a line of their own, shebangs aside."""
    return len(re.findall(r"^\s*#(?!!)", file.text, re.MULTILINE))


def num_code_lines(file: File) -> int:
    """Lines that are neither blank nor comments nor docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [
        node.body[0].end_lineno - node.body[0].lineno + 1
        for node in file.nodes
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None
    ]
    filled = sum(bool(line.strip()) for line in file.text.splitlines())
    return filled - num_comments(file) - sum(docstrings)


def own_names(files: list[File]) -> set[str]:
    """Names that files of ours define: functions, classes, variables and attributes."""
    names = set()
    for node in chain.from_iterable(file.nodes for file in files):
        if isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


def is_private(name: str) -> bool:
    """Whether a dotted name has a part with one leading underscore."""
    return any(re.match(r"_[^_]", part) for part in name.split("."))


def reaches_of(file: File, ours: set[str]) -> list[str]:
    """`library name` or `.name` of each private thing that a file takes from a library."""
    imported: list[str] = []
    for node in file.nodes:
        if isinstance(node, ast.Import):
            imported += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported += [f"{node.module}.{one.name}" for one in node.names]
    foreign = [name for name in imported if name.partition(".")[0] in LIBRARIES]
    read = [
        f".{node.attr}"
        for node in file.nodes
        if isinstance(node, ast.Attribute) and is_private(node.attr)
        if node.attr not in ours or ast.unparse(node.value) == "super()"
    ]
    return [name for name in foreign if is_private(name)] + (read if foreign else [])


def measure(root: Path) -> dict[str, str]:
    """Every figure of a checkout, in the order in which they are printed."""
    files, tests = read_files(root / "platform" / "deepicd"), read_files(root / "tests")
    nodes = list(chain.from_iterable(file.nodes for file in files))
    functions = [node for node in nodes if isinstance(node, Function)]
    lines = [len(file.text.splitlines()) for file in files]
    test_lines = sum(len(file.text.splitlines()) for file in tests)
    modules = [file.path for file in files if file.path.name != "__init__.py"]
    folders = list(Counter(path.parent for path in modules).values())
    complex_share = sum(mccabe(one) > 10 for one in functions) / len(functions)
    comments, code = sum(map(num_comments, files)), sum(map(num_code_lines, files))
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    guards = sum(isinstance(one, ast.Name) and one.id == "require_version" for one in calls)
    ours = own_names(files)
    return {
        "files": str(len(files)),
        "file lines: median / p90 / max": spread(lines),
        "functions": str(len(functions)),
        "function lines: median / p90 / max": spread(
            [node.end_lineno - node.lineno + 1 for node in functions]
        ),
        "McCabe > 10": f"{complex_share:.2%}",
        "own-line comments / 100 code lines": f"{100 * comments / code:.1f}",
        "annotated": f"{sum(map(is_annotated, functions)) / len(functions):.0%}",
        "modules per folder: median / max": f"{median(folders):.0f} / {max(folders)}",
        "test / source lines": f"{test_lines / sum(lines):.2f}",
        "mocks / 1,000 test lines": (
            f"{1000 * sum(len(MOCK.findall(file.text)) for file in tests) / test_lines:.1f}"
        ),
        "calls of require_version": str(guards),
        "reaches into private code": str(sum(len(reaches_of(file, ours)) for file in files)),
    }


if __name__ == "__main__":
    for name, value in measure(Path(sys.argv[1] if sys.argv[1:] else ".")).items():
        print(f"{name:<40} {value}")
