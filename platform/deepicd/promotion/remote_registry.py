"""A registry in an object store, by fsspec: several machines promote into it and serve from it.

    URL/history/00000001.json                       an event, chained by hash as in a folder
    URL/versions/v0001-MANIFEST/model.safetensors   a version; MANIFEST: its hash's beginning

In: an fsspec URL (`s3://…`, `gs://…`, `memory://…`). Out: a `Registry`. Decided here: the registry
works on a mirror in a local folder, which takes in the store's events before each look. An event is
one object that is created only if nobody was faster with that number (the store's conditional
write, then read back): the one moment at which anything changes; whoever was slower looks again and
decides anew. A version's files are in the store before the event that names it, so a promoter that
is killed leaves files that nothing points to, and no mixture. Versions come into the mirror when
they are needed and are hashed there; what the mirror spoilt is fetched anew.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from deepicd import checkpoints
from deepicd.errors import CheckpointError, ConfigError, PromotionError
from deepicd.files import replaced_file, write_atomically
from deepicd.paths import expand_path
from deepicd.promotion import event_log
from deepicd.promotion.event_log import Event
from deepicd.promotion.patients import PATIENTS, SALT, PatientList, check_salt, new_salt
from deepicd.promotion.registry import ANY, Registry
from deepicd.promotion.versions import CARD, Version, digest
from deepicd.records import Calibration, Decision

CACHE_VARIABLE = "DEEPICD_CACHE"
"""Folder of the mirrors; ~/.cache/deepicd without it."""
MAX_ATTEMPTS = 20

T = TypeVar("T")


class _OvertakenError(PromotionError):
    """Somebody else's event came first."""


class RemoteRegistry(Registry):
    """A registry at an fsspec URL. Safe to use from several machines at once."""

    def __init__(self, url: str, *, cache: Path | None = None) -> None:
        """Nothing is read yet.

        Raises:
            ConfigError: no such file system, its package is missing, or it is a local one.
        """
        self.url = url.rstrip("/")
        self._store, self._folder = _open_store(self.url)
        folder = cache or Path(expand_path(os.environ.get(CACHE_VARIABLE) or "~/.cache/deepicd"))
        super().__init__(folder / f"registry-{hashlib.sha256(self.url.encode()).hexdigest()[:16]}")

    @property
    def place(self) -> str:
        """Its URL."""
        return self.url

    def events(self) -> tuple[Event, ...]:
        """The audit log, oldest first, as the store has it now."""
        self._pull()
        return super().events()

    def get(self, name: str) -> Version:
        """See `Registry.get`; the folder holds manifest and card, and after `verify` everything."""
        version = super().get(name)
        listed = [PATIENTS] if version.origin.patients is not None else []
        self._fetch(version.name, [CARD, *listed])
        return version

    def verify(self, name: str) -> Version:
        """See `Registry.verify`; what is missing in the mirror is fetched first."""
        version = super().get(name)
        try:
            return self._fetch_and_verify(version)
        # The mirror may be what is damaged, so everything is fetched once more.
        except CheckpointError:
            shutil.rmtree(version.path, ignore_errors=True)
            return self._fetch_and_verify(super().get(version.name))

    def _fetch_and_verify(self, version: Version) -> Version:
        self._fetch(version.name, checkpoints.read_manifest(version.path)["files"])
        return super().verify(version.name)

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
        """See `Registry.register`."""
        options: dict[str, Any] = {"lineage": lineage, "scores": scores}
        options |= {"calibration": calibration, "patients": patients, "card": card}
        return self._until_first(lambda: super(RemoteRegistry, self).register(model, **options))

    def challenge(
        self, name: str, *, reason: str, percent: float = 0.0, is_shadow: bool = False
    ) -> Event:
        """See `Registry.challenge`."""
        options: dict[str, Any] = {"reason": reason, "percent": percent, "is_shadow": is_shadow}
        return self._until_first(lambda: super(RemoteRegistry, self).challenge(name, **options))

    def withdraw(self, *, reason: str) -> Event:
        """See `Registry.withdraw`."""
        return self._until_first(lambda: super(RemoteRegistry, self).withdraw(reason=reason))

    def judge(
        self,
        split: str,
        decide: Callable[[int], Mapping[str, Decision]],
        *,
        champion: str | None,
    ) -> Event:
        """See `Registry.judge`."""
        # Taken here, because `super()` without arguments knows no instance inside a lambda.
        base = super().judge
        return self._until_first(lambda: base(split, decide, champion=champion))

    def promote(self, name: str, *, reason: str, expected: str | None = ANY) -> Event:
        """See `Registry.promote`."""
        base = super().promote
        return self._until_first(lambda: base(name, reason=reason, expected=expected))

    def rollback(self, *, reason: str) -> Event:
        """See `Registry.rollback`."""
        return self._until_first(lambda: super(RemoteRegistry, self).rollback(reason=reason))

    def _until_first(self, work: Callable[[], T]) -> T:
        """Do it; where somebody else's event came first, look again and do it anew."""
        for _ in range(MAX_ATTEMPTS):
            try:
                return work()
            except _OvertakenError:
                continue
        raise PromotionError(
            f"{self.url} changes all the time; gave up after {MAX_ATTEMPTS} attempts. Try again."
        )

    def _salt(self) -> str:
        """The store's own: whoever creates it first decides for all."""
        key = f"{self._folder}/{SALT}"
        # Asked first: not every store refuses to overwrite.
        if not self._ask("exists", key):
            with suppress(FileExistsError):
                self._ask("pipe_file", key, new_salt().encode(), mode="create")
        return check_salt(self._ask("cat_file", key).decode(), f"{self.url}/{SALT}")

    def _append(
        self, kind: str, version: str, details: Mapping[str, Any], *, after: int | None = None
    ) -> Event:
        lines = event_log.read_lines(self._event_log)
        if after is not None and len(lines) != after:
            raise _OvertakenError(f"{self.url} has changed meanwhile.")
        # Files first: an event must not name what is not there.
        if kind == event_log.REGISTERED:
            self._upload(version, details["manifest"])
        event, line = event_log.next_event(lines, kind, version=version, details=details)
        try:
            self._create(f"{self._folder}/history/{event.number:08d}.json", line.encode())
        except _OvertakenError:
            if kind == event_log.REGISTERED:  # the name may be somebody else's now
                shutil.rmtree(self._versions / version, ignore_errors=True)
            raise
        self._pull()
        return event

    def _create(self, key: str, content: bytes) -> None:
        try:
            self._ask("pipe_file", key, content, mode="create")
        except FileExistsError:
            raise _OvertakenError(f"{key} exists already.") from None
        # Not every store refuses to overwrite: what is there now says whose event it is.
        if self._ask("cat_file", key) != content:
            raise _OvertakenError(f"{key} is somebody else's.")

    def _pull(self) -> None:
        """Take in the events that the mirror has not seen. Only whole lines are ever written."""
        self.root.mkdir(parents=True, exist_ok=True)
        lines = event_log.read_lines(self._event_log)
        before = len(lines)
        while True:
            # Numbers have no gaps, so the first one that is missing is the end; no listing is
            # needed.
            key = f"{self._folder}/history/{len(lines) + 1:08d}.json"
            try:
                lines.append(self._ask("cat_file", key).decode())
            except FileNotFoundError:
                break
        if len(lines) > before:
            write_atomically(self._event_log, "".join(f"{line}\n" for line in lines))

    def _claim(self, folder: Path, name: str) -> None:
        if name in self._manifests():
            raise _OvertakenError(f"{name} is somebody else's.")
        super()._claim(folder, name)

    def _describe(self, name: str) -> Version:
        manifest = self._versions / name / checkpoints.MANIFEST
        if manifest.is_file() and digest(manifest) != self._manifests()[name]:
            shutil.rmtree(manifest.parent)  # left by a registration that was killed
        self._fetch(name, [checkpoints.MANIFEST])
        return super()._describe(name)

    def _upload(self, name: str, manifest: str) -> None:
        folder = self._versions / name
        for file in (*checkpoints.read_manifest(folder)["files"], checkpoints.MANIFEST):
            self._ask("put_file", str(folder / file), f"{self._stored(name, manifest)}/{file}")

    def _fetch(self, name: str, files: Any) -> None:
        """Bring files of a version into the mirror, each whole or not at all."""
        folder = self._versions / name
        stored = self._stored(name, self._manifests()[name])
        for file in files:
            target = folder / file
            # The manifest comes from the store, where others write: it must not name places of
            # ours.
            if ".." in Path(file).parts or Path(file).is_absolute():
                raise CheckpointError(f"{stored} names a file outside of itself. It is not taken.")
            if target.is_file():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with replaced_file(target) as aside:
                try:
                    self._ask("get_file", f"{stored}/{file}", str(aside))
                except FileNotFoundError:
                    raise CheckpointError(
                        f"{stored}/{file} is gone from {self.url}. Restore it, or promote another "
                        "version."
                    ) from None

    def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call the store; what is wrong with the way to it is said in our terms."""
        try:
            return getattr(self._store, method)(*arguments, **options)
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:  # each file system has classes of its own
            raise PromotionError(
                f"{self.url} cannot be used: {type(error).__name__} while asking for {method}. "
                "Check the network and the credentials of this machine."
            ) from error

    def _manifests(self) -> Mapping[str, str]:
        """As the mirror has them: the store was looked at before."""
        return event_log.fold(super().events()).manifests

    def _stored(self, name: str, manifest: str) -> str:
        # Two that register at once take one name; with its hash neither writes into the other's
        # folder.
        return f"{self._folder}/versions/{name}-{manifest[:12]}"


def open_registry(address: Path | str) -> Registry:
    """The registry in a folder, or at an fsspec URL.

    Raises:
        ConfigError: see `RemoteRegistry`.
    """
    return RemoteRegistry(str(address)) if is_url(address) else Registry(address)


def open_existing(address: Path | str) -> Registry:
    """The registry there.

    Raises:
        MissingError: none is; nothing is made.
        ConfigError: see `RemoteRegistry`.
    """
    registry = open_registry(address)
    registry.check_exists()
    return registry


def is_url(address: Path | str) -> bool:
    """Whether this names a place by fsspec, and not a folder."""
    return "://" in str(address)


def _open_store(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        store, folder = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"no registry can be at {url}: {error}. Name a folder, or an object store whose fsspec "
            "package is installed (s3fs for s3://, gcsfs for gs://)."
        ) from error
    if "file" in _protocols(store):
        raise ConfigError(f"{url} is a folder of this machine; name it without {url[:7]}.")
    return store, folder.rstrip("/")


def _protocols(store: Any) -> tuple[str, ...]:
    named = store.protocol
    return (named,) if isinstance(named, str) else tuple(named)
