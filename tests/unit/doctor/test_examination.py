"""The whole: this machine is examined for real; before a run what is certain to fail is refused."""

import json
import logging
from contextlib import closing
from socket import socket

import pytest
from node_facts import cpu_node, pair, well_node

from deepicd.cli.text import check_lines
from deepicd.config import parse_experiment
from deepicd.doctor.examination import Examination, _fault_of_port, check_before_run, examine, judge
from deepicd.doctor.facts import ClusterFacts, Space, Token
from deepicd.errors import CapacityError
from deepicd.pipeline.validation import check_machine

FIELDS = ["name", "node", "value", "wanted", "ok", "advice"]


def test_this_machine_is_examined_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    rows = examine(tmp_path / "runs").as_json()["checks"]
    assert json.loads(json.dumps(rows)) == rows and all(list(row) == FIELDS for row in rows)
    assert len({row["name"] for row in rows}) == len(rows) == 21
    by_name = {row["name"]: row for row in rows}
    for name in ("all-reduce", "shared storage", "attention kernels", "versions"):
        assert by_name[name]["ok"], by_name[name]
    assert list(tmp_path.iterdir()) == []


def test_a_quick_examination_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    names = {row["name"] for row in examine(tmp_path, is_quick=True).as_json()["checks"]}
    assert {"shm", "memory", "proxy"} <= names
    assert not {"all-reduce", "attention kernels", "shared storage"} & names


@pytest.mark.parametrize(
    ("facts", "code"),
    [(pair(), 0), (pair(available_bytes=0), 5), (ClusterFacts((cpu_node(),)), 0)],
)
def test_the_exit_code_says_whether_all_is_well(facts, code):
    assert Examination(tuple(judge(facts))).exit_code == code


def test_a_run_is_warned_of_what_may_do(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("deepicd"), "propagate", True)
    checks = judge(pair(available_bytes=0, token=Token(is_asked=False)))
    check_before_run(checks)
    assert "memory on second" in caplog.text and "token on second" in caplog.text
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ray_disk": Space("/tmp/ray", 100, 1)}, r"ray disk on second: /tmp/ray.*99% used"),
        ({"versions": {"python": "3.12.1"}}, r"versions on second: .*python 3\.12\.1"),
        ({"environment": {"GLOO_SOCKET_IFNAME": "none0"}}, "gloo interface on second: .*none0"),
        ({"token": Token(True, "t", "no such file")}, "token on second: t: no such file"),
    ],
)
def test_a_run_that_cannot_work_is_refused_with_the_way_out(changes, words):
    with pytest.raises(CapacityError, match=words):
        check_before_run(judge(pair(**changes)))


def test_a_run_asks_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "none0")
    with pytest.raises(CapacityError, match="export GLOO_SOCKET_IFNAME"):
        check_machine(parse_experiment({}, "here"), tmp_path / "runs" / "first")
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_something_listens_on_is_taken():
    with closing(socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert _fault_of_port(port) == "Address already in use"
    assert _fault_of_port(port) == ""


def test_lines_for_people_say_what_is_wanted_and_what_to_do_where_it_failed():
    lines = list(check_lines(judge(ClusterFacts((well_node(open_files=10),)))))
    (at,) = [number for number, line in enumerate(lines) if line.startswith("FAIL")]
    assert lines[at].split()[1:3] == ["open", "files"] and lines[at].endswith("first 10")
    assert lines[at + 1].strip() == "wanted: a hard limit of at least 8192"
    assert "do:" in lines[at + 2] and lines[-1].endswith("checks are well")
