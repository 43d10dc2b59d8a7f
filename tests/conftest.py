"""What every test shares: the repository's root, and an environment without surprises."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from deepicd.session import write_token

# No model hub is ever asked; a test that needs a model builds one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray reads its token once a process: one private token for every cluster that these tests start.
_TOKEN = write_token(Path(tempfile.mkdtemp(prefix="deepicd-tests-")) / "token")
os.environ["RAY_AUTH_TOKEN_PATH"] = str(_TOKEN)

# Deadlines measure the machine, not the code; a derandomised run is the same for everybody.
settings.register_profile("repository", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("repository")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]
