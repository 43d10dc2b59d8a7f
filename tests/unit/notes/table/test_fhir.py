"""A FHIR bulk export: documents joined with their encounter, and what is refused or counted."""

import base64
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fhir_export import (
    LOINC,
    Resource,
    condition,
    diagnosis,
    document,
    encounter,
    export,
    patient,
)
from table_notes import Row, summary

from deepicd.errors import DataError, MissingError
from deepicd.notes.table.fhir import check_export, read_export


def read(folder: Path, sections: str = "cut") -> dict[str, Row]:
    check_export(folder)
    rows = pa.concat_tables(read_export(folder, sections=sections)).to_pylist()
    return {row["id"]: row for row in rows}


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_document_is_joined_with_its_encounter_and_patient(
    tmp_path: Path, is_packed: bool
) -> None:
    encounters = [encounter(one, [diagnosis(f"c{one}", rank=1)]) for one in (1, 2)]
    conditions = [condition(f"c{one}", "I21.4") for one in (1, 2)]
    people = [patient(one) for one in (1, 2)]
    root = export(
        tmp_path / "x",
        *(document(1), document(2), *encounters, *conditions, *people),
        is_packed=is_packed,
    )
    rows = read(root)
    assert rows["doc1"] == {
        "note": summary(1),
        "patient": "p1",
        "admission": "e1",
        "code": "I21.4",
        "id": "doc1",
        "order": "2180-05-06T10:00:00",
        "sex": "F",
        "race": "White",
        "age": "69",
        "insurance": None,
        "reason": None,
    }
    assert rows["doc2"]["age"] is None  # of a year of birth alone


PRINCIPAL: Mapping[str, tuple[list[Resource], str | None]] = {
    "the first rank": ([diagnosis("a", 2), diagnosis("b", 1)], "J18.9"),
    "two of the first rank": ([diagnosis("a", 1), diagnosis("b", 1)], None),
    "the only discharge diagnosis": ([diagnosis("a", use="AD"), diagnosis("b", use="DD")], "J18.9"),
    "two for billing": ([diagnosis("a", use="billing"), diagnosis("b", use="billing")], None),
    "a rank of another system": ([diagnosis("s", 1)], "K35.80"),
    "no diagnosis, one condition": ([], "K35.80"),
}  # fmt: skip


@pytest.mark.parametrize("name", PRINCIPAL)
def test_the_principal_code_is_found_or_not_guessed(tmp_path: Path, name: str) -> None:
    listed, code = PRINCIPAL[name]
    conditions = [
        *(condition("a", "I21.4"), condition("b", "J18.9")),
        *(condition("s", "99", system="urn:other"), condition("own", "K35.80", of="e1")),
    ]
    root = export(tmp_path / "x", document(1), encounter(1, listed), *conditions)
    assert read(root)["doc1"]["code"] == code


def attachment(kind: str, data: bytes) -> Any:
    return [{"attachment": {"contentType": kind, "data": base64.b64encode(data).decode()}}]


def test_other_documents_and_those_without_text_are_counted(tmp_path: Path) -> None:
    radiology = {"coding": [{"system": LOINC, "code": "18748-4"}]}
    elsewhere = [{"attachment": {"contentType": "text/plain", "url": "Binary/1"}}]
    root = export(
        tmp_path / "x",
        document(1, type=radiology),
        document(2, status="entered-in-error"),
        document(3, content=elsewhere),
        document(4, content=attachment("application/pdf", b"%PDF")),
        document(5, type={"text": "Discharge summary"}),
        document(6, content=attachment("text/plain; charset=iso-8859-1", "Ä".encode("latin-1"))),
        encounter(1),
    )
    rows = read(root)
    assert Counter(row["reason"] for row in rows.values()) == {
        "other_document": 2,
        "no_inline_text": 2,
        None: 2,
    }
    assert rows["doc6"]["note"] == "Ä"
    assert read(root, "keep")["doc5"]["reason"] is None


def test_a_history_and_physical_is_wanted_where_admission_notes_are(tmp_path: Path) -> None:
    kind = {"coding": [{"system": LOINC, "code": "34117-2"}]}
    root = export(tmp_path / "x", document(1, type=kind), document(2), encounter(1))
    rows = read(root, "keep")
    assert (rows["doc1"]["reason"], rows["doc2"]["reason"]) == (None, "other_document")


def test_a_document_of_another_patient_than_its_encounter_is_refused(tmp_path: Path) -> None:
    root = export(
        tmp_path / "x", document(1, subject={"reference": "Patient/p9"}), encounter(1), patient(1)
    )
    with pytest.raises(DataError, match=r"ndjson:1: the document is of another patient than its"):
        read(root)


def test_a_broken_attachment_and_a_broken_line_are_named(tmp_path: Path) -> None:
    broken = [{"attachment": {"contentType": "text/plain", "data": "SECRET WORDS!"}}]
    root = export(tmp_path / "x", document(1), document(2, content=broken), encounter(1))
    with pytest.raises(DataError, match=r"ndjson:2: its attachment is no base64") as got:
        read(root)
    assert "SECRET" not in str(got.value)
    (root / "Encounter.000.ndjson").write_text(json.dumps(encounter(1)) + '\n{"id": 7}\n')
    with pytest.raises(DataError, match=r"Encounter.*ndjson:2: no Encounter with an id"):
        read(root)


def test_what_an_export_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no folder at .*gone"):
        check_export(tmp_path / "gone")
    root = export(tmp_path / "x", patient(1), encounter(1))
    with pytest.raises(MissingError, match=r"type DocumentReference.*it has Encounter, Patient"):
        check_export(root)
