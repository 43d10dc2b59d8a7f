"""The API reference says what the docstrings say, as Markdown, of what is public."""

import runpy

import pytest


@pytest.fixture(scope="module")
def reference(root):
    return runpy.run_path(str(root / "scripts" / "build_reference.py"))


MODULE = '''"""A module.

    drawn as it stands

And more.
"""

LIMIT = 3
"""How many
there may be."""
_HIDDEN = 1
"""Nobody's business."""


class Box:
    """Holds things."""

    size: int = 1
    """In litres."""

    @property
    def half(self) -> float:
        """Half the size."""
        return self.size / 2

    def _inner(self) -> None:
        """Hidden."""


def fill(box: Box, *, times: int = 1) -> list[str]:
    """Fill a box.

    Args:
        box: what is filled.
        times: how often,
            at least once.

    Raises:
        ValueError: it is full.
    """
    return []


def bare() -> None: ...
'''

PAGE = """# inner

## deepicd.inner.first

A module.

    drawn as it stands

And more.

- `LIMIT`: How many there may be.

### Box

```python
class Box
```

Holds things.

- `size`: In litres.

#### Box.half

```python
def half(self) -> float
```

Half the size.

### fill

```python
def fill(box: Box, *, times: int=1) -> list[str]
```

Fill a box.

**Args**

- `box`: what is filled.
- `times`: how often,
      at least once.

**Raises**

- `ValueError`: it is full.
"""


@pytest.fixture
def checkout(tmp_path):
    inner = tmp_path / "platform" / "deepicd" / "inner"
    inner.mkdir(parents=True)
    (inner / "first.py").write_text(MODULE)
    (inner.parent / "alone.py").write_text('"""One module is a room too."""\n')
    (inner.parent / "__main__.py").write_text('"""Not a room."""\n')
    return tmp_path


def test_a_page_holds_what_is_public_and_documented_in_a_room(reference, checkout):
    pages = reference["build"](checkout)
    assert [page.name for page in pages] == ["alone.md", "inner.md"]
    assert pages[1].read_text() == PAGE


def test_a_page_of_a_room_that_is_gone_goes_too(reference, checkout):
    old = checkout / "docs" / "reference" / "old.md"
    old.parent.mkdir(parents=True)
    old.write_text("# old\n")
    reference["build"](checkout)
    assert not old.exists()


def test_every_page_of_the_docs_is_in_the_table_of_contents(root):
    contents = (root / "docs" / "contents.rst").read_text().split()
    listed = {f"{name}.md" for name in contents} | {"contents.md"}
    assert {page.name for page in (root / "docs").glob("*.md")} <= listed
