"""Every door that a text comes in by: the same forms give the same value, the same faults a
refusal."""

import bz2
import gzip
import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from deepicd.cli.notes import app as notes_app
from deepicd.clusters.description import read_table
from deepicd.config import load_experiment
from deepicd.errors import ConfigError, DataError
from deepicd.pipeline.evaluation import explain_reward
from deepicd.scoring import read_predictions
from deepicd.serving.client import read_note
from deepicd.sweeps.planning.prices import read_prices

SECRET = "SECRETWORDS"
ANSWER = "pain</think><diagnosis>I25.10</diagnosis>"
MACHINE = (
    'as_of = "2026-01"\nsource = "list"\n[[machines]]\nprovider = "x"\nname = "m"\n'
    'gpu = "g"\ngpus = 1\nusd_per_hour = 1.0\n'
)


def explain(path):
    return explain_reward(
        ANSWER, "I25.10", preset="default", hierarchy_curve=1.0, note=path
    ).as_dict()


def row(number):
    answer = {"patient_id": f"p{number}", "gold": "I25.10", "prediction": "I25.10"}
    return json.dumps({**answer, "note_id": f"n\u00e4{number}"}, ensure_ascii=False)


DOORS = {
    "experiment": (load_experiment, 'name = "n"\n[training]\ntotal_steps = 7\n'),
    "cluster": (read_table, "cluster_name: caf\u00e9\nmax_workers: 0\n"),
    "prediction": (read_predictions, f"{row(1)}\n{row(2)}\n"),
    "note": (read_note, "CHIEF COMPLAINT: fi\u00e8vre\nPRESENT ILLNESS: two days\n"),
    "reward": (explain, "CHIEF COMPLAINT: pain\n"),
}
FORMS = {
    "mark": lambda text: text.encode("utf-8-sig"),
    "utf-16": lambda text: text.encode("utf-16"),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "cr": lambda text: text.replace("\n", "\r").encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "members": lambda text: b"".join(gzip.compress(bytes([byte])) for byte in text.encode()),
    "padding": lambda text: gzip.compress(text.encode()) + bytes(777),
}
FAULTS = {
    "null": (lambda text: f"{text[:9]}\0{SECRET}".encode(), "null character"),
    "latin-1": (lambda text: text.encode() + f"\n{SECRET} \xe9".encode("latin-1"), "not UTF-8"),
    "utf-16 without a mark": (lambda text: text.encode("utf-16-le"), "without a byte-order"),
    "cut gzip": (lambda text: gzip.compress(text.encode() * 99)[:-9], "cut off"),
    "more behind gzip": (lambda text: gzip.compress(text.encode()) + b"x", "damaged"),
    "zip": (lambda _: b"PK\x03\x04" + SECRET.encode(), "zip, and no text"),
    "bzip2": (lambda text: bz2.compress(text.encode()), "bzip2, and no text"),
    "Parquet": (lambda _: b"PAR1" + SECRET.encode(), "Parquet, and no text"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("door", DOORS)
def test_every_form_of_a_text_is_read_alike_at_every_door(tmp_path, door, form):
    read, text = DOORS[door]
    plain, other = tmp_path / "plain", tmp_path / "other.gz"
    plain.write_text(text)
    other.write_bytes(FORMS[form](text))
    assert read(other) == read(plain)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_text_is_refused_at_every_door_and_not_repeated(tmp_path, door, fault):
    read, text = DOORS[door]
    write, match = FAULTS[fault]
    path = tmp_path / "broken"
    path.write_bytes(write(text))
    if (door, fault) == ("prediction", "latin-1"):
        # Broken bytes in one answer must not hide the other rows; here they are a row of their own.
        match = "not a JSON object"
    with pytest.raises((DataError, ConfigError), match=match) as refused:
        read(path)
    assert SECRET not in str(refused.value) and str(path) in str(refused.value)


def test_a_price_table_passes_the_same_reader(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match="is a file of zip, and no text"):
        read_prices(path)


BOMB = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2_000_000 << 10, 2_000_000 << 10))
from deepicd.cli import main
sys.argv = ["deepicd", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("arguments", [["score"], ["validate"]], ids=" ".join)
def test_a_bomb_of_100_mb_is_refused_by_the_command_within_two_gigabytes(tmp_path, arguments):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(b"x" * (100 << 20), 1))
    program = [sys.executable, "-c", BOMB, *arguments, str(path)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    said = " ".join((done.stdout + done.stderr).split())
    assert "more than 16,777,216 characters" in said and "Traceback" not in said
    assert done.returncode in (1, 2, 3)


TABLES = {
    "note/discharge": "note_id,subject_id,hadm_id,note_type,note_seq,text\nn,7,1,DS,1,CC: fall\n",
    "hosp/diagnoses_icd": "hadm_id,seq_num,icd_code,icd_version\n1,1,I214,10\n",
    "hosp/admissions": "hadm_id,subject_id,race,insurance\n1,7,WHITE,Other\n",
    "hosp/patients": "subject_id,gender,anchor_age\n7,F,60\n",
}


@pytest.mark.parametrize(
    ("table", "write", "match"),
    [
        (
            "note/discharge",
            lambda text: text.replace("note_seq", "text", 1),
            "has no column note_s",
        ),
        (
            "note/discharge",
            lambda text: text.replace("\n", ",text\n", 1),
            "has the column text mo",
        ),
        ("note/discharge", lambda _: "x" * (100 << 20), "has a header of more than 1,048,576 byte"),
        ("note/discharge", lambda _: "", "is empty"),
        ("hosp/admissions", lambda text: text.replace("1,7", "1,7.0"), "row 1: subject_id must be"),
        (
            "hosp/admissions",
            lambda text: text.replace("1,7", ",7"),
            "row 1: hadm_id must be text o",
        ),
        ("hosp/admissions", lambda text: text + text.splitlines()[1], "row 2: hadm_id stood in an"),
        ("hosp/patients", lambda text: text.replace("7,F", "7,F,F"), "row 1 below its header .* 4"),
        (
            "hosp/patients",
            lambda text: text + '8,"F,60\n9,M,70\n',
            "row 2 below its header .line 3",
        ),
        ("hosp/patients", lambda text: text + '8,"F\n9,"M,70\n', "row 2 below its header .line 3"),
        (
            "hosp/diagnoses_icd",
            lambda text: text + "1,1,I10,10\n",
            "row 2: hadm_id stood in an ear",
        ),
        ("hosp/diagnoses_icd", lambda text: text.replace("I214", "I2\0"), "null character"),
    ],
)
def test_a_build_refuses_a_broken_table_before_ray_starts(tmp_path, table, write, match):
    for name, text in TABLES.items():
        path = tmp_path / f"{name}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(write(text) if name == table else text)
    arguments = ["build", "--source", "mimic", "--root", str(tmp_path)]
    result = CliRunner().invoke(notes_app, [*arguments, "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, DataError)
    assert re.search(match, str(result.exception)), result.exception
    assert not (tmp_path / "out").exists()
