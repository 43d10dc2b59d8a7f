"""Private code of others that we rely on: it must be what it was when it was read.

A row that fails says that upstream has changed the code behind a reach. Read the change, mend our
side, then set the version in `require_version` and the digest here.
"""

import hashlib
import inspect
from functools import reduce
from importlib import import_module

import pytest

REACHES: dict[str, str] = {}
"""`module:object` → first 12 characters of the SHA-256 of its source."""


def source_digest(reach: str) -> str:
    module, _, name = reach.partition(":")
    found = reduce(getattr, name.split("."), import_module(module)) if name else None
    source = inspect.getsource(found or import_module(module))
    return hashlib.sha256(source.encode()).hexdigest()[:12]


@pytest.mark.parametrize("reach", sorted(REACHES))
def test_upstream_has_not_changed_what_we_reach_into(reach):
    assert source_digest(reach) == REACHES[reach]


@pytest.mark.parametrize("reach", sorted(REACHES))
def test_the_list_of_reaches_names_it(root, reach):
    text = (root / "docs" / "decisions" / "upstream.md").read_text()
    assert reach.rpartition(":")[2].rpartition(".")[2] in text


def test_a_change_of_the_source_changes_the_digest():
    assert source_digest("hashlib:new") != source_digest("inspect:getsource")
