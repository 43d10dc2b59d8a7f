"""The public tool's commands that launch, show and end a cluster and its jobs.

In: a description's file, and what is to be done. Out: commands, printed and then run. Decided here:
what runs is what lies beside the description, so a folder that says something else than the
description is refused; what ends something asks first; the exit code is the tool's own.
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepicd.clusters.description import ClusterDescription, read_cluster
from deepicd.clusters.places import Kubernetes, Slurm
from deepicd.clusters.rendering import RAY_UP, sbatch_name
from deepicd.clusters.rendering.job_command import job_command
from deepicd.clusters.rendering.kubernetes import CLUSTER, overlay_file
from deepicd.clusters.rendering.ray_up import in_repository
from deepicd.config import nearest
from deepicd.errors import ConfigError, MissingError
from deepicd.files import require_yes
from deepicd.pipeline.cluster.rendering import rendered_files

_JOBS_AT = "http://127.0.0.1:8265"
_KINDS = "raycluster,rayjob,rayservice,raycronjob,pods"


@dataclass(frozen=True)
class Step:
    """One command of a public tool."""

    words: tuple[str, ...]
    advice: str = ""
    """What to do where it fails; empty leaves it to the tool's own words."""

    def __str__(self) -> str:
        """As a shell reads it."""
        return shlex.join(self.words)


@dataclass(frozen=True)
class Launch:
    """A description, and the folder of what is rendered from it."""

    cluster: ClusterDescription
    folder: Path

    @property
    def up_ends_jobs(self) -> bool:
        """Whether bringing it up again ends what runs there: `ray up` restarts Ray."""
        return not isinstance(self.cluster.place, Slurm | Kubernetes)

    def up(self) -> list[Step]:
        """Bring the cluster up, without a job.

        Raises:
            ConfigError: on Slurm a job brings its own.
        """
        place = self.cluster.place
        if isinstance(place, Slurm):
            raise ConfigError(
                "a job on Slurm brings its own cluster: deepicd cluster submit FILE JOB"
            )
        if isinstance(place, Kubernetes):
            return [self._secret(place), self._apply(CLUSTER)]
        return [_step("ray", "up", "--yes", str(self.folder / RAY_UP))]

    def down(self) -> list[Step]:
        """End the cluster and its jobs; what is stored stays."""
        cluster, place = self.cluster, self.cluster.place
        if isinstance(place, Slurm):
            return [_step("scancel", "--me", f"--name={self._slurm_names()}")]
        if isinstance(place, Kubernetes):
            # By file: `delete -k` would take the claim, and with it runs and registry.
            files = [
                f"--filename={self.folder / overlay_file(n)}" for n in (CLUSTER, *cluster.jobs)
            ]
            words = ("kubectl", "--namespace", place.namespace, "delete", "--ignore-not-found")
            return [_step(*words, *files)]
        return [_step("ray", "down", "--yes", str(self.folder / RAY_UP))]

    def status(self) -> list[Step]:
        """Show what is there."""
        place = self.cluster.place
        if isinstance(place, Slurm):
            return [_step("squeue", "--me", f"--name={self._slurm_names()}")]
        if isinstance(place, Kubernetes):
            return [_step("kubectl", "--namespace", place.namespace, "get", _KINDS)]
        return [self._on_head("ray status"), self._on_head(f"ray job list --address {_JOBS_AT}")]

    def submit(self, job: str, *, is_detached: bool) -> list[Step]:
        """Start a job, and follow its log unless detached.

        Raises:
            ConfigError: the description has no such job.
        """
        self._check_job(job)
        place = self.cluster.place
        if isinstance(place, Slurm):
            start = _step("sbatch", str(self.folder / sbatch_name(job)))
            return [start] if is_detached else [start, *self.logs(job)]
        if isinstance(place, Kubernetes):
            steps = [self._secret(place), self._apply(job)]
            is_followed = not is_detached and self._has_log(job)
            return [*steps, self._wait(place, job), *self.logs(job)] if is_followed else steps
        wait = "--no-wait " if is_detached else ""
        command = shlex.join(job_command(self.cluster, job))
        return [self._on_head(f"ray job submit --address {_JOBS_AT} {wait}-- {command}")]

    def logs(self, job: str) -> list[Step]:
        """Follow a job's log; on a cluster of `ray up` the job is Ray's own id of it.

        Raises:
            ConfigError: the description has no such job.
        """
        place = self.cluster.place
        if not isinstance(place, Slurm | Kubernetes):
            words = f"ray job logs --address {_JOBS_AT} --follow {shlex.quote(job)}"
            return [self._on_head(words)]
        self._check_job(job)
        name = f"{self.cluster.name}-{job}"
        if isinstance(place, Slurm):
            return [_step("tail", "--retry", "-F", f"{self.cluster.storage.path}/{name}.log")]
        follow = ("logs", "--follow", f"job/{name}")
        return [_step("kubectl", "--namespace", place.namespace, *follow)]

    def _has_log(self, job: str) -> bool:
        # A RayService and a RayCronJob have no submitter whose log could be followed.
        found = self.cluster.jobs[job]
        return found.kind != "serve" and not found.schedule

    def _wait(self, place: Kubernetes, job: str) -> Step:
        limit = f"--timeout={place.max_wait_minutes}m"
        name = f"job/{self.cluster.name}-{job}"
        words = ("kubectl", "--namespace", place.namespace, "wait", "--for=create", name, limit)
        return _step(*words)

    def _secret(self, place: Kubernetes) -> Step:
        name = self.cluster.token.secret
        return Step(
            ("kubectl", "--namespace", place.namespace, "get", "secret", name),
            f"namespace {place.namespace} has no Secret {name}, or cannot be reached; make it: "
            f"kubectl -n {place.namespace} create secret generic {name} "
            "--from-literal=auth_token=$(openssl rand -hex 32)",
        )

    def _apply(self, overlay: str) -> Step:
        return _step("kubectl", "apply", "--kustomize", str(self.folder / "overlays" / overlay))

    def _on_head(self, command: str) -> Step:
        words = f"{in_repository(self.cluster)} {command}"
        return _step("ray", "exec", str(self.folder / RAY_UP), words)

    def _slurm_names(self) -> str:
        return ",".join(f"{self.cluster.name}-{job}" for job in self.cluster.jobs)

    def _check_job(self, job: str) -> None:
        if job not in self.cluster.jobs:
            known = list(self.cluster.jobs)
            raise ConfigError(
                f"no job {job!r} in the description{nearest(job, known)}; it has "
                f"{', '.join(known) or 'none'}"
            )


def read_launch(path: Path) -> Launch:
    """A description with what is rendered beside it.

    Raises:
        MissingError, ConfigError: as `read_cluster`; or the folder says something else.
    """
    cluster, folder = read_cluster(path), path.with_suffix("")
    for name, text in rendered_files(cluster).items():
        file = folder / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{file} is not what {path} renders to; look at what differs, then: deepicd "
                f"cluster render {path} --out {folder} --yes"
            )
    return Launch(cluster, folder)


def check_ending(launch: Launch, *, is_confirmed: bool) -> None:
    """Refuse to end a cluster that nobody confirmed.

    Raises:
        ConfigError: says what would end.
    """
    name = launch.cluster.name
    require_yes(
        f"every job that runs on {name} would end, sweeps too (`deepicd resume` goes on with them)",
        is_given=is_confirmed,
        instead="look first: deepicd cluster status FILE",
    )


def run_steps(steps: Sequence[Step], *, is_dry: bool = False) -> int:
    """Run commands one after the other, or print them where it is dry; returns the first exit code
    that is not 0.

    Raises:
        MissingError: a tool is not installed, or a step that has an advice failed.
    """
    if is_dry:
        print("\n".join(map(str, steps)))
        return 0
    for step in steps:
        if shutil.which(step.words[0]) is None:
            raise MissingError(f"{step.words[0]} is not on PATH; install it, or run: {step}")
        print(f"$ {step}", file=sys.stderr, flush=True)
        code = subprocess.run(step.words, check=False).returncode
        if code and step.advice:
            raise MissingError(step.advice)
        if code:
            return code
    return 0


def _step(*words: str) -> Step:
    return Step(words)
