"""Memory or disk that ran out in a stage: one line with the way out, and an exit code of its own.

In: any error on its way out of a stage. Out: `ExhaustedError` where the machine had no memory or no
disk left, else the error as it is. Decided here: libraries report a full disk in several ways (an
errno, or only its text), so the chain of causes is searched for both. A thread of a library that
ends for lack of memory takes the stage with it: what waits for it would wait for ever.
"""

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepicd.errors import ExhaustedError

_GPU = ("cuda out of memory", "cuda error: out of memory")
# `os error 28` is how libraries in Rust say it.
_DISK = ("no space left on device", "os error 28", "disk quota exceeded")
_MEMORY = (
    *("cannot allocate memory", "can't allocate memory", "outofmemoryerror", "out of memory"),
    # Ray's words, when it kills a worker to save a node.
    *("running low on memory", "bad_alloc"),
    # A thread's stack is the first that does not fit any more.
    *("can't start new thread", "failed to launch worker thread"),
)
_DEPTH = 20
_WAYS_OUT = {
    "disk space": "free some",
    "memory": "end what else needs it, or take a machine with more",
    "GPU memory": "lower training.ppo_micro_batch_size_per_gpu (`resume --set …`)",
}


@contextmanager
def explain_exhaustion(root: Path) -> Iterator[None]:
    """Turn errors of a full disk or memory, raised in the block or in a thread meanwhile, into
    `ExhaustedError`.
    """
    ended: list[BaseException] = []
    try:
        with _watched_threads(ended):
            yield
    except (Exception, SystemExit) as error:
        # A SIGTERM of somebody else's.
        if isinstance(error, SystemExit) and not ended:
            raise
        cause = ended[0] if ended else error
        what = find_exhausted(cause)
        if what is None:
            raise
        raise ExhaustedError(
            f"{what} ran out ({type(cause).__name__}); {_WAYS_OUT[what]}, then `deepicd resume "
            f"{root.name}` goes on from what is whole in {root}"
        ) from cause


@contextmanager
def _watched_threads(ended: list[BaseException]) -> Iterator[None]:
    """Collect errors of exhaustion that end a thread; each ends the block too, as SIGTERM does."""
    before, main = threading.excepthook, threading.main_thread().ident
    assert main is not None

    def note(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        # Where nobody has made SIGTERM an exception (`folder.lock`) it would end the process.
        is_heard = callable(signal.getsignal(signal.SIGTERM))
        if error is None or find_exhausted(error) is None or not is_heard:
            before(arguments)
            return
        ended.append(error)
        signal.pthread_kill(main, signal.SIGTERM)

    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = before


def find_exhausted(error: BaseException) -> str | None:
    """What ran out (a key of `_WAYS_OUT`) where that is at the bottom of an error, else None."""
    current: BaseException | None = error
    # Bounded, since a chain of causes can be a circle.
    for _ in range(_DEPTH):
        if current is None:
            return None
        if kind := _kind_of(current):
            return kind
        current = current.__cause__ or current.__context__
    return None


def _kind_of(error: BaseException) -> str | None:
    text = f"{type(error).__name__} {error}".lower()
    number = getattr(error, "errno", None)
    if number in {errno.ENOSPC, errno.EDQUOT} or any(words in text for words in _DISK):
        return "disk space"
    # Before memory, whose words these hold too.
    if any(words in text for words in _GPU):
        return "GPU memory"
    is_memory = isinstance(error, MemoryError) or number == errno.ENOMEM
    return "memory" if is_memory or any(words in text for words in _MEMORY) else None
