"""Facts are gathered from this machine as it is, and from written files where it has none."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from deepicd.doctor import machine
from deepicd.doctor.machine import (
    fault_of_writing,
    pick_variables,
    read_machine,
    read_token,
    space_of,
)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return read_machine(folder / "none" / "yet", ray_folder=folder)


def test_this_machine_says_what_the_standard_tools_say(here):
    assert here.node == os.uname().nodename
    assert here.open_files == int(
        subprocess.run(["sh", "-c", "ulimit -Hn"], capture_output=True, text=True, check=True)
        .stdout.strip()
        .replace("unlimited", "-1")
    )
    assert here.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert here.shm.total == os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize
    assert 0 < here.available_bytes < here.memory_bytes <= psutil.virtual_memory().total
    assert "lo" in here.network.interfaces


def test_the_route_is_an_interface_that_has_the_address(here):
    if here.address == "127.0.0.1":
        pytest.skip("this machine has no route to others")
    assert here.address in here.network.interfaces[here.network.route]


def test_facts_are_read_within_seconds(tmp_path):
    start = time.monotonic()
    read_machine(tmp_path, ray_folder=tmp_path)
    assert time.monotonic() - start < 20


def test_a_folder_that_is_not_there_is_measured_where_it_would_be(tmp_path):
    space = space_of(tmp_path / "a" / "b")
    assert space.path.endswith("a/b") and space.total == space_of(tmp_path).total


def test_users_and_passwords_of_a_proxy_are_left_out():
    variables = {"http_proxy": "http://ann:secret@proxy:3128", "PATH": "/bin", "NO_PROXY": ""}
    assert pick_variables(variables) == {"http_proxy": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("content", "mode", "fault"),
    [
        ("abc", 0o600, ""),
        ("abc", 0o640, r"others can read it \(mode 640\)"),
        ("", 0o600, "the file is empty"),
        (None, 0, "no such file"),
    ],
)
def test_a_file_of_a_token_is_private_and_full(tmp_path, content, mode, fault):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    token = read_token({"RAY_AUTH_TOKEN_PATH": str(path)}, is_asked=False)
    assert token.fault == fault.replace("\\", "") and not token.is_asked
    assert "abc" not in repr(token)


@pytest.mark.parametrize(
    ("environment", "default", "is_asked"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"RAY_AUTH_MODE": "token"}, False, True),
        ({"RAY_AUTH_MODE": "disabled"}, True, False),
    ],
)
def test_the_variable_says_whether_ray_asks_for_a_token(environment, default, is_asked):
    assert read_token(environment, is_asked=default).is_asked is is_asked


def test_a_limit_of_a_container_counts(tmp_path):
    assert machine._memory(tmp_path / "none")[0] == psutil.virtual_memory().total
    for name, text in (("max", "4000000"), ("current", "3000000")):
        (tmp_path / f"memory.{name}").write_text(f"{text}\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 500000\n")
    assert machine._memory(tmp_path) == (4_000_000, 1_500_000)
    (tmp_path / "memory.max").write_text("max\n")
    assert machine._memory(tmp_path)[0] == psutil.virtual_memory().total


def test_cards_on_the_bus_are_counted_without_their_sound(tmp_path):
    for number, (vendor, kind) in enumerate(
        [("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x8086", "0x030000")]
    ):
        device = tmp_path / str(number)
        device.mkdir()
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    assert machine._count_pci_gpus(tmp_path) == 1
    assert machine._count_pci_gpus(tmp_path / "none") == 0


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    assert fault_of_writing(tmp_path / "a") == "" and (tmp_path / "a").is_file()
    assert fault_of_writing(tmp_path / "b" / "a") == "cannot write there: No such file or directory"
