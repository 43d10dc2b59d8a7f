"""Manifests checked as an API server would, offline and strictly.

In: a manifest. Out: its faults. The schemas are those of `data/`; a CRD's is closed (an unknown
field is a fault) except where it says `x-kubernetes-preserve-unknown-fields`.
"""

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

_DATA = Path(__file__).with_name("data")
_METADATA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
        "namespace": {"type": "string"},
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "string", "pattern": r"^([\w.-]{0,63})$"},
        },
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["name"],
    "additionalProperties": False,
}
_INT_OR_STRING = {"type": ["integer", "string"]}


def faults_of(manifest: dict[str, Any]) -> list[str]:
    """What an API server would refuse, each with its place."""
    validator = jsonschema.Draft202012Validator(_schema_of(manifest["kind"]))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


@cache
def _schema_of(kind: str) -> dict[str, Any]:
    return next(table[kind] for table in (_core(), _operator(), _custom()) if kind in table)


@cache
def _custom() -> dict[str, Any]:
    found = {}
    with tarfile.open(_DATA / "kuberay-1.7.0.tar.xz") as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            if file is None or not member.name.endswith(".yaml"):
                continue
            crd = yaml.load(file.read(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            (version,) = [each for each in crd["spec"]["versions"] if each["name"] == "v1"]
            schema = _closed(version["schema"]["openAPIV3Schema"])
            found[crd["spec"]["names"]["kind"]] = _with_head(schema, "ray.io/v1")
    return found


@cache
def _operator() -> dict[str, Any]:
    schemas = json.loads((_DATA / "prometheus-operator-0.80.1.json").read_text())
    return {
        kind: _with_head(schema, "monitoring.coreos.com/v1") for kind, schema in schemas.items()
    }


@cache
def _core() -> dict[str, Any]:
    table = json.loads((_DATA / "kubernetes-1.37.json").read_text())
    return {
        kind: {"$ref": f"#/definitions/{name}", "definitions": table["definitions"]}
        for kind, name in table["roots"].items()
    }


def _with_head(schema: dict[str, Any], version: str) -> dict[str, Any]:
    head = {"apiVersion": {"const": version}, "metadata": _METADATA}
    properties = {**schema["properties"], **head}
    required = ["apiVersion", "kind", "metadata", "spec"]
    return {**schema, "properties": properties, "required": required}


def _closed(schema: Any) -> Any:
    """A structural schema with unknown fields refused, in the words of JSON Schema."""
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return _INT_OR_STRING
    closed = {name: value for name, value in schema.items() if not name.startswith("x-kube")}
    for name in ("items", "additionalProperties"):
        if name in closed:
            closed[name] = _closed(closed[name])
    if "properties" in closed:
        closed["properties"] = {n: _closed(each) for n, each in closed["properties"].items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if closed.get("type") == "object" and "additionalProperties" not in closed and not is_open:
        closed["additionalProperties"] = False
    return closed
