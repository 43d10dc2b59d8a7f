"""The command of ours that a job is.

In: a description and a job. Out: words of a shell that need no quotes. Decided here: runs and
registry lie on what every node sees, so that a pod or a node may go.
"""

from pathlib import PurePosixPath

from deepicd.clusters.description import ClusterDescription, Job

IMAGE_REPOSITORY = "/deepicd"
"""The repository in our image (cluster/image/Dockerfile sets it as working directory)."""
_SERVE_ALL = ("--host", "0.0.0.0")


def job_command(cluster: ClusterDescription, name: str) -> list[str]:
    """Words of one job's command, run in the root of the repository."""
    job = cluster.jobs[name]
    return ["deepicd", *_words(cluster, job, name), *job.arguments]


def registry_of(cluster: ClusterDescription) -> str:
    """Folder or URL of the registry."""
    return cluster.storage.bucket or f"{cluster.storage.path}/runs/registry"


def _words(cluster: ClusterDescription, job: Job, name: str) -> list[str]:
    runs = ["--runs", f"{cluster.storage.path}/runs"]
    named = ["--name", job.run] if job.run else []
    registry = [f"--set=promotion.registry={cluster.storage.bucket}"] * bool(cluster.storage.bucket)
    if job.kind in ("sweep", "train"):
        verb = ["sweep", "run"] if job.kind == "sweep" else ["train"]
        return [*verb, job.experiment, *named, *runs, *registry]
    if job.kind == "resume":
        return ["resume", job.run, *runs]
    if job.kind == "serve":
        return ["serve", "--registry", registry_of(cluster), *_SERVE_ALL]
    out = str(PurePosixPath(cluster.storage.path) / "evaluations" / name)
    return ["evaluate", job.model, job.split, "--out", out, "--yes"]
