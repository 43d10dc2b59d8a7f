"""Client of a running endpoint: files, folders or standard input → one reply a note.

In: paths and the endpoint's address. Out: one reply a note, in the order of the paths, as the typed
route gives it, with its `source`. Decided here: a note that is refused becomes a row with `error`
and the rest goes on; a busy endpoint (429, 503) is asked again after the time it names, and one
that has answered before and is gone (its gateway restarts) once a second for a while.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deepicd.errors import DataError, MissingError, ServingError
from deepicd.text_lines import decode_text, read_text

SUFFIXES = (".txt", ".md", ".note")
"""Files that are taken from a folder; a file that is named is taken whatever its name."""
_STDIN = "-"
MAX_ATTEMPTS = 30
PAUSE_S = 1.0
"""Between two attempts to reach an endpoint that has answered before."""
_BUSY = (429, 503)


@dataclass(frozen=True)
class Client:
    """Address of an endpoint, and how to ask it."""

    url: str
    token: str | None = None
    timeout_s: float = 120.0
    num_concurrent: int = 4

    def diagnose(self, note: str, **options: Any) -> dict[str, Any]:
        """Typed reply to one note; `options` are further fields of the body.

        Raises:
            ServingError: the endpoint cannot be reached, or refuses the note.
        """
        with self._open() as http:
            reply = self._send(_Session(http), {"note": note, **options})
        if reply.is_error:
            raise ServingError(explain(reply))
        answer: dict[str, Any] = reply.json()
        return answer

    def diagnose_files(self, paths: Sequence[Path], **options: Any) -> Iterator[dict[str, Any]]:
        """One row a note, in order.

        Raises:
            ServingError: the endpoint cannot be reached.
            DataError: the only note is empty or no text; with others beside it, its row says so.
        """
        if len(paths) == 1:
            options = {"note": read_note(paths[0]), **options}
        with self._open() as http, ThreadPoolExecutor(self.num_concurrent) as threads:
            session = _Session(http)
            yield from threads.map(lambda path: self._ask_file(session, path, options), paths)

    def _open(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        # No proxy of the environment: a note goes to the address that was named and to no other.
        return httpx.Client(
            base_url=self.url, headers=headers, timeout=self.timeout_s, trust_env=False
        )

    def _ask_file(self, session: "_Session", path: Path, options: Any) -> dict[str, Any]:
        source = str(path)
        try:
            body = options if "note" in options else {"note": read_note(path), **options}
        except DataError as error:
            return {"source": source, "error": str(error)}
        reply = self._send(session, body)
        if reply.is_error:
            return {"source": source, "error": explain(reply)}
        return {"source": source, **reply.json()}

    def _send(self, session: "_Session", body: dict[str, Any]) -> httpx.Response:
        for attempt in range(MAX_ATTEMPTS):
            is_last = attempt == MAX_ATTEMPTS - 1
            try:
                reply = session.http.post("/v1/diagnoses", json=body)
            except httpx.TransportError as error:
                if is_last or not session.has_answered:
                    raise ServingError(
                        f"no endpoint answers at {self.url} ({type(error).__name__}). Start one "
                        "with deepicd serve, or name another with --url."
                    ) from error
                time.sleep(PAUSE_S)
                continue
            session.has_answered = True
            if reply.status_code not in _BUSY:
                break
            time.sleep(float(reply.headers.get("retry-after", "1")))
        return reply


@dataclass
class _Session:
    """Connections to an endpoint, and whether it ever answered."""

    http: httpx.Client
    has_answered: bool = False


def explain(reply: httpx.Response) -> str:
    """What a refusal says, whatever its form."""
    try:
        body = reply.json()
    except ValueError:
        return f"status {reply.status_code}"
    # Our typed routes say `detail`, those of OpenAI's interface `error.message`.
    detail = body.get("detail") or body.get("error", {}).get("message") or body
    return f"{reply.status_code}: {detail}"


def find_notes(paths: Sequence[str]) -> list[Path]:
    """Files to send: files as named, folders by their text files (sorted), `-` or nothing as stdin.

    Raises:
        MissingError: a path does not exist, or a folder holds no text file.
    """
    files: list[Path] = []
    for name in paths or (_STDIN,):
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                raise MissingError(f"no {', '.join(SUFFIXES)} file in {path}. Name the files.")
            files += inside
        elif name == _STDIN or path.is_file():
            files.append(path)
        else:
            raise MissingError(f"no file or folder at {path}. Give a text file, a folder or '-'.")
    return files


def read_note(path: Path) -> str:
    """Text of one note, without a byte-order mark. Raises DataError when it is no text or empty."""
    is_stdin = str(path) == _STDIN
    text = decode_text(sys.stdin.buffer, "standard input") if is_stdin else read_text(path)
    if not text.strip():
        source = "standard input" if is_stdin else str(path)
        raise DataError(f"{source} is empty; give a file that holds an admission note, or pipe one")
    return text


def read_token() -> str | None:
    """Token to send, from DEEPICD_TOKEN."""
    return os.environ.get("DEEPICD_TOKEN", "").strip() or None


def send_label(url: str, body: dict[str, str]) -> str:
    """Post one label to an endpoint; returns what became of it.

    Raises:
        ServingError: the endpoint cannot be reached, or refuses the label.
    """
    token = read_token()
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        reply = httpx.post(
            f"{url.rstrip('/')}/v1/labels", json=body, headers=headers, trust_env=False
        )
    except httpx.TransportError as error:
        raise ServingError(
            f"no endpoint answers at {url} ({type(error).__name__}). Start one with deepicd serve."
        ) from error
    if reply.is_error:
        raise ServingError(f"{url} refuses the label: {explain(reply)}")
    return str(reply.json()["outcome"])
