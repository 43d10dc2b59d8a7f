"""What lies in the place of a build: nothing is deleted unasked, and what is no build never."""

import json

import pytest
from typer.testing import CliRunner

from deepicd.cli.notes import app
from deepicd.errors import ConfigError, DataError
from deepicd.notes.earlier_build import check_replaced
from deepicd.paths import SPLITS

REPORT = {"identity": {"splits": dict.fromkeys(SPLITS, "ab")}}


@pytest.fixture
def built(tmp_path):
    """A folder of splits and one of tables, with the files that a build leaves."""
    out, tables = tmp_path / "notes", tmp_path / "tables"
    for folder in (out, tables / "note", tables / "hosp", out / "tokens"):
        folder.mkdir(parents=True)
    (out / "report.json").write_text(json.dumps(REPORT))
    for name in (*(f"{split}.parquet" for split in SPLITS), "late_text.npz", "card.md"):
        (out / name).touch()
    for name in ("ceiling.json", "ceiling_answers.json", "split_of.json"):
        (tables / name).touch()
    return out, tables


def listed(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_folder_that_is_not_there_or_empty_is_free(tmp_path):
    (tmp_path / "empty").mkdir()
    check_replaced(tmp_path / "empty", tmp_path / "none", may_delete=False)


def test_an_earlier_build_is_deleted_only_where_somebody_said_so(built, tmp_path):
    out, tables = built
    with pytest.raises(ConfigError, match=r"notes holds an earlier build.* --yes.* \(--out\)"):
        check_replaced(out, tables, may_delete=False)
    with pytest.raises(ConfigError, match=r"tables holds an earlier build.* \(--tables\)"):
        check_replaced(tmp_path / "new", tables, may_delete=False)
    check_replaced(tmp_path / "new", None, may_delete=False)  # no tables are written
    check_replaced(out, tables, may_delete=True)


@pytest.mark.parametrize("which", [0, 1])
def test_what_no_build_wrote_is_refused_by_name_whatever_was_said(built, which):
    (built[which] / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not replaced: .* wrote thesis\.tex\. Choose"):
        check_replaced(*built, may_delete=True)


@pytest.mark.parametrize("text", ["{}", "[1]", "no JSON", '{"identity": {"splits": {"a": 1}}}'])
def test_a_report_of_something_else_makes_no_build(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ConfigError, match=r"no earlier build wrote report\.json"):
        check_replaced(tmp_path, None, may_delete=True)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ConfigError, match="no earlier build wrote that file"):
        check_replaced(tmp_path / "notes", None, may_delete=True)


def test_the_command_asks_for_yes_before_it_reads_anything(built, tmp_path):
    out, _ = built
    table, before = tmp_path / "notes.csv", listed(out)
    table.write_text("")
    arguments = ["build", "--source", "table", "--file", str(table), "--out", str(out)]
    refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, ConfigError) and "--yes" in str(refused.exception)
    allowed = CliRunner().invoke(app, [*arguments, "--yes"])
    # The table is read now, and is none: the earlier build stays until the new one is whole.
    assert isinstance(allowed.exception, DataError) and "notes.csv" in str(allowed.exception)
    assert listed(out) == before


@pytest.mark.parametrize("out", ["/", "."])
def test_a_place_without_a_name_is_refused_where_files_lie_in_it(tmp_path, monkeypatch, out):
    (tmp_path / "mine.csv").write_text("text,patient,admission,code\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(
        app, ["build", "--out", out, "--source", "table", "--file", "mine.csv"]
    )
    assert isinstance(done.exception, ConfigError) and "is not replaced" in str(done.exception)
