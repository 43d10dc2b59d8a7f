"""A YAML for `ray up` → what is wrong with it, before any machine is touched.

Two readings: Ray's own JSON schema, taken from the installed Ray without importing it, and this
platform's rules, each with its reason. A file that passes can still name a machine that is
not there: only a launch shows that.
"""

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deepicd.errors import MissingError

_COMMANDS = ("head_start_ray_commands", "worker_start_ray_commands")
_TOKEN = ("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH=")


def ray_up_faults(table: Mapping[str, Any]) -> list[str]:
    """Every fault of a table that `ray up` is to launch, each as `place: what is wrong`."""
    # The rules read keys that the schema asks for, so they come after it.
    return [*_schema_faults(table)] or [*_rule_faults(table)]


def schema_path() -> Path:
    """Ray's JSON schema of files for `ray up`, in the installed package."""
    spec = importlib.util.find_spec("ray")
    if spec is None or not spec.submodule_search_locations:
        raise MissingError("Ray is not installed; run `make setup` and call .venv/bin/deepicd")
    return Path(spec.submodule_search_locations[0]) / "autoscaler" / "ray-schema.json"


def _schema_faults(table: Mapping[str, Any]) -> Iterator[str]:
    import jsonschema

    schema = json.loads(schema_path().read_text(encoding="utf-8"))
    for error in jsonschema.Draft7Validator(schema).iter_errors(table):
        yield f"{error.json_path.removeprefix('$.')}: {error.message}"


def _rule_faults(table: Mapping[str, Any]) -> Iterator[str]:
    for key in _COMMANDS:
        starts = [line for line in table.get(key) or [] if "ray start" in line]
        if not starts:
            yield f"{key}: no command runs `ray start`; Ray's default has no token authentication"
        for line in starts:
            for words in _TOKEN:
                if words not in line:
                    yield f"{key}: `ray start` without {words}; say how the cluster authenticates"
    provider = table["provider"]
    if provider["type"] == "local":
        yield from _local_faults(table, provider)


def _local_faults(table: Mapping[str, Any], provider: Mapping[str, Any]) -> Iterator[str]:
    for key in ("head_ip", "worker_ips"):
        if key not in provider:
            yield f"provider.{key}: a local provider lists its machines; worker_ips may be []"
    if not table.get("auth", {}).get("ssh_user"):
        yield "auth.ssh_user: Ray logs in over ssh, on this machine too; name the user"
    if provider.get("worker_ips") and provider.get("head_ip") in ("127.0.0.1", "localhost"):
        yield "provider.head_ip: workers cannot reach a loopback address; write the head's own"
    heads = " ".join(table.get("head_start_ray_commands") or [])
    if "RAY_enable_autoscaler_v2=0" not in heads:
        yield (
            "head_start_ray_commands: set RAY_enable_autoscaler_v2=0; "
            "version 2 starts no workers of a local provider"
        )
