"""The patients that a version was trained on, as salted digests in a file of its folder.

In: identifiers of patients, and the registry's salt. Out: `patients.txt`, a digest a line, sorted,
covered by the version's manifest; its count and hash go into the lineage. Decided here: a digest is
a keyed BLAKE2b of 128 bits. Each registry has a salt of its own, so lists of two registries do not
tell who is in both, and no list can be looked up by somebody who has it without the salt. Whoever
reads the registry and knows an identifier can ask whether it is in: that is what the list is for.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deepicd.errors import CheckpointError, PromotionError
from deepicd.files import write_atomically

PATIENTS = "patients.txt"
SALT = "salt"
"""Name of the registry's file with the salt."""

_DIGEST_BYTES = 16
_SALT_BYTES = 32
_SALT_PATTERN = re.compile(rf"[0-9a-f]{{{2 * _SALT_BYTES}}}")


def new_salt() -> str:
    """Random, in hex."""
    return secrets.token_hex(_SALT_BYTES)


def check_salt(salt: str, place: str) -> str:
    """The salt, which was read from `place`.

    Raises:
        PromotionError: it is none.
    """
    if not _SALT_PATTERN.fullmatch(salt):
        raise PromotionError(
            f"{place} holds no salt of {2 * _SALT_BYTES} hexadecimal digits. Restore it from a "
            "copy: without it nobody can tell which patients the versions were trained on."
        )
    return salt


@dataclass(frozen=True)
class PatientList:
    """Patients as digests."""

    digests: frozenset[str]
    salt: str
    """What tells the salt of these digests from another one, without giving it away."""

    def __or__(self, other: "PatientList") -> "PatientList":
        """Those of both; the lists must be of one registry."""
        return PatientList(self.digests | other.digests, self.salt)


def list_patients(patients: Iterable[str], salt: str) -> PatientList:
    """Patients as digests by a salt of `new_salt`."""
    digests = frozenset(_digest(patient, salt) for patient in patients)
    return PatientList(digests, hashlib.sha256(salt.encode()).hexdigest()[:16])


def find_listed(patients: Iterable[str], lists: Iterable[PatientList], salt: str) -> frozenset[str]:
    """Those of the patients that are on one of the lists, which were made with this salt."""
    listed = frozenset().union(*(each.digests for each in lists))
    return frozenset(each for each in set(patients) if _digest(each, salt) in listed)


def write_patients(folder: Path, patients: PatientList) -> str:
    """Write the list of a version; returns the file's SHA-256."""
    # Sorted: a set has another order in each process, and the file is hashed.
    text = "\n".join([f"salt {patients.salt}", *sorted(patients.digests), ""])
    write_atomically(folder / PATIENTS, text)
    return hashlib.sha256(text.encode()).hexdigest()


def read_patients(folder: Path) -> PatientList:
    """The list of a version.

    Raises:
        CheckpointError: the file is gone or broken.
    """
    file = folder / PATIENTS
    try:
        first, *digests = file.read_text(encoding="utf-8").splitlines()
        return PatientList(frozenset(digests), first.removeprefix("salt "))
    # ValueError: it is no text, or lacks even the line of the salt.
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{file} cannot be read ({type(error).__name__}). Restore the folder from a copy, or "
            "register the model again."
        ) from error


def _digest(patient: str, salt: str) -> str:
    key = bytes.fromhex(salt)
    return hashlib.blake2b(patient.encode(), key=key, digest_size=_DIGEST_BYTES).hexdigest()
