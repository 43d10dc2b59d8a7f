"""`deepicd codes`: a code, a block, a chapter."""

import json

from typer.testing import CliRunner

from deepicd.cli.codes import app


def test_command_shows_a_code_as_json():
    result = CliRunner().invoke(app, ["show", "m51.36", "--json"])
    table = json.loads(result.stdout)
    assert table["code"] == "M51.36"
    assert table["successors"] == ["M51.360", "M51.361", "M51.362", "M51.369"]
    assert list(table["path"]) == ["XIII", "M50-M54", "M51", "M51.3", "M51.36"]
    assert table["billable_in"][-1] == 2024


def test_command_shows_headers_blocks_and_chapters():
    shown = {
        name: CliRunner().invoke(app, ["show", name]).stdout for name in ("I25", "B20-B20", "I")
    }
    assert "successors    none" in shown["I25"] and "billable      no" in shown["I25"]
    assert "children      B20" in shown["B20-B20"]
    assert "... (" in shown["I"]


def test_a_code_may_stand_where_the_command_stands():
    shown = CliRunner().invoke(app, ["show", "I25.10", "--json"]).stdout
    assert CliRunner().invoke(app, ["I25.10", "--json"]).stdout == shown != ""
    assert CliRunner().invoke(app, ["--json", "I25.10"]).exit_code == 2
    assert "Print path" in CliRunner().invoke(app, ["show", "--help"]).stdout
