"""`deepicd query` against a real HTTP server, and the following of champions."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deepicd.cli import app
from deepicd.errors import DataError, MissingError, ServingError
from deepicd.serving.client import Client, find_notes, read_note

REPLY = {
    "code": "I10", "code_dotted": "I10", "title": "Essential [primary] hypertension",
    "chapter": "IX", "confidence": 0.75, "model_version": "v1", "prediction_id": "p1",
    "reasoning": "High pressure.", "reason": None,
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    """Busy at first, then answers; refuses the note `bad`."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.seen.append((self.headers.get("authorization"), body))  # type: ignore[attr-defined]
        status, reply = 200, REPLY
        if len(self.server.seen) == 1:  # type: ignore[attr-defined]
            status, reply = 429, {"detail": "busy"}
        elif body["note"] == "bad":
            status, reply = 400, {"detail": "note: too long"}
        content = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("retry-after", "0")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_files_and_folders_become_json_lines_in_order(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPICD_TOKEN", "t0ken")
    folder = tmp_path / "notes"
    folder.mkdir()
    for name, text in (("b.txt", "two"), ("a.txt", "one"), ("c.bin", "skipped")):
        (folder / name).write_text(text)
    extra = tmp_path / "extra.note"
    extra.write_text("three")
    arguments = ["query", str(folder), str(extra), "--json", "--url", address(server)]
    done = CliRunner().invoke(app, [*arguments, "--samples", "2", "--concurrent", "1"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    more = [*arguments[2:], "--evidence", "--min-confidence", "0.5", "--constrained"]
    assert CliRunner().invoke(app, ["query", *more]).exit_code == 0
    assert server.seen.pop()[1] == {
        "note": "three", "num_samples": None, "is_constrained": True, "include_evidence": True,
        "min_confidence": 0.5,
    }  # fmt: skip
    assert [Path(row["source"]).name for row in rows] == ["a.txt", "b.txt", "extra.note"]
    assert {row["code"] for row in rows} == {"I10"}
    assert [body for _, body in server.seen][:2] == [{"note": "one", "num_samples": 2}] * 2
    assert {token for token, _ in server.seen} == {"Bearer t0ken"}


def test_standard_input_is_one_note_and_a_table_shows_its_reasoning(server):
    done = CliRunner().invoke(app, ["query", "--url", address(server)], input="a note")
    assert done.exit_code == 0, done.output
    assert "I10" in done.stdout and "High pressure." in done.stdout and "0.75" in done.stdout
    assert server.seen[-1][1] == {"note": "a note", "num_samples": None}


def test_a_refused_note_is_a_row_and_the_rest_goes_on(server, tmp_path):
    for name, data in (("a.txt", b"bad"), ("b.txt", b"\xff\xfe"), ("c.txt", b"fine")):
        (tmp_path / name).write_bytes(data)
    arguments = ["query", str(tmp_path), "--json", "--url", address(server), "--concurrent", "1"]
    done = CliRunner().invoke(app, arguments)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["error"] == "400: note: too long" and "UTF-8" in rows[1]["error"]
    assert rows[2]["code"] == "I10"
    assert isinstance(done.exception, ServingError) and "2 of 3" in str(done.exception)


@pytest.mark.parametrize("arguments", [[], ["-"], ["--json"]])
def test_an_empty_note_alone_is_one_line_and_the_code_of_data(server, arguments):
    number = len(server.seen)
    done = CliRunner().invoke(app, ["query", *arguments, "--url", address(server)], input=" \n")
    assert done.stdout == "" and isinstance(done.exception, DataError)
    assert str(done.exception).startswith("standard input is empty; ")
    assert len(server.seen) == number, "nothing was asked"


def test_no_endpoint_is_said_with_a_way_out():
    with pytest.raises(ServingError, match="deepicd serve"):
        Client("http://127.0.0.1:9").diagnose("note")


def test_missing_and_empty_paths_are_refused(tmp_path):
    with pytest.raises(MissingError, match="no file or folder"):
        find_notes([str(tmp_path / "nothing")])
    with pytest.raises(MissingError, match=r"no \.txt"):
        find_notes([str(tmp_path)])
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(DataError, match="is empty"):
        read_note(tmp_path / "empty.txt")
