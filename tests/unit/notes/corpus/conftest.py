"""Fixtures of the corpus's tests."""

import pytest

from deepicd.notes.corpus.profiles import Knowledge, load_knowledge


@pytest.fixture(scope="session")
def knowledge() -> Knowledge:
    """All authored profiles."""
    return load_knowledge()
