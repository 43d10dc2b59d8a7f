"""A build against a scripted teacher on loopback: counts, stops, goes on, and leaks no word."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scripted_teacher import (
    BY_ID,
    NOTES,
    PHRASE,
    Script,
    build,
    good_reply,
    note,
    serving,
    settings_for,
)
from test_verifier import BAD
from typer.testing import CliRunner

from deepicd import cli
from deepicd.config import parse_traces_options
from deepicd.errors import ConfigError, DataError, TeacherError
from deepicd.notes.split_files import write_split
from deepicd.records import Note
from deepicd.traces import COLUMNS, read_traces
from deepicd.traces.build import build_from_teacher
from deepicd.traces.card import card_path, check_card
from deepicd.traces.verifier import REASONS


def good(_: int, note_id: str) -> tuple[int, str]:
    return 200, good_reply(BY_ID[note_id])


def call(*words: str | Path) -> Any:
    return CliRunner().invoke(cli.app, list(map(str, words)))


def test_a_good_teacher_fills_the_file_label_by_label(tmp_path: Path) -> None:
    out = tmp_path / "traces.parquet"
    with serving(good) as teacher:
        card = build(teacher.url, out)
    rows = read_traces(out)
    assert pq.read_schema(out).names == list(COLUMNS)
    assert (card["accepted"], card["refused"], card["asked"]) == (8, {}, 8)
    assert Counter(row["code"] for row in rows) == {one.code: 2 for one in NOTES}
    assert all(BY_ID[row["note_id"]].patient_id == row["patient_id"] for row in rows)
    assert (card["prompt_tokens"], card["completion_tokens"]) == (800, 80)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["traces.card.json", out.name]


def test_the_contract_through_the_command(tmp_path: Path) -> None:
    planted = [
        (reason, bad) for reason, each in BAD.items() for bad in each[:1] if reason != "other_code"
    ]
    ill = note(0)
    write_split([ill, *NOTES[1:]], tmp_path / "notes" / "train.parquet")
    # The first replies to one note are bad, each in its way.
    left = [bad for _, bad in planted]

    def script(_: int, note_id: str) -> tuple[int, str]:
        if note_id == ill.note_id and left:
            return 200, left.pop(0)
        return good(0, note_id)

    out = tmp_path / "traces.parquet"
    with serving(script) as teacher:
        words = ["traces", "build", tmp_path / "notes", "--teacher", teacher.url, "--model", "m"]
        limits = ["--samples", "20", "--set", "traces.max_concurrent=1"]
        done = call(*words, "--num", "24", "--out", out, *limits, "--json")
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["accepted"] == 24
    assert printed["refused"] == {reason: 1 for reason, _ in sorted(planted)}
    assert call("traces", "check", out, "--json").exit_code == 0


def test_every_reason_is_counted_by_chapter_on_the_card(tmp_path: Path) -> None:
    bad = {"n0": "nonsense", "n1": good_reply(note(1)).replace("J18.9", "I25.2")}

    def script(_: int, note_id: str) -> tuple[int, str]:
        return 200, bad.get(note_id, good_reply(BY_ID[note_id]))

    with serving(script) as teacher:
        card = build(teacher.url, tmp_path / "t.parquet", num=24, samples_per_note=2)
    assert card["refused"] == {"does_not_parse": 2, "other_code": 2}
    assert card["chapters"]["IX"] == {
        "asked": 7,
        "accepted": 5,
        "refused": {"does_not_parse": 2},
    }
    assert card["chapters"]["X"]["refused"] == {"other_code": 2}


def test_equal_replies_to_different_notes_are_near_duplicates(tmp_path: Path) -> None:
    same = [Note(f"n{n}", f"p{n}", f"a{n}", note(4).text, "I2510") for n in range(3)]

    with serving(lambda *_: (200, good_reply(note(4)))) as teacher:
        settings = settings_for(teacher.url, samples_per_note=1)
        out = tmp_path / "t.parquet"
        card = build_from_teacher(same, out, settings, num_traces=3, seed=1)
    assert (card["accepted"], card["refused"]) == (1, {"near_duplicate": 2})
    assert set(card["refused"]) <= set(REASONS)


def test_a_cap_holds_for_each_label(tmp_path: Path) -> None:
    with serving(good) as teacher:
        card = build(teacher.url, tmp_path / "t.parquet", num=24, max_per_label=3)
    counts = [chapter["accepted"] for chapter in card["chapters"].values()]
    assert counts == [3, 3, 3, 3]


@pytest.mark.parametrize("concurrent", [1, 16])
def test_the_same_replies_give_the_same_file_whatever_comes_first(
    tmp_path: Path, concurrent: int
) -> None:
    def script(number: int, note_id: str) -> tuple[int, str]:
        time.sleep(number % 3 * 0.02)
        return 200, "nonsense" if int(note_id[1:]) % 5 == 0 else good_reply(BY_ID[note_id])

    files = []
    for name in ("first", "second"):
        with serving(script) as teacher:
            build(teacher.url, tmp_path / f"{name}.parquet", num=12, max_concurrent=concurrent)
        files.append(read_traces(tmp_path / f"{name}.parquet"))
    assert files[0] == files[1] and len(files[0]) == 12


def test_a_teacher_that_is_down_is_an_error_and_what_was_accepted_stays(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"

    def script(number: int, note_id: str) -> tuple[int, Any]:
        return good(0, note_id) if number < 5 else (500, b"")

    with (
        serving(script) as teacher,
        pytest.raises(
            TeacherError, match=r"no reply 8 times in a row .*5 accepted traces are kept"
        ),
    ):
        build(teacher.url, out, max_concurrent=1)
    assert not out.exists()
    with serving(good) as teacher:
        card = build(teacher.url, out, max_concurrent=1)
        assert len(teacher.asked) == 3
    assert (card["accepted"], card["refused"]) == (8, {})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>no</html>"),
        (200, b"[]"),
        (200, b"null"),
        (200, b'{"choices": null}'),
        (200, b'{"choices": []}'),
        (200, b'{"choices": [{"message": {"content": ["a"]}}]}'),
        (200, b"\xff\xfe"),
        (200, b"[" * 100_000),
        (429, b""),
        (503, b"{}"),
        (307, b""),
    ],
)
def test_a_reply_that_is_none_is_no_refused_trace(tmp_path: Path, status: int, body: bytes) -> None:
    def script(number: int, note_id: str) -> tuple[int, Any]:
        return (status, body) if number == 1 else good(0, note_id)

    with serving(script) as teacher:
        card = build(teacher.url, tmp_path / "t.parquet", max_concurrent=1)
    assert (card["accepted"], card["refused"], card["failed_requests"]) == (8, {}, 1)


def test_a_slow_teacher_is_waited_for_so_long(tmp_path: Path) -> None:
    with serving(good) as teacher:
        teacher.delay_s = 2.0
        with pytest.raises(TeacherError, match="APITimeoutError"):
            build(teacher.url, tmp_path / "t.parquet", timeout_s=0.1, max_failures=2)


def test_a_note_that_the_endpoint_refuses_is_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    def script(_: int, note_id: str) -> tuple[int, Any]:
        return (400, b"{}") if int(note_id[1:]) % 2 else good(0, note_id)

    with serving(script) as teacher:
        card = build(teacher.url, tmp_path / "t.parquet", num=24)
    assert (card["accepted"], card["failed_requests"], card["unanswered_notes"]) == (12, 12, 12)


def test_an_endpoint_that_refuses_every_request_is_an_error(tmp_path: Path) -> None:
    with (
        serving(lambda *_: (400, b"{}")) as teacher,
        pytest.raises(TeacherError, match="BadRequestError"),
    ):
        build(teacher.url, tmp_path / "t.parquet")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_key_or_model_that_is_refused_is_a_wrong_setting(tmp_path: Path, status: int) -> None:
    with (
        serving(lambda *_: (status, b"{}")) as teacher,
        pytest.raises(ConfigError, match="the teacher refuses model 'm' or the key in DEEPICD_TEA"),
    ):
        build(teacher.url, tmp_path / "t.parquet")


def test_a_teacher_of_bad_traces_alone_leaves_an_empty_file(tmp_path: Path) -> None:
    with serving(lambda *_: (200, "I cannot help with that.")) as teacher:
        card = build(teacher.url, tmp_path / "t.parquet", samples_per_note=2)
    assert (card["accepted"], card["refused"]) == (0, {"does_not_parse": 48})
    assert read_traces(tmp_path / "t.parquet") == []


def test_a_host_that_is_not_on_the_list_sees_nothing() -> None:
    with pytest.raises(ConfigError, match=r"sends notes to example\.org, which is not in traces"):
        parse_traces_options({"url": "https://example.org/v1", "model": "m"})
    told = ["traces.allowed_hosts=['example.org']"]
    assert parse_traces_options({"url": "https://example.org/v1", "model": "m"}, told).url


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ({"url": "http://[::1", "model": "m"}, "traces.url must be like"),
        ({"url": "ftp://localhost/v1", "model": "m"}, "traces.url must be like"),
        ({"url": "http://localhost/v1"}, "traces.url is set, traces.model is not"),
        ({"model": "m"}, "traces.model is set, traces.url is not"),
        ({"min_words": 50, "max_words": 20}, r"traces.min_words \(50\) must be at most"),
    ],
)
def test_settings_that_cannot_be_are_refused(table: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        parse_traces_options(table)


def test_a_setting_of_another_table_is_no_option_of_traces() -> None:
    with pytest.raises(ConfigError, match=r"--set takes addresses of \[traces\]"):
        parse_traces_options({}, ["sft.epochs=2"])


def test_what_lies_there_is_replaced_with_yes_alone(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    out.write_text("mine")
    with serving(good) as teacher:
        with pytest.raises(ConfigError, match="exists, and would be replaced; give --yes"):
            build(teacher.url, out)
        assert out.read_text() == "mine" and not teacher.asked


def test_an_interrupted_build_of_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"
    with serving(lambda *_: (500, b"")) as teacher, pytest.raises(TeacherError, match="no reply"):
        build(teacher.url, out)
    with serving(good) as teacher:
        with pytest.raises(ConfigError, match="with other settings; go on with the same settings"):
            build(teacher.url, out, max_words=80)
        build(teacher.url, out, timeout_s=9.0)


def test_two_builds_of_one_file_exclude_each_other(tmp_path: Path) -> None:
    out = tmp_path / "t.parquet"

    def script(number: int, note_id: str) -> tuple[int, str]:
        with pytest.raises(ConfigError, match="another process builds the traces"):
            build("http://127.0.0.1:9/v1", out)
        return good(number, note_id)

    with serving(script) as teacher:
        assert build(teacher.url, out, num=1)["accepted"] == 1


PROGRAM = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from scripted_teacher import build
build(sys.argv[1], Path(sys.argv[2]), num=20, max_concurrent=2)
"""


def test_a_build_that_was_killed_goes_on_at_the_row_and_ends_as_an_unbroken_one(
    tmp_path: Path,
) -> None:
    def script(_: int, note_id: str) -> tuple[int, str]:
        return 200, "nonsense" if int(note_id[1:]) % 6 == 0 else good_reply(BY_ID[note_id])

    whole, out = tmp_path / "whole.parquet", tmp_path / "t.parquet"
    with serving(script) as teacher:
        unbroken = build(teacher.url, whole, num=20, max_concurrent=2)
    part = tmp_path / "t.parquet.part"
    program = PROGRAM.format(paths=[path for path in sys.path if path])
    with serving(script) as teacher:
        teacher.delay_s = 0.1
        words = [sys.executable, "-c", program, teacher.url, str(out)]
        process = subprocess.Popen(
            words, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until and (
                not part.exists() or part.read_bytes().count(b"\n") < 9
            ):
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    # A line that was being written when the machine stopped.
    with part.open("ab") as file:
        file.write(b'{"note_id": "n1", "samp')
    num_known = part.read_bytes().count(b"\n") - 1
    assert num_known >= 8 and not out.exists()
    with serving(script) as teacher:
        resumed = build(teacher.url, out, num=20, max_concurrent=2)
        assert len(teacher.asked) == unbroken["asked"] - num_known
    assert read_traces(out) == read_traces(whole)
    assert resumed["chapters"] == unbroken["chapters"] and not part.exists()


def test_no_word_of_a_note_is_in_a_log_an_error_or_a_card(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    out = tmp_path / "t.parquet"

    def echo(number: int, note_id: str) -> tuple[int, Any]:
        said = f'{{"error": {{"message": "{BY_ID[note_id].text[:60]} {PHRASE}"}}}}'
        return (500, said.encode()) if number % 2 else (200, f"nonsense {PHRASE}")

    scripts: list[Script] = [echo, lambda _, note_id: (400, PHRASE.encode())]
    errors = []
    for script in scripts:
        with serving(script) as teacher, pytest.raises(TeacherError, match="no reply") as error:
            build(teacher.url, out, max_failures=1)
        errors.append(str(error.value))
        out.with_name("t.parquet.part").unlink()
    with serving(echo) as teacher:
        build(teacher.url, out)
    told = [caplog.text, *errors, *capfd.readouterr(), card_path(out).read_text()]
    assert not [text for text in told if PHRASE in text or "chest pressure" in text]


def test_traces_of_other_notes_or_codes_or_changed_ones_do_not_fit_their_card(
    tmp_path: Path,
) -> None:
    out = tmp_path / "t.parquet"
    with serving(good) as teacher:
        build(teacher.url, out)
    rows = read_traces(out)
    check_card(out, rows, NOTES)
    changed = [Note(n.note_id, n.patient_id, n.admission_id, f"{n.text}.", n.code) for n in NOTES]
    with pytest.raises(DataError, match="was built from other training notes than these"):
        check_card(out, rows, changed)
    card = json.loads(card_path(out).read_text())
    card["codes"]["sha256"] = "0"
    card_path(out).write_text(json.dumps(card))
    with pytest.raises(DataError, match="was built with the code table of FY"):
        check_card(out, rows, NOTES)
    out.write_bytes(out.read_bytes() + b" ")
    with pytest.raises(DataError, match="was changed after its card was written"):
        check_card(out, rows, NOTES)


def test_a_build_without_training_notes_is_refused(tmp_path: Path) -> None:
    settings = settings_for("http://127.0.0.1:9/v1")
    with pytest.raises(DataError, match="there is no training note"):
        build_from_teacher([], tmp_path / "t.parquet", settings, num_traces=1, seed=1)
