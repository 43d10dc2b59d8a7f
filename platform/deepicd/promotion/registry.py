"""The registry: immutable model versions in a folder, and the aliases champion and challenger.

    registry/history.jsonl     what happened, and the only truth about what exists (`event_log`)
    registry/versions/v0001/   model files, README.md, manifest.json
    registry/.lock             held while the event log grows; released when its holder dies

In: a verified Hugging Face folder with lineage and scores, or a wish to move an alias. Out:
`Version`s. Decided here: a version is copied into a reserved folder, hashed, renamed, and exists
once the event log says so. A process killed at any instruction leaves the state before or after.
What it left half-written is unseen, and the next writer removes it: the folder's lock tells whether
its writer lives. No alias moves to a version whose hashes have not just been checked. The event log
is one small object and a version is written once: both fit an object store.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deepicd import checkpoints
from deepicd.config import nearest
from deepicd.errors import CheckpointError, MissingError, PromotionError
from deepicd.files import exclusive_lock, is_held, sync
from deepicd.promotion import event_log
from deepicd.promotion.calibration_file import CALIBRATION, write_calibration
from deepicd.promotion.event_log import Event, State
from deepicd.promotion.model_card import model_card
from deepicd.records import Calibration, Challenge, Decision

CHAMPION, CHALLENGER = "champion", "challenger"
ANY = "*"
"""`expected` of a move that does not care who is champion now."""
CARD = "README.md"

_RESERVED = ".incoming-"
_MOST_PERCENT = 100


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
    """Sweep, trial, step, data identity, code commit: whatever the registrant knew."""
    scores: Mapping[str, float]

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


class Registry:
    """Versions and aliases under one folder. Safe to use from several processes at once."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @property
    def _event_log(self) -> Path:
        return self.root / "history.jsonl"

    @property
    def _versions(self) -> Path:
        return self.root / "versions"

    def events(self) -> tuple[Event, ...]:
        """The audit log, oldest first."""
        return event_log.read_events(self._event_log)

    def aliases(self) -> dict[str, str]:
        """`champion` and `challenger` → version name, read in one go; without an alias
        that no version has.
        """
        return self._state().aliases

    def versions(self) -> list[Version]:
        """Every version, oldest first; hashes are not checked (see `verify`)."""
        return [self._describe(name) for name in self._state().manifests]

    def get(self, name: str) -> Version:
        """The version of that name or alias; hashes are not checked.

        Raises:
            MissingError: nothing is called that; names the nearest, or says that no version holds
            the alias yet.
        """
        return self._describe(_resolve(self._state(), name, self.root))

    def verify(self, name: str) -> Version:
        """The version of that name or alias, after every byte of it has been hashed again.

        Raises:
            MissingError: nothing is called that.
            CheckpointError: a file is missing, added or changed, or the manifest is not the
            registered one.
        """
        state = self._state()
        version = self._describe(_resolve(state, name, self.root))
        checkpoints.verify(version.path)
        if digest(version.path / checkpoints.MANIFEST) != state.manifests[version.name]:
            raise CheckpointError(
                f"{version.path / checkpoints.MANIFEST} is not the manifest that was registered. "
                "Restore the folder "
                "from a copy, or promote another version."
            )
        return version

    def register(
        self,
        model: Path,
        *,
        lineage: Mapping[str, Any],
        scores: Mapping[str, float] | None = None,
        calibration: Calibration | None = None,
    ) -> Version:
        """Copy a Hugging Face folder in as the next version. The same model with the same lineage
        is not copied twice. With a calibration, the endpoint says how sure it may be.

        Raises:
            MissingError: `model` is not a Hugging Face folder.
            CheckpointError: it holds pickles or scripts, or lacks weights or tokeniser.
        """
        checkpoints.check_layout(model)
        with self._reserve() as (name, folder):
            checkpoints.copy_files(model, folder)
            facts = _facts(lineage, scores or {})
            (folder / CALIBRATION).unlink(missing_ok=True)  # that of the version it came from
            if calibration is not None:
                write_calibration(folder, calibration)
                facts["calibration"] = dict(calibration.errors)
            (folder / CARD).write_text(model_card(name, facts), encoding="utf-8")
            content = _content(checkpoints.write_manifest(folder, facts))
            with self._lock():
                # Copying and hashing are over: others are kept out for this short part only.
                for version in self.versions():
                    if (version.content, version.lineage) == (content, facts["lineage"]):
                        return version
                self._claim(folder, name)
                # The new name must be on disk before the event log says that the version exists.
                sync(self._versions)
                manifest = digest(self._versions / name / checkpoints.MANIFEST)
                self._append(event_log.REGISTERED, name, {"manifest": manifest})
        return self.get(name)

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
                    f"{version} cannot challenge {champion or 'nobody'} in {self.root}. Promote a "
                    "version first, then let another one challenge it."
                )
            details = {"reason": reason, "percent": float(percent), "is_shadow": is_shadow}
            return self._append(event_log.CHALLENGER, version, details)

    def withdraw(self, *, reason: str) -> Event:
        """End the challenge; the champion answers everything.

        Raises:
            PromotionError: nobody is challenger.
        """
        with self._lock():
            version = self._state().aliases.get(CHALLENGER)
            if version is None:
                raise PromotionError(f"no version is challenger in {self.root}; nothing to end.")
            return self._append(event_log.WITHDRAWN, version, {"reason": reason})

    def read_aliases(self) -> Aliases:
        """Who is champion, was champion before, and challenges, read in one go."""
        state = self._state()
        former = state.former[-1] if state.former else None
        return Aliases(state.aliases.get(CHAMPION), former, state.challenge)

    def record_decision(
        self, name: str, champion: str | None, decision: Decision, *, split: str
    ) -> Event:
        """Note what the gate said about a version against the champion of that moment, on the notes
        of `split` (`promote.split_digest`).
        """
        version = self.get(name).name
        details = {
            "champion": champion,
            "split": split,
            "accepted": decision.accepted,
            "reasons": list(decision.reasons),
            "numbers": dict(decision.numbers),
        }
        with self._lock():
            return self._append(event_log.GATED, version, details)

    def count_uses(self, split: str) -> int:
        """Comparisons that were made on the notes of a promotion split, whatever came of them."""
        return sum(
            event.kind == event_log.GATED
            and event.details.get("split") == split
            and event.details.get("champion") is not None
            for event in self.events()
        )

    def decision(self, name: str) -> Decision | None:
        """The latest decision about a version against the present champion, if there is one."""
        state = self._state()
        version = _resolve(state, name, self.root)
        for event in reversed(self.events()):
            against = event.details.get("champion")
            if event.kind == event_log.GATED and (event.version, against) == (
                version,
                state.aliases.get(CHAMPION),
            ):
                return Decision(
                    event.details["accepted"], event.details["reasons"], event.details["numbers"]
                )
        return None

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
            champion = self._state().aliases.get(CHAMPION)
            if version == champion:
                raise PromotionError(
                    f"{version} is champion already in {self.root}; nothing to do."
                )
            if expected not in {ANY, champion}:
                raise PromotionError(
                    f"{version} was judged against {expected or 'no champion'}, but "
                    f"{champion or 'nobody'} is champion "
                    f"of {self.root} now. Judge it again."
                )
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
        with self._lock():
            state = self._state()
            if not state.former:
                raise PromotionError(
                    f"{self.root} has no earlier champion to go back to; promote a version instead "
                    f"({', '.join(state.manifests) or 'none is registered'})."
                )
            # Inside the lock, unlike in `promote`: only the state says which version it is.
            version = self.verify(state.former[-1]).name
            details = {"reason": reason, "champion": state.aliases[CHAMPION]}
            return self._append(event_log.ROLLED_BACK, version, details)

    def _state(self) -> State:
        return event_log.fold(self.events())

    def _append(self, kind: str, version: str, details: Mapping[str, Any]) -> Event:
        return event_log.append_event(self._event_log, kind, version=version, details=details)

    def _claim(self, folder: Path, name: str) -> None:
        """Give a reserved folder its name."""
        folder.rename(self._versions / name)

    def _describe(self, name: str) -> Version:
        path = self._versions / name
        manifest = checkpoints.read_manifest(path)
        facts = manifest["facts"]
        return Version(
            name, path, _content(manifest), facts["created"], facts["lineage"], facts["scores"]
        )

    @contextmanager
    def _lock(self) -> Iterator[None]:
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
                # Names that others have reserved count too, though no event names them yet.
                names = {path.name.removeprefix(_RESERVED) for path in self._versions.iterdir()}
                taken = [int(name[1:]) for name in names | {*self._state().manifests}]
                name = f"v{max(taken, default=0) + 1:04d}"
                folder = self._versions / f"{_RESERVED}{name}"
                folder.mkdir()
                # Locked before the registry's own lock is released: else another writer could take
                # the folder for one that a killed writer left.
                stack.enter_context(exclusive_lock(folder))
            # A claimed folder has another name by then, and this finds nothing.
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            yield name, folder

    def _tidy(self) -> None:
        """Remove what killed writers left: folders that the event log does not know and that nobody
        holds.
        """
        registered = self._state().manifests
        for folder in self._versions.iterdir():
            if folder.name not in registered and not is_held(folder):
                shutil.rmtree(folder)


def compare(first: Version, second: Version) -> list[tuple[str, Any, Any]]:
    """Rows (field, first's value, second's value) of what differs: contents, lineage, scores."""
    pairs: list[tuple[str, Any, Any]] = [("content", first.content[:12], second.content[:12])]
    for field in ("lineage", "scores"):
        left, right = getattr(first, field), getattr(second, field)
        names = sorted({*left, *right})
        pairs += [(f"{field}.{name}", left.get(name), right.get(name)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _resolve(state: State, name: str, root: Path) -> str:
    if name in {CHAMPION, CHALLENGER}:
        if name not in state.aliases:
            raise MissingError(f"no version is {name} in {root}. Register one and promote it.")
        return state.aliases[name]
    if name not in state.manifests:
        names = [*state.manifests, *state.aliases]
        raise MissingError(
            f"no version {name!r} in {root}{nearest(name, names)}; known: "
            f"{', '.join(names) or 'none'}."
        )
    return name


def _facts(lineage: Mapping[str, Any], scores: Mapping[str, float]) -> dict[str, Any]:
    """What the manifest says besides hashes, as it will be read back from JSON."""
    facts = {
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "lineage": dict(lineage),
        "scores": dict(scores),
    }
    return dict(json.loads(json.dumps(facts, default=str)))


def _content(manifest: Mapping[str, Any]) -> str:
    """Digest of the model itself: the card, which names the version, is left out."""
    files = {name: entry for name, entry in manifest["files"].items() if name != CARD}
    return checkpoints.content_digest({"files": files})


def digest(path: Path) -> str:
    """SHA-256 of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
