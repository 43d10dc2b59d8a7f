"""The embedded corpus as MIMIC-IV tables: bytes, splits, ceiling."""

import csv
import gzip
import json
from pathlib import Path

from deepicd.notes.corpus.mimic_tables import CEILING_ANSWERS, HEADERS, SPLIT_OF, write_tables
from deepicd.notes.corpus.profiles import load_knowledge
from deepicd.notes.splits import assign_split
from deepicd.paths import SPLITS

SHARES = (0.6, 0.1, 0.2, 0.1)


def test_training_has_every_label_of_the_embedded_corpus_that_enough_patients_have(
    tmp_path: Path,
) -> None:
    shares = (0.2, 0.3, 0.3, 0.2)  # small enough that the hash alone leaves labels out
    write_tables(load_knowledge(), tmp_path, num_notes=900, shares=shares, seed=1)
    split_of = json.loads((tmp_path / SPLIT_OF).read_text())
    with gzip.open(tmp_path / "hosp/diagnoses_icd.csv.gz", "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["subject_id"] in split_of]
    patients_of: dict[str, set[str]] = {}
    for row in rows:
        if (row["seq_num"], row["icd_version"]) == ("1", "10"):
            patients_of.setdefault(row["icd_code"].strip(), set()).add(row["subject_id"])
    moved = [one for one in split_of if split_of[one] != assign_split(one, shares, 1)]
    assert moved and {split_of[one] for one in moved} == {"train"}
    for patients in patients_of.values():
        assert len(patients) < 4 or "train" in {split_of[one] for one in patients}


def test_equal_seeds_write_equal_bytes(tmp_path: Path) -> None:
    few = load_knowledge(5)
    for name in ("a", "b", "c"):
        seed = 2 if name == "c" else 1
        write_tables(few, tmp_path / name, num_notes=40, shares=SHARES, seed=seed)
    files = [f"{table}.csv.gz" for table in HEADERS]
    for table in files:
        assert (tmp_path / "a" / table).read_bytes() == (tmp_path / "b" / table).read_bytes()
    first = tmp_path / "a" / files[0]
    assert first.read_bytes() != (tmp_path / "c" / files[0]).read_bytes()
    with gzip.open(first, "rt", newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == HEADERS["note/discharge"]
    assert len({row[0] for row in rows[1:]}) == len(rows) - 1


def test_the_ceiling_is_scored_by_split_with_the_one_scorer(tmp_path: Path) -> None:
    knowledge = load_knowledge(5)
    ceiling = write_tables(knowledge, tmp_path, num_notes=300, shares=SHARES, seed=1)
    assert set(ceiling) == set(SPLITS)
    assert sum(scores["num_notes"] for scores in ceiling.values()) == 300
    assert all(0.5 < scores["hierarchical_f1"] <= 1 for scores in ceiling.values())
    answers = json.loads((tmp_path / CEILING_ANSWERS).read_text())
    codes = {profile.code for profile in knowledge.profiles}
    assert len(answers) == 300 and set(answers.values()) <= codes
