"""The table of a sweep that goes on, and a terminal in which it never mixes with lines."""

import io
import logging
import pickle
import re

import pytest
from rich.console import Console

from deepicd.cli.console import configure_logging
from deepicd.clusters.ray_session import library_output_to
from deepicd.paths import trial_folder
from deepicd.sweeps.callbacks.live_table import LiveTable
from deepicd.sweeps.callbacks.progress import TrialProgress
from deepicd.training.process.events import record_event

F1 = "validation/hierarchical_f1"
PARAMS = {"training.learning_rate": 1.234e-4, "rewards.weights.hierarchy": 0.5}
SHOWN = "learning_rate=0.000123 hierarchy=0.5"


def rendered(table, width=110):
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(table.table())
    return console.export_text()


def row(text, trial):
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    (cells,) = [cells for cells in rows if cells[:1] == [trial]]
    return cells


def a_live_table(trials=4):
    return LiveTable(num_trials=trials, total_steps=15, metric=F1)


def report(step, score=None, **more):
    scores = (
        {} if score is None else {F1: score, f"{F1}_low": score - 0.1, f"{F1}_high": score + 0.1}
    )
    return {"step": step, "perf/throughput": 812.4, **scores, **more}


def test_a_row_says_how_a_trial_is_doing():
    table = a_live_table()
    table.start("a1", PARAMS)
    assert row(rendered(table), "a1") == ["a1", "0/15", "-", "-", "running", "-", SHOWN]
    table.advance("a1", report(5, 0.4), (42.0, 725.0))
    table.advance("a1", report(6), (40.0, 700.0))
    text = rendered(table)
    assert row(text, "a1")[1:6] == ["6/15", "0.400 [0.300, 0.500]", "812", "running", "0:40"]
    assert "1 of 4 trials, at most 11:40 left" in text


def test_states_follow_how_a_trial_ended():
    table = a_live_table()
    for trial, step in (("whole", 15), ("early", 5), ("broken", 3)):
        table.start(trial, PARAMS)
        table.advance(trial, report(step, 0.1), (1.0, 1.0))
        table.end(trial, has_failed=trial == "broken")
    text = rendered(table)
    states = [row(text, trial)[4] for trial in ("whole", "early", "broken")]
    assert states == ["finished", "stopped", "failed"]


def test_running_trials_stand_first_and_a_long_table_is_cut():
    table = a_live_table(40)
    for number in range(30):
        table.start(f"t{number}", PARAMS)
        table.advance(f"t{number}", report(5, number / 100), (1.0, 1.0))
        if number:
            table.end(f"t{number}")
    text = rendered(table)
    shown = re.findall(r"(?m)^ +(t\d+) ", text)
    assert shown[:3] == ["t0", "t29", "t28"] and len(shown) == 20 and "and 10 more" in text


def test_a_trial_that_failed_before_its_first_validation_stands_below_the_best():
    table = a_live_table()
    for trial, score in (("scored", 0.2), ("scoreless", None)):
        table.start(trial, PARAMS)
        table.advance(trial, report(5, score), (1.0, 1.0))
        table.end(trial, has_failed=score is None)
    assert re.findall(r"(?m)^ +(scored|scoreless) ", rendered(table)) == ["scored", "scoreless"]


class Trial:
    def __init__(self, trial_id):
        self.trial_id = trial_id
        self.config = PARAMS
        self.last_result = {"step": 2}


def drive(callback):
    trial = Trial("a1")
    callback.on_trial_start(1, [trial], trial)
    for step in range(3):
        callback.on_trial_result(1, [trial], trial, report(step, 0.4 if step == 2 else None))
    callback.on_trial_complete(1, [trial], trial)


def progress_in(sweep):
    return TrialProgress(num_trials=1, total_steps=2, metric=F1, sweep=sweep)


def test_lines_say_the_steps_where_no_table_shows_them(tmp_path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging()
    drive(progress_in(tmp_path))
    said = stream.getvalue().splitlines()
    assert [" ".join(line.split()[2:4]) for line in said] == [
        "starts (1",
        "step 2/2:",
        "over after",
    ]


def test_a_table_takes_the_place_of_the_lines_that_it_shows(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    handler = configure_logging()
    callback = pickle.loads(pickle.dumps(progress_in(tmp_path)))
    drawn = []
    with handler.live_table():
        update = handler._live.update
        monkeypatch.setattr(
            handler._live,
            "update",
            lambda *args, **more: (drawn.append(args), update(*args, **more)),
        )
        drive(callback)
        during = terminal.screen()
    said = [line.split()[2] for line in during if line.startswith("trial a1")]
    assert said == ["starts", "over"] and len(drawn) == 4


def test_what_a_trial_says_itself_is_passed_on_once(log_lines, tmp_path):
    trial, callback = Trial("abc"), progress_in(tmp_path)
    record_event(trial_folder(tmp_path, "abc"), "waited in an earlier start")
    callback.on_trial_start(1, [trial], trial)
    record_event(trial_folder(tmp_path, "abc"), "skips a damaged checkpoint")
    for _ in range(2):
        callback.on_step_end(1, [trial])
    assert log_lines[1:] == ["trial abc skips a damaged checkpoint"]


def test_an_interruption_is_said_once_with_its_cause(log_lines, tmp_path):
    trial, callback = Trial("abc"), progress_in(tmp_path)
    callback.on_trial_start(1, [trial], trial)
    cut = {"interruptions": 1, "interruption": "node 10.0.0.2 was lost"}
    for step in (1, 1, 2):
        callback.on_trial_result(1, [trial], trial, {**report(step, None), **cut})
    words = "trial abc interrupted after step 1: node 10.0.0.2 was lost; it goes on from its last"
    assert [line for line in log_lines if "interrupted" in line] == [f"{words} checkpoint"]


class Terminal(io.StringIO):
    """Interprets what rich writes: new lines, carriage returns, cursor up, erase line."""

    def isatty(self):
        return True

    def screen(self):
        lines, at = [""], 0
        for word in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", self.getvalue()):
            if word == "\n":
                at += 1
                lines += [""] * (at == len(lines))
            elif word.endswith("A") and word.startswith("\x1b"):
                at -= int(word[2:-1] or 1)
            elif word == "\x1b[2K":
                lines[at] = ""
            elif not word.startswith(("\x1b", "\r")):
                lines[at] += word
        return [line.rstrip() for line in lines if line.strip()]


def test_lines_and_table_never_mix_in_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    handler, logger = configure_logging(has_clock=True), logging.getLogger("deepicd.test")
    with handler.live_table():
        table = a_live_table()
        for number in range(5):
            logger.info(f"line {number} [x] " + "long " * (20 * (number == 2)))
            table.start(f"t{number}", PARAMS)
            table.advance(f"t{number}", report(number, 0.4), (1.0, 1.0))
            logger.debug("changed", extra={"live_table": table.table()})
        during = terminal.screen()
    after = terminal.screen()
    said = [line for line in during if "line " in line]
    assert all(re.match(r" +0:0\d line \d \[x\]", line) for line in said)
    assert [re.search(r"line \d", line)[0] for line in said] == [f"line {n}" for n in range(5)]
    assert not any("running" in line for line in (*said, *after))
    assert sum("trials, at most" in line for line in during) == 1
    assert [row("\n".join(during), f"t{n}")[4] for n in range(5)] == ["running"] * 5


@pytest.mark.parametrize("is_json", [True, False])
def test_without_a_terminal_or_with_json_nothing_is_drawn(monkeypatch, is_json):
    monkeypatch.setattr("sys.stderr", stream := Terminal() if is_json else io.StringIO())
    table = a_live_table().table()
    with configure_logging().live_table(is_shown=not is_json):
        logging.getLogger("deepicd.test").debug("changed", extra={"live_table": table})
        assert stream.getvalue() == ""
        logging.getLogger("deepicd.test").info("step", extra={"live_table": table})
    assert stream.getvalue() == "step\n"


def test_lines_reach_the_console_while_the_output_of_libraries_goes_to_a_file(
    monkeypatch, tmp_path
):
    monkeypatch.setattr("sys.stderr", stream := io.StringIO())
    configure_logging()
    with library_output_to(tmp_path / "console.log"):
        print("a library prints")
        logging.getLogger("deepicd.test").warning("a line of ours")
        logging.getLogger("some.library").warning("a library logs")
    assert stream.getvalue() == "a line of ours\n"
    assert "a library prints" in (tmp_path / "console.log").read_text()
