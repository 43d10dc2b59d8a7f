"""What is in a registry: versions, aliases, events, decisions. Nothing here changes it.

In: a registry's folder (`registry`). Out: `Version`s and what the event log adds up to. Decided
here: a version exists once the event log says so; before it gets an alias or is served every byte
of it is hashed again.
"""

from collections.abc import Collection
from pathlib import Path

from deepicd import checkpoints
from deepicd.errors import CheckpointError, MissingError, PromotionError
from deepicd.promotion import event_log
from deepicd.promotion.event_log import Event, Judgement, State
from deepicd.promotion.versions import (
    CHAMPION,
    Aliases,
    Version,
    describe_version,
    digest,
    resolve,
)
from deepicd.records import Decision

ORPHANS = ".orphans"
"""Folder beside the versions of those that no event names."""

CLAIM = ".claimed"
"""File that names the version which has its folder, and no event yet."""


class RegistryView:
    """Versions and aliases under one folder, to look at."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @property
    def _event_log(self) -> Path:
        return self.root / "history.jsonl"

    @property
    def _versions(self) -> Path:
        return self.root / "versions"

    @property
    def place(self) -> str:
        """Folder or URL."""
        return str(self.root)

    def check_exists(self) -> None:
        """Raise MissingError where no registry is: a version was never registered there."""
        if not self.events():
            raise MissingError(
                f"no registry at {self.place}: no version was ever registered there. Name another "
                "one (--registry), or let a run or `deepicd registry add` make it."
            )

    def events(self) -> tuple[Event, ...]:
        """The audit log, oldest first.

        Raises:
            PromotionError: it is damaged, or gone while its versions are there.
        """
        events = event_log.read_events(self._event_log)
        if not events and (left := self._whole_versions()):
            raise PromotionError(
                f"{self._event_log} is missing or empty, and {', '.join(left)} "
                f"{'lies' if len(left) == 1 else 'lie'} beside it: the registry is damaged. "
                "Restore the file from a copy; the versions are unharmed, and nothing deletes them."
            )
        return events

    def _whole_versions(self) -> list[str]:
        """Versions that lie there, without one that a writer has claimed and not registered yet."""
        if not self._versions.is_dir():
            return []
        claim = self._versions / CLAIM
        claimed = claim.read_text(encoding="utf-8") if claim.is_file() else ""
        found = {path.parent.name for path in self._versions.glob(f"v*/{checkpoints.MANIFEST}")}
        return sorted(found - {claimed})

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
        return self._describe(resolve(self._state(), name, self.place))

    def verify(self, name: str) -> Version:
        """The version of that name or alias, after every byte of it has been hashed again.

        Raises:
            MissingError: nothing is called that.
            CheckpointError: a file is missing, added or changed, or the manifest is not the
            registered one.
        """
        state = self._state()
        version = self._describe(resolve(state, name, self.place))
        checkpoints.verify(version.path)
        if digest(version.path / checkpoints.MANIFEST) != state.manifests[version.name]:
            raise CheckpointError(
                f"{version.path / checkpoints.MANIFEST} is not the manifest that was registered. "
                "Restore the folder "
                "from a copy, or promote another version."
            )
        return version

    def read_aliases(self) -> Aliases:
        """Who is champion, was champion before, and challenges, read in one go."""
        state = self._state()
        former = state.former[-1] if state.former else None
        return Aliases(state.aliases.get(CHAMPION), former, state.challenge)

    def count_uses(self, split: str) -> int:
        """Comparisons that were made on the notes of a promotion split, whatever came of them."""
        return event_log.count_uses(self.events(), split)

    def decision(self, name: str) -> Decision | None:
        """The latest decision about a version against the present champion, if there is one."""
        events = self.events()
        state = event_log.fold(events)
        version = resolve(state, name, self.place)
        against = state.aliases.get(CHAMPION)
        found = (event_log.decision_about(event, version, against) for event in reversed(events))
        return next((decision for decision in found if decision is not None), None)

    def find_judgement(self, names: Collection[str], split: str) -> Judgement | None:
        """The latest judgement of exactly these versions on a promotion split."""
        return event_log.find_judgement(self.events(), names, split)

    def _state(self) -> State:
        return event_log.fold(self.events())

    def _describe(self, name: str) -> Version:
        return describe_version(name, self._versions / name)
