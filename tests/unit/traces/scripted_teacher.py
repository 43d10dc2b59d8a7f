"""A teacher on loopback that says what a test tells it to: a real HTTP server, in this process."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from deepicd import codes
from deepicd.config import TracesConfig
from deepicd.records import Note
from deepicd.traces.build import build_from_teacher

PHRASE = "ZEBRAFISH"
"""Stands in every note, and may stand nowhere else."""
CODES = ("I2510", "J189", "N390", "K8000")
_FINDINGS = (
    *("crushing chest pressure", "productive morning cough", "burning urination", "green vomit"),
    *("swollen left calf", "sudden blurred vision", "night sweats", "yellow sclera"),
    *("painful right elbow", "itching palms", "spinning dizziness", "hoarse voice"),
)


def findings(number: int) -> list[str]:
    """Four findings of a note; no two of the first hundred notes share all."""
    return [_FINDINGS[(number * step + step * step) % len(_FINDINGS)] for step in (1, 5, 7, 11)]


def note(number: int, code: str = "") -> Note:
    """A note of its own patient."""
    first, second, third, fourth = findings(number)
    text = (
        f"CHIEF COMPLAINT: {first}\nPRESENT ILLNESS: Came with {first} and {second} since {number} "
        f"days, later {third}, with {PHRASE}{number} on the tongue and {fourth} when walking "
        "uphill after breakfast with the dog.\nPHYSICAL EXAM: temperature 37.5"
    )
    return Note(f"n{number}", f"p{number}", f"a{number}", text, code or CODES[number % len(CODES)])


def good_reply(one: Note) -> str:
    """A reply that keeps to every rule; differs from note to note."""
    first, second, third, fourth = findings(int(one.note_id[1:]))
    extra = " ".join(
        f"{word}{one.note_id.translate(str.maketrans('0123456789', 'abcdefghij'))}"
        for word in ("weighed", "compared", "doubted", "followed", "excluded", "kept")
    )
    return (
        f"<think>I read of {first}, and {second} beside it. After {third} came {fourth}, {extra}. "
        f"All of this fits {codes.title(one.code)}.</think>\n"
        f"<diagnosis>{codes.dotted(one.code)}</diagnosis>"
    )


NOTES = [note(number) for number in range(24)]
BY_ID = {one.note_id: one for one in NOTES}
"""Note id → note."""


def settings_for(url: str, **changes: Any) -> TracesConfig:
    return TracesConfig(
        **{"url": url, "model": "m", "max_retries": 0, "timeout_s": 60.0, **changes}
    )


def build(url: str, out: Path, *, num: int = 8, **changes: Any) -> dict[str, Any]:
    """Build traces of `NOTES`; its card."""
    settings = settings_for(url, **changes)
    return build_from_teacher(NOTES, out, settings, num_traces=num, seed=1)


Script = Callable[[int, str], tuple[int, Any]]
"""Number of the request and id of its note → status, and text of the reply or a whole body."""


class Endpoint(ThreadingHTTPServer):
    """An endpoint that notes what it was asked."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.delay_s = 0.0
        self.asked: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(body)
        time.sleep(self.server.delay_s)
        found = re.search(rf"{PHRASE}(\d+)", body["messages"][1]["content"])
        status, content = self.server.script(number, f"n{found[1]}" if found else "")
        sent = content if isinstance(content, bytes) else json.dumps(_completion(content)).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_: object) -> None:
        """No lines on the screen."""


def _completion(text: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


@contextmanager
def serving(script: Script) -> Iterator[Endpoint]:
    server = Endpoint(script)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
