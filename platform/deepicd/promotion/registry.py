"""The registry: immutable model versions in a folder, and the aliases champion and challenger.

    registry/history.jsonl     what happened, and the only truth about what exists (`event_log`)
    registry/versions/v0001/   model files, README.md, manifest.json (`versions`)
    registry/salt              random, for the digests of patients (`patients`)
    registry/.lock             held while the event log grows; released when its holder dies

In: a verified Hugging Face folder with lineage and scores, or a wish to move an alias. Out:
`Version`s. Decided here: a version is copied into a reserved folder, hashed, renamed, and exists
once the event log says so. A process killed at any instruction leaves the state before or after.
What it left half-written is unseen, and the next writer removes it: the reserved name and the
folder's lock tell. A folder under a version's name stays, whatever the event log says: only
`garbage` deletes one, and a number is never used twice. No alias moves to a version whose hashes
have not just been checked. The event log is one small object and a version is written once: both
fit an object store.
"""

import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from deepicd import checkpoints
from deepicd.errors import CheckpointError, PromotionError
from deepicd.files import exclusive_lock, is_held, sync, write_atomically
from deepicd.promotion import event_log
from deepicd.promotion.event_log import Event, State
from deepicd.promotion.lineage import same_origin
from deepicd.promotion.patients import (
    PATIENTS,
    SALT,
    PatientList,
    check_salt,
    find_listed,
    list_patients,
    new_salt,
    read_patients,
)
from deepicd.promotion.registry_view import CLAIM, ORPHANS, RegistryView
from deepicd.promotion.versions import (
    CHALLENGER,
    CHAMPION,
    Attachments,
    Version,
    content_of,
    digest,
    finish_folder,
)
from deepicd.records import Calibration, Decision

_log = logging.getLogger(__name__)

ANY = "*"
"""`expected` of a move that does not care who is champion now."""

_RESERVED = ".incoming-"
_NAME = re.compile(rf"(?:{re.escape(_RESERVED)})?v(\d{{4,}})(?:\.[0-9a-f]{{8}})?$")
"""A version's folder, reserved or whole; set aside a second time it has a suffix. What else lies
there (`.DS_Store`, `.nfs…`) is not ours."""
_MOST_PERCENT = 100


class Registry(RegistryView):
    """Versions and aliases under one folder. Safe to use from several processes at once."""

    def register(
        self,
        model: Path,
        *,
        lineage: Mapping[str, Any],
        scores: Mapping[str, float] | None = None,
        calibration: Calibration | None = None,
        patients: PatientList | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> Version:
        """Copy a Hugging Face folder in as the next version. The same model with the same lineage
        is not copied twice (`lineage.same_origin`).

        Args:
            model: Hugging Face folder.
            lineage: where it comes from (`lineage.Lineage.as_dict`, or values by hand).
            scores: on the test split.
            calibration: by which the endpoint says how sure it may be.
            patients: those that it was trained on (`list_patients`); None where nobody knows.
            card: what its model card says besides (`pipeline.context.card_facts`).

        Raises:
            MissingError: `model` is not a Hugging Face folder.
            CheckpointError: it holds pickles or scripts, or lacks weights or tokeniser.
        """
        checkpoints.check_layout(model)
        attached = Attachments(lineage, scores or {}, calibration, patients, card or {})
        with self._reserve() as (name, folder):
            checkpoints.copy_files(model, folder)
            written = finish_folder(folder, name, attached)
            content, origin = content_of(written), written["facts"]["lineage"]
            with self._lock():
                # Copying and hashing are over: others are kept out for this short part only.
                for version in self.versions():
                    if version.content == content and same_origin(version.lineage, origin):
                        return version
                self._claim(folder, name)
                # The new name must be on disk before the event log says that the version exists.
                sync(self._versions)
                manifest = digest(self._versions / name / checkpoints.MANIFEST)
                self._append(event_log.REGISTERED, name, {"manifest": manifest})
                (self._versions / CLAIM).unlink()
        return self.get(name)

    def list_patients(self, patients: Collection[str]) -> PatientList:
        """Patients as this registry keeps them."""
        return list_patients(patients, self._salt())

    def patients_of(self, name: str) -> PatientList | None:
        """Patients that a version was trained on; None where nobody knows.

        Raises:
            MissingError: nothing is called that.
            CheckpointError: the list is damaged.
            PromotionError: it was made with another salt than the registry's.
        """
        version = self.get(name)
        listed = version.origin.patients
        if listed is None:
            return None
        if digest(version.path / PATIENTS) != listed.sha256:
            raise CheckpointError(
                f"{version.path / PATIENTS} is not the list that was registered. Restore the "
                "folder from a copy."
            )
        patients = read_patients(version.path)
        if patients.salt != self.list_patients(()).salt:
            raise PromotionError(
                f"the list of patients of {version.name} was made with another salt than that of "
                f"{self.place}, so nobody can be found in it. Restore the registry's salt."
            )
        return patients

    def find_listed(
        self, patients: Collection[str], lists: Collection[PatientList]
    ) -> frozenset[str]:
        """Those of the patients that are on one of the lists of this registry's versions."""
        return find_listed(patients, lists, self._salt()) if lists else frozenset()

    def _salt(self) -> str:
        """The registry's own, made at the first call."""
        file = self.root / SALT
        with self._lock():
            # Under the lock, or two processes would each make one.
            if not file.is_file():
                write_atomically(file, new_salt())
        return check_salt(file.read_text(encoding="utf-8"), str(file))

    def challenge(
        self, name: str, *, reason: str, percent: float = 0.0, is_shadow: bool = False
    ) -> Event:
        """Make a version the challenger, tried beside the champion in the way that
        `records.Challenge` says; again to change the way.

        Raises:
            MissingError: nothing is called that.
            CheckpointError: the version is damaged.
            PromotionError: it is the champion, nobody is, or the share is none.
        """
        version = self.verify(name).name
        if not 0 <= percent <= _MOST_PERCENT:
            raise PromotionError(
                f"a challenger answers between 0 and 100 percent of the requests; got {percent:g}."
            )
        with self._lock():
            champion = self._state().aliases.get(CHAMPION)
            if champion in {None, version}:
                raise PromotionError(
                    f"{version} cannot challenge {champion or 'nobody'} in {self.place}. Promote a "
                    "version first, then let another one challenge it."
                )
            details = {"reason": reason, "percent": float(percent), "is_shadow": is_shadow}
            return self._append(event_log.CHALLENGER, version, details)

    def withdraw(self, *, reason: str) -> Event:
        """End the challenge; the champion answers everything.

        Raises:
            PromotionError: nobody is challenger.
        """
        with self._lock(must_exist=True):
            version = self._state().aliases.get(CHALLENGER)
            if version is None:
                raise PromotionError(f"no version is challenger in {self.place}; nothing to end.")
            return self._append(event_log.WITHDRAWN, version, {"reason": reason})

    def judge(
        self,
        split: str,
        decide: Callable[[int], Mapping[str, Decision]],
        *,
        champion: str | None,
    ) -> Event:
        """Count a comparison on a promotion split and record what came of it, as one step: of two
        promoters at once each has a number of its own.

        Args:
            split: the notes (`promote.split_digest`).
            decide: number of this use of the split → decisions about versions, the best first.
            champion: whom they were compared with.

        Raises:
            PromotionError: somebody else is champion now; nothing is counted.
        """
        with self._lock(must_exist=True):
            events = self.events()
            self._check_champion(event_log.fold(events), "the candidates were", champion)
            use = event_log.count_uses(events, split) + 1
            decisions = decide(use)
            best, *others = decisions
            details = {"champion": champion, "split": split, **_decided(decisions[best], use)}
            details["others"] = {name: _decided(decisions[name], use) for name in others}
            return self._append(event_log.GATED, best, details, after=len(events))

    def promote(self, name: str, *, reason: str, expected: str | None = ANY) -> Event:
        """Make a version champion, after checking its hashes.

        `expected` is the champion that the decision was made against (None: there was none): if
        another process has moved the alias since, nothing changes.

        Raises:
            MissingError: nothing is called that.
            CheckpointError: the version is damaged.
            PromotionError: it is champion already, or the champion is no longer `expected`.
        """
        version = self.verify(name).name
        with self._lock():
            state = self._state()
            champion = state.aliases.get(CHAMPION)
            if version == champion:
                raise PromotionError(
                    f"{version} is champion already in {self.place}; nothing to do."
                )
            if expected != ANY:
                self._check_champion(state, f"{version} was", expected)
            return self._append(
                event_log.PROMOTED, version, {"reason": reason, "champion": champion}
            )

    def rollback(self, *, reason: str) -> Event:
        """Give the alias back to the champion before the present one; again, to the one before
        that.

        Raises:
            PromotionError: there is no earlier champion.
            CheckpointError: the earlier champion is damaged; the present one keeps it.
        """
        with self._lock(must_exist=True):
            state = self._state()
            if not state.former:
                raise PromotionError(
                    f"{self.place} has no earlier champion to go back to; promote a version "
                    f"instead ({', '.join(state.manifests) or 'none is registered'})."
                )
            # Inside the lock, unlike in `promote`: only the state says which version it is.
            version = self.verify(state.former[-1]).name
            details = {"reason": reason, "champion": state.aliases[CHAMPION]}
            return self._append(event_log.ROLLED_BACK, version, details)

    def _check_champion(self, state: State, who: str, expected: str | None) -> None:
        champion = state.aliases.get(CHAMPION)
        if champion != expected:
            raise PromotionError(
                f"{who} judged against {expected or 'no champion'}, but {champion or 'nobody'} is "
                f"champion of {self.place} now. Judge again."
            )

    def _append(
        self, kind: str, version: str, details: Mapping[str, Any], *, after: int | None = None
    ) -> Event:
        """Add an event; `after` is the number of events that it was decided upon."""
        # Under the lock nothing can have come between; `remote_registry` has to look.
        return event_log.append_event(self._event_log, kind, version=version, details=details)

    def _claim(self, folder: Path, name: str) -> None:
        """Give a reserved folder its name. Until the event log names it too, `CLAIM` says so: a
        writer that is killed in between must not make an empty log look like a lost one.
        """
        # As it is: one that is cut off names nothing, and then the folder has no name yet either.
        (self._versions / CLAIM).write_text(name, encoding="utf-8")
        folder.rename(self._versions / name)

    @contextmanager
    def _lock(self, *, must_exist: bool = False) -> Iterator[None]:
        # Looked at first: what fails must not leave a folder where no registry is.
        if must_exist:
            self.check_exists()
        self.root.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(self.root / ".lock"):
            yield

    @contextmanager
    def _reserve(self) -> Iterator[tuple[str, Path]]:
        """The next name and an empty folder for it, held by a lock while this process lives."""
        with ExitStack() as stack:
            with self._lock():
                self._versions.mkdir(exist_ok=True)
                self._tidy()
                name = f"v{self._highest_number() + 1:04d}"
                folder = self._versions / f"{_RESERVED}{name}"
                folder.mkdir()
                # Locked before the registry's own lock is released: else another writer could take
                # the folder for one that a killed writer left.
                stack.enter_context(exclusive_lock(folder))
            # A claimed folder has another name by then, and this finds nothing.
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            yield name, folder

    def _highest_number(self) -> int:
        """The highest number that was ever given out: what is reserved, unregistered or set aside
        counts too, though no event names it.
        """
        places = (self._versions, self._versions / ORPHANS)
        names = {path.name for place in places if place.is_dir() for path in place.iterdir()}
        found = map(_NAME.match, names | {*self._state().manifests})
        return max((int(match[1]) for match in found if match), default=0)

    def _tidy(self) -> None:
        """Remove what killed writers left half-written: reserved folders that nobody holds. A whole
        folder that the event log does not name is set aside: its history may be what is lost.
        """
        registered = self._state().manifests
        for folder in self._versions.iterdir():
            is_version = bool(_NAME.match(folder.name)) and folder.is_dir()
            if not is_version or folder.name in registered or is_held(folder):
                continue
            if folder.name.startswith(_RESERVED):
                shutil.rmtree(folder)
            else:
                self._set_aside(folder)
        (self._versions / CLAIM).unlink(missing_ok=True)

    def _set_aside(self, folder: Path) -> None:
        orphans = self._versions / ORPHANS
        orphans.mkdir(exist_ok=True)
        target = orphans / folder.name
        if target.exists():
            target = orphans / f"{folder.name}.{uuid.uuid4().hex[:8]}"
        folder.rename(target)
        os.utime(target)  # the grace of `registry gc` begins now
        _log.warning(
            f"{folder} is in no event of {self.place}; it was moved to {target}. `deepicd registry "
            "gc` deletes such folders."
        )


def _decided(decision: Decision, use: int) -> dict[str, Any]:
    """A decision as details of an event. Where the models were not compared, nothing was used."""
    return {
        "use": use if "difference" in decision.numbers else 0,
        "accepted": decision.accepted,
        "reasons": list(decision.reasons),
        "numbers": dict(decision.numbers),
    }
