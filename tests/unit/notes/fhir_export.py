"""Resources of FHIR R4, and a bulk export of them."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from table_notes import summary

ICD_10 = "http://hl7.org/fhir/sid/icd-10-cm"
LOINC = "http://loinc.org"
RACE = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race"
Resource = dict[str, Any]


def document(number: int, **values: Any) -> Resource:
    data = base64.b64encode(summary(number).encode()).decode()
    return {
        "resourceType": "DocumentReference",
        "id": f"doc{number}",
        "status": "current",
        "type": {"coding": [{"system": LOINC, "code": "18842-5"}]},
        "subject": {"reference": f"Patient/p{number}"},
        "date": "2180-05-06T10:00:00Z",
        "content": [{"attachment": {"contentType": "text/plain; charset=utf-8", "data": data}}],
        "context": {"encounter": [{"reference": f"Encounter/e{number}"}]},
        **values,
    }


def encounter(number: int, diagnosis: Any = None, **values: Any) -> Resource:
    return {
        "resourceType": "Encounter",
        "id": f"e{number}",
        "subject": {"reference": f"urn:uuid:p{number}"},
        "period": {"start": "2180-05-01T08:00:00Z"},
        "diagnosis": diagnosis,
        **values,
    }


def condition(name: str, code: str, of: str = "", system: str = ICD_10) -> Resource:
    coding = [{"system": "http://snomed.info/sct", "code": "1"}, {"system": system, "code": code}]
    return {
        "resourceType": "Condition",
        "id": name,
        "code": {"coding": coding},
        "encounter": {"reference": f"Encounter/{of}"},
    }


def diagnosis(name: str, rank: int | None = None, use: str = "") -> Resource:
    entry: Resource = {"condition": {"reference": f"Condition/{name}"}}
    entry |= {"rank": rank} if rank else {}
    return entry | ({"use": {"coding": [{"code": use}]}} if use else {})


def patient(number: int) -> Resource:
    race = {"url": RACE, "extension": [{"url": "text", "valueString": "White"}]}
    born = "2110-05-02" if number % 2 else "2110"
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "gender": "female",
        "birthDate": born,
        "extension": [race],
    }


def export(folder: Path, *resources: Resource, is_packed: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    by_type: dict[str, list[Resource]] = {}
    for one in resources:
        by_type.setdefault(one["resourceType"], []).append(one)
    for kind, ones in by_type.items():
        data = "".join(json.dumps(one) + "\n" for one in ones).encode()
        path = folder / f"{kind}.000.ndjson{'.gz' if is_packed else ''}"
        path.write_bytes(gzip.compress(data) if is_packed else data)
    return folder
