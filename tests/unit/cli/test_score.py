"""`deepicd score`: one file, and two."""

import json

import pytest
from typer import Typer
from typer.testing import CliRunner

from deepicd import scoring
from deepicd.cli.score import command

ROWS = [
    {"patient_id": 1, "gold": "I25.10", "prediction": "i25.9", "note_id": "n1"},
    {"patient_id": "b", "gold": "J18.9", "prediction": None, "reason": "truncated"},
    {"patient_id": "b", "gold": "J18.9", "prediction": ["J18.9"], "reason": 4},
]


def write(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    return path


def run(*arguments):
    app = Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command_prints_every_promised_key(tmp_path):
    path = write(tmp_path / "p.jsonl", ROWS)
    scores = json.loads(run(path, "--json", "--num-bootstrap", "20").stdout)
    promised = [
        *(f"{metric}_{level}" for metric in ("accuracy", "macro_f1") for level in scoring.LEVELS),
        *(f"hierarchical_{name}" for name in ("precision", "recall", "f1")),
        "share_unparsable",
    ]
    for name in promised:
        assert {name, f"{name}_low", f"{name}_high"} <= set(scores)
    assert scores["hierarchical_f1"] == pytest.approx(2 * 2 / (3 + 9))


def test_command_compares_two_files(tmp_path):
    path = write(tmp_path / "p.jsonl", ROWS)
    other = write(tmp_path / "o.jsonl", [ROWS[0] | {"prediction": "I25.10"}, *ROWS[1:]])
    result = json.loads(run(path, "--against", other, "--json", "--num-bootstrap", 20).stdout)
    assert result["paired"]["difference"] < 0
    assert result["against"]["accuracy_full"] == pytest.approx(1 / 3)
    shown = run(path, "--against", other, "--num-bootstrap", 20).stdout
    assert "hierarchical F1, paired: difference -0." in shown
    assert "num_notes                3   against 3" in shown
    bare = json.loads(run(path, "--against", other, "--json", "--num-bootstrap", 0).stdout)
    assert "paired" not in bare and "accuracy_full_low" not in bare["against"]
    assert "accuracy_full            0.0000\n" in run(path, "--num-bootstrap", 0).stdout


def test_subgroups_of_patients_are_shown_with_the_interval_of_their_gap(tmp_path):
    rows = [
        {"patient_id": i, "gold": "I10", "prediction": "I10" if i % 2 else None}
        | {"groups": {"sex": "F" if i % 2 else "M"}}
        for i in range(80)
    ]
    path = write(tmp_path / "p.jsonl", rows)
    result = json.loads(run(path, "--json", "--num-bootstrap", 50).stdout)
    female, male = result["subgroups"]
    assert (female["group"], female["num_notes"], female["gap"]) == ("F", 40, 1.0)
    assert (male["gap_low"], male["gap_high"]) == (-1.0, -1.0)
    shown = run(path, "--num-bootstrap", 50).stdout.splitlines()
    assert " ".join(shown[-2].split()) == "sex: F 40 1.000 [1.000, 1.000] 1.000 [1.000, 1.000]"
    assert "subgroup" not in run(write(tmp_path / "q.jsonl", ROWS), "--num-bootstrap", 20).stdout


def test_notes_that_are_all_of_one_patient_are_told(tmp_path):
    row = '{"patient_id": 0, "gold": "I10", "prediction": "I10"}\n'
    (tmp_path / "p.jsonl").write_text(row * 3)
    done = run(tmp_path / "p.jsonl", "--num-bootstrap", 0)
    assert "all 3 notes are of one patient; is patient_id right?" in done.output
