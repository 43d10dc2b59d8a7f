"""Rendered files of a cluster, written or compared.

In: a description's file. Out: files below a folder. Decided here: a file that is there and says
something else is replaced with `--yes` alone, and no other file of the folder is touched.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deepicd.clusters.description import ClusterDescription, Job, read_cluster
from deepicd.clusters.places import Kubernetes
from deepicd.clusters.rendering import render
from deepicd.files import refuse_existing, write_atomically

if TYPE_CHECKING:
    from deepicd.serving.settings import ServedModel, ServingSettings


def rendered_files(cluster: ClusterDescription) -> dict[str, str]:
    """Relative path → text of every file of a cluster."""
    return render(cluster, _serve_configs(cluster))


def _serve_configs(cluster: ClusterDescription) -> dict[str, str]:
    """Ray Serve's configuration of each job of kind `serve`; it is Kubernetes alone that reads it.

    The engine has the settings of the profile, the version the name of its folder.
    """
    import yaml

    from deepicd.serving.applications import declare

    if not isinstance(cluster.place, Kubernetes):
        return {}
    return {
        name: str(yaml.safe_dump(declare(_served(job), _settings(cluster)), sort_keys=False))
        for name, job in cluster.jobs.items()
        if job.kind == "serve"
    }


def _served(job: Job) -> "ServedModel":
    from deepicd.serving.settings import ServedModel

    return ServedModel(path=Path(job.model), version=job.model.rstrip("/").rpartition("/")[2])


def _settings(cluster: ClusterDescription) -> "ServingSettings":
    from deepicd.config import Experiment, ServingConfig
    from deepicd.serving.settings import ServingSettings

    experiment = Experiment(profile=cluster.profile, serving=ServingConfig(host="0.0.0.0"))
    return ServingSettings.of_experiment(experiment)


def render_cluster(path: Path, out: Path, *, may_replace: bool) -> list[str]:
    """Write what a description renders to; returns the files, relative to `out`.

    Raises:
        MissingError, ConfigError: as `read_cluster`; or a file is there with another text and
            `may_replace` is not given.
    """
    files = rendered_files(read_cluster(path))
    refuse_existing(_changed(files, out), may_replace=may_replace, option="--out")
    for name, text in files.items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, text)
    return list(files)


def _changed(files: Mapping[str, str], out: Path) -> list[Path]:
    return [
        out / name
        for name, text in files.items()
        if (out / name).exists()
        and ((out / name).is_dir() or (out / name).read_text(encoding="utf-8") != text)
    ]
