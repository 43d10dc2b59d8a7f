"""Cluster descriptions: what is refused, and where; what is read."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepicd.clusters.description import parse_cluster, read_cluster, read_table
from deepicd.errors import ConfigError, MissingError

FOLDER = Path(__file__).parents[3] / "cluster"
DESCRIPTIONS = sorted(FOLDER.glob("*.yaml"))
WORKER = {"name": "w", "min": 1, "max": 1, "cpus": 8, "gpus": 1, "memory_gib": 32}


@pytest.fixture
def onprem():
    return read_table(FOLDER / "onprem.yaml")


def changed(table, address, value):
    """A copy with one dotted address set; None removes it."""
    head, _, rest = address.partition(".")
    if isinstance(table, list):
        number = int(head)
        return [changed(v, rest, value) if i == number else v for i, v in enumerate(table)]
    if rest:
        return {**table, head: changed(table[head], rest, value)}
    kept = {name: each for name, each in table.items() if name != head}
    return kept if value is None else {**kept, head: value}


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.stem)
def test_every_description_in_the_repository_is_read_and_holds_no_secret(path):
    assert read_cluster(path).name.startswith("deepicd")
    assert not re.search(r"[0-9a-f]{32}", path.read_text())


@pytest.mark.parametrize(
    ("address", "value", "words"),
    [
        ("worker", [], r"worker: unknown field \(nearest: workers\)"),
        ("head.memory", 8, r"head\.memory: unknown field \(nearest: memory_gib\)"),
        ("workers.0.maximum", 8, r"workers\.0\.maximum: unknown field"),
        ("place.kind", "gce", "place: kind must be local, onprem, aws"),
        ("place.kind", None, "place: kind must be local, onprem, aws"),
        ("place.head_ip", None, r"place\.head_ip: is missing"),
        ("place.head_ip", "10.0.0.1; reboot", r"place\.head_ip: String should match pattern"),
        ("place.worker_ips", ["10.0.0.2"], r"place\.worker_ips: .*lists 1 machines.*max = 2"),
        ("head", None, "head: is missing"),
        ("head.shm_gib", 32, r"head\.shm_gib: .*leaves nothing"),
        ("head.cpus", True, r"head\.cpus: must be a number, not true or false"),
        ("head.python", "3.12", r"python: head: Python 3\.12, .*no machines of different Pythons"),
        ("python", "3.12", r"Python 3\.12, and this package and its locks are for 3\.11"),
        ("workers.0.min", 3, r"workers\.0\.min: min = 3 is more than max = 2"),
        ("workers", [WORKER, WORKER], "workers: .*two groups have one name"),
        ("max_machines", 2, r"max_machines = 2 is the quota, and head and workers may be 3"),
        ("profile", "gpu", r"workers\.0\.gpu is missing: 1 GPUs of which kind"),
        ("network_interface", "eth0,eth1", "network_interface: String should match pattern"),
        ("token", {}, r"token: token\.file is missing"),
        ("queue", {"kind": "kueue", "name": "q"}, "queue: queue is for Kubernetes"),
        ("jobs.sweep.experiment", None, r"jobs\.sweep\.experiment: experiment is missing"),
        ("jobs.sweep.arguments", ["--set x='a b'"], r"jobs\.sweep\.arguments\.0: String should"),
        ("jobs.sweep.schedule", "0 2 * * *", r"jobs\.sweep\.schedule: .*is for Kubernetes"),
        ("storage.bucket", "http://x", r"storage\.bucket: String should match pattern"),
        ("provider", {}, "is a file for `ray up`; a description has `place`"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(onprem, address, value, words):
    with pytest.raises(ConfigError, match=rf"(?s)^here.*{words}"):
        parse_cluster(changed(onprem, address, value), source="here")


def test_all_faults_are_told_at_once(onprem):
    table = changed(changed(onprem, "head.cpus", 0), "storage.size", 5)
    with pytest.raises(ConfigError, match=r"(?s)storage\.size.*head\.cpus"):
        parse_cluster(table, source="here")


def test_a_file_that_is_missing_or_not_a_mapping_is_refused(tmp_path):
    with pytest.raises(MissingError, match="no cluster description at"):
        read_cluster(tmp_path / "none.yaml")
    path = tmp_path / "bad.yaml"
    for text, words in (("a: [", "not valid YAML"), ("- a", "must hold a mapping; got list")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_cluster(path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
TABLES = [read_table(path) for path in DESCRIPTIONS]


@given(st.data())
def test_whatever_stands_at_a_place_is_read_or_refused_and_nothing_else(data):
    table = data.draw(st.sampled_from(TABLES))
    for _ in range(data.draw(st.integers(1, 3))):
        part = table
        names = []
        while isinstance(part, dict) and part and (not names or data.draw(st.booleans())):
            names.append(data.draw(st.sampled_from(sorted(part))))
            part = part[names[-1]]
        table = changed(table, ".".join(names), data.draw(values)) if names else table
        if not isinstance(table, dict) or not table:
            return
    with suppress(ConfigError):
        parse_cluster(table, source="here")
