"""A FHIR R4 bulk export → blocks of rows: documents joined with their encounter's principal code.

In: a folder of NDJSON files, each of one resource type, plain or packed with gzip. Out: blocks
(`blocks.BLOCK`), a row a DocumentReference. Decided here: encounters, conditions and patients are
held (they are short), documents stream. The principal code is that of the encounter's diagnosis of
rank 1; without ranks that of its only diagnosis of use `DD` (discharge) or `billing`; else that of
the only ICD-10-CM condition that names the encounter. A document counts by its LOINC type, its text
is its first inline `text/plain` attachment. Source: hl7.org/fhir/R4, US Core 6.

A message names file and line, never a value: notes are patients'.
"""

import base64
import binascii
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from deepicd.errors import DataError, MissingError
from deepicd.notes.table.blocks import Row, gather
from deepicd.notes.table.rows import parse_object
from deepicd.text_lines import decode_text, read_lines

_FILES = ("*.ndjson", "*.ndjson.gz", "*.jsonl", "*.jsonl.gz")
_NEEDED = ("DocumentReference", "Encounter")
_LOINC = "http://loinc.org"
_TYPES: Mapping[str, frozenset[str]] = {
    "cut": frozenset(("18842-5", "28655-9", "11490-0")),
    "keep": frozenset(("34117-2", "47039-3", "68609-7", "28626-0")),
}
"""`data.sections` → LOINC types of a discharge summary, and of a history and physical."""
_ICD_10 = (
    "http://hl7.org/fhir/sid/icd-10-cm",
    "urn:oid:2.16.840.1.113883.6.90",
    "http://mimic.mit.edu/fhir/mimic/CodeSystem/mimic-diagnosis-icd10",
)
_RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
_SEX = {"female": "F", "male": "M"}
_USES = frozenset(("DD", "billing"))


@dataclass
class _Known:
    """What the short resources say, by id."""

    patients: dict[str, dict[str, Any]] = field(default_factory=dict)
    encounters: dict[str, dict[str, Any]] = field(default_factory=dict)
    code_of: dict[str, str] = field(default_factory=dict)
    """Condition → its ICD-10-CM code."""
    codes_of: dict[str, set[str]] = field(default_factory=dict)
    """Encounter → codes of the conditions that name it."""

    def principal(self, encounter: str | None) -> str | None:
        """The principal code of an encounter; None where the export does not say one."""
        if not encounter:
            return None
        listed = [
            (entry, self.code_of.get(_refer(entry.get("condition"))))
            for entry in _items(self.encounters.get(encounter, {}).get("diagnosis"))
        ]
        ranked = {code for entry, code in listed if code and str(entry.get("rank")) == "1"}
        used = {code for entry, code in listed if code and _USES & _codes(entry.get("use"))}
        for found in (ranked, used, self.codes_of.get(encounter, set())):
            if found:
                return next(iter(found)) if len(found) == 1 else None
        return None


def check_export(root: Path) -> None:
    """Raise MissingError unless a folder holds the documents and encounters of an export."""
    files = _files_by_type(root)
    missing = [kind for kind in _NEEDED if kind not in files]
    if missing:
        raise MissingError(
            f"no resources of type {', '.join(missing)} in the NDJSON files of {root}; it has "
            f"{', '.join(sorted(files)) or 'none'}. Point --root at the folder of a FHIR bulk "
            "export with DocumentReference, Encounter, Condition and Patient."
        )


def read_export(root: Path, *, sections: str) -> Iterator[pa.Table]:
    """Blocks of the documents of an export, in the order of its files.

    Raises:
        DataError: a line that is no resource, or an attachment that is no base64; names file and
            line.
    """
    files = _files_by_type(root)
    known = _read_known(files)
    documents = _resources(files["DocumentReference"], "DocumentReference")
    yield from gather(
        (place, _to_row(place, one, known, sections=sections)) for place, one in documents
    )


def _files_by_type(root: Path) -> dict[str, list[Path]]:
    if not root.is_dir():
        raise MissingError(f"no folder at {root}; point --root at that of a FHIR bulk export")
    files: dict[str, list[Path]] = {}
    for path in sorted({path for pattern in _FILES for path in root.glob(pattern)}):
        first = next((line for line in read_lines(path) if line.strip()), None)
        if first is not None:
            kind = parse_object(first, f"{path}:1").get("resourceType")
            files.setdefault(str(kind), []).append(path)
    return files


def _resources(paths: Sequence[Path], kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths:
        for number, line in enumerate(read_lines(path), start=1):
            if not line.strip():
                continue
            place = f"{path}:{number}"
            one = parse_object(line, place)
            if one.get("resourceType") != kind or not isinstance(one.get("id"), str):
                raise DataError(
                    f"{place}: no {kind} with an id; a file of a bulk export holds one type"
                )
            yield place, one


def _read_known(files: Mapping[str, Sequence[Path]]) -> _Known:
    known = _Known()
    for _, one in _resources(files.get("Patient", ()), "Patient"):
        known.patients[one["id"]] = {
            "sex": _SEX.get(str(one.get("gender"))),
            "race": _race(one),
            "born": one.get("birthDate"),
        }
    for _, one in _resources(files["Encounter"], "Encounter"):
        known.encounters[one["id"]] = {
            "diagnosis": one.get("diagnosis"),
            "start": _table(one.get("period")).get("start"),
            "patient": _refer(one.get("subject")),
        }
    for _, one in _resources(files.get("Condition", ()), "Condition"):
        code = next(
            (
                str(coding.get("code"))
                for coding in _items(_table(one.get("code")).get("coding"))
                if coding.get("system") in _ICD_10 and coding.get("code")
            ),
            None,
        )
        if code:
            known.code_of[one["id"]] = code
            known.codes_of.setdefault(_refer(one.get("encounter")), set()).add(code)
    return known


def _to_row(place: str, document: Mapping[str, Any], known: _Known, *, sections: str) -> Row:
    context = _table(document.get("context"))
    encounter = next(map(_refer, _items(context.get("encounter"))), None)
    patient = _refer(document.get("subject"))
    owner = known.encounters.get(encounter or "", {}).get("patient")
    if owner and patient and owner != patient:
        raise DataError(
            f"{place}: the document is of another patient than its encounter; export both again"
        )
    person = known.patients.get(patient, {})
    text, reason = "", "" if _is_wanted(document, sections) else "other_document"
    if not reason:
        text = _read_text(document, place)
        reason = "" if text else "no_inline_text"
    start = known.encounters.get(encounter or "", {}).get("start")
    return {
        "id": document["id"],
        "note": text,
        "patient": patient,
        "admission": encounter,
        "code": known.principal(encounter),
        "order": document.get("date"),
        "age": _age(person.get("born"), start),
        "sex": person.get("sex"),
        "race": person.get("race"),
        "reason": reason,
    }


def _is_wanted(document: Mapping[str, Any], sections: str) -> bool:
    """By type and status; a document without a LOINC type is taken for a wanted one."""
    if document.get("status") in ("superseded", "entered-in-error"):
        return False
    types = {
        str(coding.get("code"))
        for coding in _items(_table(document.get("type")).get("coding"))
        if coding.get("system") == _LOINC
    }
    return not types or bool(types & _TYPES[sections])


def _read_text(document: Mapping[str, Any], place: str) -> str:
    """The first inline attachment of plain text; empty where there is none."""
    for content in _items(document.get("content")):
        attachment = _table(content.get("attachment"))
        kind, _, rest = str(attachment.get("contentType", "")).lower().partition(";")
        data = attachment.get("data")
        if kind.strip() != "text/plain" or not isinstance(data, str):
            continue
        try:
            packed = base64.b64decode(data, validate=True)
            charset = rest.partition("charset=")[2].strip(' "')
            if charset and not charset.startswith("utf"):
                return packed.decode(charset)
        except (binascii.Error, LookupError, UnicodeDecodeError) as error:
            raise DataError(
                f"{place}: its attachment is no base64 of plain text ({type(error).__name__}). "
                "Export it again."
            ) from None
        return decode_text(io.BytesIO(packed), place)
    return ""


def _age(born: Any, start: Any) -> str | None:
    """Whole years between two FHIR dates; None where either has no day."""
    try:
        first, then = (date.fromisoformat(str(day)[:10]) for day in (born, start))
    except ValueError:  # a year alone, or nothing
        return None
    years = then.year - first.year - ((then.month, then.day) < (first.month, first.day))
    return str(years) if years >= 0 else None


def _race(patient: Mapping[str, Any]) -> str | None:
    for extension in _items(patient.get("extension")):
        if extension.get("url") == _RACE:
            parts = _items(extension.get("extension"))
            texts = [part.get("valueString") for part in parts if part.get("url") == "text"]
            return next((text for text in texts if isinstance(text, str)), None)
    return None


def _refer(reference: Any) -> str:
    """`{"reference": "Encounter/7"}` → `7`; empty where there is none."""
    target = str(_table(reference).get("reference") or "")
    return target.rpartition("/")[2].removeprefix("urn:uuid:")


def _codes(concept: Any) -> set[str]:
    return {str(coding.get("code")) for coding in _items(_table(concept).get("coding"))}


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
