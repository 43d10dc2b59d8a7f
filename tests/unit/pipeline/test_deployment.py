"""What an interrupted deployment logged stands aside, under the next number."""

import pytest

from deepicd.pipeline.deployment import _put_aside


def logs(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_logs_are_numbered_on_and_none_is_overwritten(tmp_path):
    log = tmp_path / "monitor"
    _put_aside(log)
    for number in range(1, 13):
        log.write_text(str(number))
        _put_aside(log)
    assert logs(tmp_path) == {f"monitor.{number}": str(number) for number in range(1, 13)}


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (("monitor.3",), "monitor.4"),
        (("monitor.1", "monitor.9", "monitor.10"), "monitor.11"),
        (("monitor.tmp", "monitor.2.old", "monitoring.7", "7"), "monitor.1"),
    ],
)
def test_gaps_tens_and_strangers_are_minded(tmp_path, there, wanted):
    for name in there:
        (tmp_path / name).write_text("kept")
    (tmp_path / "monitor").mkdir()
    (tmp_path / "monitor" / "predictions").write_text("new")
    _put_aside(tmp_path / "monitor")
    assert (tmp_path / wanted / "predictions").read_text() == "new"
    assert all((tmp_path / name).read_text() == "kept" for name in there)
