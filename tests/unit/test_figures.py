"""The house's figures: each is counted by hand in a checkout of three files and one test."""

import ast
import runpy

import pytest


@pytest.fixture(scope="module")
def figures(root):
    return runpy.run_path(str(root / "scripts" / "figures.py"))


FIRST = '''"""A module
of two lines."""

# A line of its own.
import ray  # not one of its own
from ray._private import services


def add(a: int, *more: int) -> int:
    """Add."""
    return sum(x for x in more if x) + a


class Sum:
    def __init__(self, start):
        self._start = start

    def value(self) -> int:
        return self._start + self._cluster + super()._start
'''
TEST = (
    """def test_a(): ...


def test_b():
    assert Mo"""
    + "ck(1)\n"
)


@pytest.fixture
def checkout(tmp_path):
    inner = tmp_path / "platform" / "deepicd" / "inner"
    inner.mkdir(parents=True)
    (inner.parent / "first.py").write_text(FIRST)
    (inner / "__init__.py").touch()
    (inner / "second.py").write_text('require_version("ray", "2", "this")\n')
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_first.py").write_text(TEST)
    return tmp_path


def test_the_figures_of_a_small_checkout_are_those_counted_by_hand(figures, checkout):
    assert figures["measure"](checkout) == {
        "files": "3",
        "file lines: median / p90 / max": "1 / 15 / 19",
        "functions": "3",
        "function lines: median / p90 / max": "2 / 3 / 3",
        "McCabe > 10": "0.00%",
        # 9 lines of code: two imports, two of `add`, five of `Sum`; and one in the other file
        "own-line comments / 100 code lines": "10.0",
        "annotated": "67%",
        # `__init__.py` is no module of its folder
        "modules per folder: median / max": "1 / 1",
        "test / source lines": "0.25",
        "mocks / 1,000 test lines": "200.0",
        "calls of require_version": "1",
        # ray._private, ._cluster and super()._start; ._start alone is our own
        "reaches into private code": "3",
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if a: pass\nelif b: pass\nelse: pass", 3),
        ("for a in b: pass\nwhile a: pass", 3),
        ("try: pass\nexcept A: pass\nexcept B: pass", 3),
        ("match a:\n  case 1: pass\n  case _: pass", 3),
        ("return [x for x in y for z in x]", 3),
        ("return a and b or c", 1),
    ],
)
def test_mccabe_counts_branches_loops_handlers_cases_and_comprehensions(figures, body, expected):
    inner = "\n".join(f"  {line}" for line in body.splitlines())
    assert figures["mccabe"](ast.parse(f"def f():\n{inner}")) == expected


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("f() -> None", True),
        ("f(self, a: int) -> None", True),
        ("f(a: int)", False),
        ("f(a) -> None", False),
        ("f(*args) -> None", False),
        ("f(*, b: int, **kw: int) -> None", True),
    ],
)
def test_a_function_is_annotated_when_all_that_it_takes_and_returns_is(
    figures, signature, expected
):
    (function,) = ast.parse(f"def {signature}: pass").body
    assert figures["is_annotated"](function) == expected


def test_everything_here_is_annotated_and_nothing_mocked(figures, root):
    found = figures["measure"](root)
    assert found["annotated"] == "100%"
    assert found["mocks / 1,000 test lines"] == "0.0"
