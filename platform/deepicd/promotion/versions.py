"""A registered version: its folder, its facts, and what differs between two.

In: a version's folder with its manifest. Out: `Version`. Decided here: the content of a version is
its model with what belongs to it (calibration, list of patients), and not the card, which names the
version.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepicd import checkpoints
from deepicd.config import nearest
from deepicd.errors import MissingError
from deepicd.promotion.calibration_file import CALIBRATION, write_calibration
from deepicd.promotion.event_log import State
from deepicd.promotion.lineage import Lineage, TrainedPatients, compare_lineages, read_lineage
from deepicd.promotion.model_card import model_card
from deepicd.promotion.patients import PATIENTS, PatientList, write_patients
from deepicd.records import Calibration, Challenge

CHAMPION, CHALLENGER = "champion", "challenger"
CARD = "README.md"


@dataclass(frozen=True)
class Version:
    """One registered model; its folder never changes."""

    name: str
    """v0001, v0002, …"""
    path: Path
    """Hugging Face folder, ready for transformers and vLLM."""
    content: str
    """SHA-256 over the model files."""
    created: str
    """UTC, ISO 8601."""
    lineage: Mapping[str, Any]
    """Where it comes from, as `lineage.Lineage` writes it."""
    scores: Mapping[str, float]

    @property
    def origin(self) -> Lineage:
        """The lineage, read."""
        return read_lineage(self.lineage)

    def as_dict(self) -> dict[str, Any]:
        """The version as values of JSON."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class Aliases:
    """Which version has which alias, and which one had it before."""

    champion: str | None
    former: str | None
    """Who becomes champion by a roll-back."""
    challenge: Challenge | None


@dataclass(frozen=True)
class Attachments:
    """What is registered with the weights."""

    lineage: Mapping[str, Any]
    scores: Mapping[str, float]
    calibration: Calibration | None
    patients: PatientList | None
    """Those that it was trained on; None where nobody knows."""
    card: Mapping[str, Any]
    """What the model card says besides (`pipeline.context.card_facts`)."""


def finish_folder(folder: Path, name: str, attached: Attachments) -> Mapping[str, Any]:
    """Put what belongs to a version beside its weights, and its manifest last; returns that."""
    # Those of the version that the folder was copied from.
    for stale in (CALIBRATION, PATIENTS):
        (folder / stale).unlink(missing_ok=True)
    # Nobody may claim patients in a lineage: the list that is written here tells.
    lineage = {key: each for key, each in attached.lineage.items() if key != "patients"}
    if attached.patients is not None:
        sha256 = write_patients(folder, attached.patients)
        lineage["patients"] = asdict(TrainedPatients(len(attached.patients.digests), sha256))
    facts = _facts(lineage, attached)
    if attached.calibration is not None:
        write_calibration(folder, attached.calibration)
        facts["calibration"] = dict(attached.calibration.errors)
        facts["calibrated_levels"] = list(attached.calibration.curves)
    (folder / CARD).write_text(model_card(name, facts), encoding="utf-8")
    return checkpoints.write_manifest(folder, facts)


def describe_version(name: str, path: Path) -> Version:
    """The version in that folder, by its manifest."""
    manifest = checkpoints.read_manifest(path)
    facts = manifest["facts"]
    content = content_of(manifest)
    return Version(name, path, content, facts["created"], facts["lineage"], facts["scores"])


def compare(first: Version, second: Version) -> list[tuple[str, Any, Any]]:
    """Rows (field, first's value, second's value) of what differs: contents, lineage field by
    field, scores.
    """
    pairs: list[tuple[str, Any, Any]] = [("content", first.content[:12], second.content[:12])]
    lineage = compare_lineages(first.origin, second.origin)
    pairs += [(f"lineage.{name}", left, right) for name, left, right in lineage]
    names = sorted({*first.scores, *second.scores})
    pairs += [(f"scores.{name}", first.scores.get(name), second.scores.get(name)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def resolve(state: State, name: str, place: Path | str) -> str:
    """The version that a name or alias stands for; `place` is the registry's.

    Raises:
        MissingError: nothing is called that.
    """
    if name in {CHAMPION, CHALLENGER}:
        if name not in state.aliases:
            raise MissingError(f"no version is {name} in {place}. Register one and promote it.")
        return state.aliases[name]
    if name not in state.manifests:
        names = [*state.manifests, *state.aliases]
        raise MissingError(
            f"no version {name!r} in {place}{nearest(name, names)}; known: "
            f"{', '.join(names) or 'none'}."
        )
    return name


def content_of(manifest: Mapping[str, Any]) -> str:
    """Digest of the model itself: the card, which names the version, is left out."""
    files = {name: entry for name, entry in manifest["files"].items() if name != CARD}
    return checkpoints.content_digest({"files": files})


def digest(path: Path) -> str:
    """SHA-256 of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _facts(lineage: Mapping[str, Any], attached: Attachments) -> dict[str, Any]:
    """What the manifest says besides hashes, as it will be read back from JSON."""
    facts = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "lineage": dict(lineage),
        "scores": dict(attached.scores),
    }
    if attached.card:
        facts["card"] = dict(attached.card)
    return dict(json.loads(json.dumps(facts, default=str)))
