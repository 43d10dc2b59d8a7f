"""Where notes come from: each source has its place, and each thing that is read its column."""

import pytest
from typer.testing import CliRunner

from deepicd import cli
from deepicd.config import DataConfig, options_of_source, parse_build_options, parse_experiment
from deepicd.errors import ConfigError


def read(**data):
    return parse_experiment({"data": data}, "here").data


@pytest.mark.parametrize(
    ("source", "needed"), [("mimic", "root"), ("fhir", "root"), ("table", "file")]
)
def test_a_source_needs_its_place_or_an_earlier_build(tmp_path, source, needed):
    with pytest.raises(ConfigError, match=rf"source '{source}' needs data\.{needed} or data\.spl"):
        read(source=source)
    assert read(source=source, splits=str(tmp_path)).place is None
    assert read(**{"source": source, needed: str(tmp_path)}).place == tmp_path
    assert read(source="embedded", root=str(tmp_path)).place is None


def test_columns_have_the_names_of_what_they_are_unless_told_otherwise():
    assert read(source="table", file="n.csv").columns.named() == {
        name: name for name in ("note", "patient", "admission", "code")
    }
    columns = {"note": "text", "age": "years"}
    named = read(source="table", file="n.csv", columns=columns).columns.named()
    assert (named["note"], named["age"], named["code"]) == ("text", "years", "code")


def test_a_column_is_one_thing_unless_patients_admissions_and_notes_are_alike():
    def named(**columns):
        return read(source="table", file="n.csv", columns=columns)

    with pytest.raises(ConfigError, match="column 'x' is named for note and code; name a column"):
        named(note="x", code="x")
    assert named(patient="x", admission="x", id="x").columns.id == "x"
    with pytest.raises(ConfigError, match=r"data\.columns\.notes.*nearest: data\.columns\.note"):
        named(notes="x")
    with pytest.raises(ConfigError, match=r"data\.columns\.note"):
        named(note="")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"num_notes": 5}, "command line: --num-notes: .* got 5; change it$"),
        ({"split_seed": -1}, "--seed: .* got -1; change it$"),
        ({"sections": "cat"}, "--sections: .* got 'cat'; change it$"),
        ({"columns": {"notes": "x"}}, r"unknown key --columns notes \(nearest: --columns note\)"),
    ],
)
def test_a_fault_of_a_build_names_its_option_and_none_that_it_lacks(table, message):
    with pytest.raises(ConfigError, match=message) as refused:
        parse_build_options(table)
    assert "--set" not in str(refused.value) and "data." not in str(refused.value)


def test_an_unknown_source_is_refused_by_the_name_of_its_option():
    words = ["notes", "build", "--source", "tabel", "--out", "x"]
    done = CliRunner().invoke(cli.app, words, env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 2 and "--source" in done.output and "--set" not in done.output
    assert "'table'" in done.output


def test_options_of_a_build_are_those_of_its_source():
    table = options_of_source(
        "table", root=None, file="n.csv", columns="note = Text, code=ICD 10", sections="keep"
    )
    data = DataConfig(**table)
    assert (data.columns.note, data.columns.code, data.sections) == ("Text", "ICD 10", "keep")
    assert options_of_source("embedded", root=None, columns="") == {"source": "embedded"}


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("mimic", {"file": "n.csv"}, "--file would change nothing with --source mimic: .* table"),
        ("table", {"root": "x"}, "--root would change nothing .* belongs to mimic, fhir"),
        ("embedded", {"columns": "note=x"}, "--columns would change nothing"),
        ("table", {"columns": "note"}, "columns are written WHAT=COLUMN, .*got 'note'"),
        ("table", {"columns": "note=a,"}, "got ''"),
        ("mimic", {}, "--source mimic needs --root; name the folder"),
        ("table", {"columns": "note=a"}, "--source table needs --file; name the CSV"),
        ("fhir", {}, "--source fhir needs --root"),
        ("table", {"columns": "note=a,code=b,note=c"}, "note is 'a' and 'c'. Leave one out"),
    ],
)
def test_what_an_option_cannot_mean_is_refused(source, options, message):
    with pytest.raises(ConfigError, match=message):
        options_of_source(source, **options)
